"""The GPU benchmark runs every path that a CPU can, and its numbers are consistent."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.long
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The benchmark, in a process of its own."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What all sections give with toy shapes, joined to an earlier result in the file."""
    out = tmp_path_factory.mktemp("gpu") / "result.json"
    out.write_text(json.dumps({"older": {"tokens": 1}}))
    done = run("--device", "cpu", "--tiny", "--rounds", "1", "--profile", "--out", str(out))
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    assert printed == json.loads(out.read_text())
    return printed


def test_every_section_is_there(result: dict[str, Any]) -> None:
    experts = ["qwen3_30b_a3b", "gpt_oss_20b"]
    assert list(result) == [
        "older",
        "matmul",
        "kernel",
        "8b",
        "compiled",
        "32b",
        "70b",
        "zero3",
        *experts,
    ]
    for section in list(result)[1:]:
        assert "skipped" not in result[section]
        assert result[section]["versions"]["torch"]


def test_the_kernel_section_checks_against_float64(result: dict[str, Any]) -> None:
    kernel = result["kernel"]
    for rows in ("tiny, all", "tiny, 95%"):
        assert kernel[rows]["torch"]["counts_exact"]
        assert 0 < kernel[rows]["torch"]["largest_error"] < kernel["error_allowed"]


def test_the_compiled_section_compares_with_the_eager_decoder(result: dict[str, Any]) -> None:
    figures = result["compiled"]
    assert figures["errors"] == {}
    assert figures["inductor"]["uncompiled_calls"] == 0
    assert figures["inductor"]["largest_difference_of_a_layer"] < 0.05
    ratio = figures["bare"]["seconds"] / figures["locate_compiled"]["seconds"]
    assert figures["locate_compiled_over_eager_bare"] == pytest.approx(ratio, rel=0.01)
    assert figures["locate_compiled"]["profile"]["milliseconds"]["counting"] > 0
    assert figures["bare"]["profile"]["milliseconds"]["counting"] == 0


@pytest.mark.parametrize("section", ["8b", "32b", "70b"])
def test_rates_and_ratios_fit_the_seconds(result: dict[str, Any], section: str) -> None:
    figures = result[section]
    ways = ["bare", "locate"] + ["usual"] * (section != "70b")
    for way in ways:
        (seconds,) = figures[way]["seconds"]
        expected = pytest.approx(figures["tokens"] / seconds, rel=0.01)
        assert figures[way]["tokens_per_second"] == expected
    ratio = figures["bare"]["seconds"][0] / figures["locate"]["seconds"][0]
    assert figures["locate_over_bare"] == pytest.approx(ratio, rel=0.01)
    assert ("locate_over_usual" in figures) == (section != "70b")
    assert figures["profile_of_locate"][0]["milliseconds"] > 0


def test_zero3_counts_as_single_does(result: dict[str, Any]) -> None:
    """Up to the neurons at the threshold, of which bf16 has more than float32."""
    assert result["zero3"]["active_counts_apart"] < 0.01
    assert result["zero3"]["zero3_over_single"] > 0


def test_the_refusal_without_a_gpu_says_what_runs_there() -> None:
    done = run(CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2
    assert "--device cpu --tiny" in done.stderr


@pytest.mark.parametrize("section", ["qwen3_30b_a3b", "gpt_oss_20b"])
def test_experts_are_counted_right_and_compared(result: dict[str, Any], section: str) -> None:
    figures = result[section]
    assert "error" not in json.dumps({**figures, "kernel": {**figures["kernel"], "triton": 0}})
    assert figures["kernel"]["counts_exact"]
    assert figures["watching"]["same_bits_watched"]
    assert figures["watching"]["routed_right"]
    assert figures["locate_over_bare"] > 0
