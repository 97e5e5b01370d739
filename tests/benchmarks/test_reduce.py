"""The benchmark of reduce runs on a small record, and its numbers are consistent."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "reduce.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The benchmark, in a process of its own."""
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.long
def test_cost_is_that_of_the_start_and_of_layers(tmp_path: Path) -> None:
    out = tmp_path / "run.zarr"
    small = ("--layers", "2", "--neurons", "64", "--clusters", "72", "--shuffles", "20")
    done = run("--out", str(out), *small, "--", "--reduce.seed", "1")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["parts"], result["shuffles"]) == (72 * 2 * 2, 20)
    assert result["passed_on"] == ["--reduce.seed", "1"]
    assert result["80_layers"]["how"] == "extrapolated from --layers 2"
    for name in ("cpu_seconds", "seconds"):
        start, all_layers = result["start"][name], result["80_layers"][name]
        assert 0 < start < result["reduce"][name]
        assert all_layers == pytest.approx(start + 80 * result["by_layer"][name], abs=0.2)
    assert 0.01 < result["reduce"]["peak_gigabytes"] < 2
    assert not out.exists()


def test_refuses_what_is_there_and_uneven_values(tmp_path: Path) -> None:
    assert "already exists" in run("--out", str(tmp_path)).stderr
    assert "no multiple" in run("--out", str(tmp_path / "a"), "--clusters", "5").stderr
    assert list(tmp_path.iterdir()) == []
