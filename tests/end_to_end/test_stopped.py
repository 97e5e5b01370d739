"""`vxdist` stopped by signals in every stage: exit code 3, no traceback, no lock left behind."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from transformers import AutoConfig

from vxdist.cli import main
from vxstore.check.store import check
from vxstore.write import Recorder

ROOT = Path(__file__).parents[2]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """The command, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "vxdist", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def slow_options(
    slow_folder: Path, corpus_folder: Path, run_options: list[str], tmp_path: Path
) -> list[str]:
    """Options of a run of one batch a part, each of which takes many seconds."""
    config = AutoConfig.from_pretrained(slow_folder)
    most = int(config.max_position_embeddings)
    folder = tmp_path / "long"
    folder.mkdir()
    lines = []
    for line in (corpus_folder / "activation.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        row["dilemma"] = ("a b " * most)[: most - 200]
        lines.append(json.dumps(row) + "\n")
    (folder / "activation.jsonl").write_text("".join(lines), encoding="utf-8")
    own = ["--corpus.path", str(folder), "--model.path", str(slow_folder)]
    own += ["--locate.parts_per_group", "1", "--locate.tokens_per_batch", "100000"]
    return ["locate", *run_options, *own, "--locate.max_padding", "0.5"]


def test_twice_within_a_batch(slow_options: list[str], tmp_path: Path) -> None:
    process = start(slow_options)
    assert process.stdout is not None
    while "stories in" not in (line := process.stdout.readline()):
        assert line, process.wait()
    sealed = tmp_path / "run.zarr" / "record" / "sealed" / "c"
    while not sealed.is_dir() or not list(sealed.iterdir()):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert (
        process.stdout.readline() == "stopping after this batch; press Ctrl-C again to stop now\n"
    )
    time.sleep(1.2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 3, output
    assert output.splitlines()[-1] == "stopped by SIGINT; run the same command again to resume"
    assert "Traceback" not in output
    assert not (tmp_path / "run.lock").exists()
    assert 1 <= Recorder(str(tmp_path / "run.zarr")).sealed().sum() < 12
    assert not check(str(tmp_path / "run.zarr")).findings


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_at_any_moment_of_a_run(
    run_options: list[str], tmp_path: Path, number: signal.Signals, soak: int
) -> None:
    """While it imports, tokenises, loads, sums, reduces, and draws; then the run comes through."""
    before, stopped = 0.8 if number == signal.SIGINT else 2.0, 0
    while True:
        process = start(["run", *run_options])
        time.sleep(before)
        process.send_signal(number)
        output, _ = process.communicate(timeout=120)
        assert "Traceback" not in output
        if process.returncode == 0 or "report: " in output:
            break  # all was done, though Python had not ended yet
        assert process.returncode == 3, (before, output)
        assert output.splitlines()[-1].startswith(f"stopped by {number.name}"), output
        assert not (tmp_path / "run.lock").exists()
        stopped += 1
        before += 4 / soak
    assert stopped > 1
    assert main(["run", *run_options]) == 0
    assert not check(str(tmp_path / "run.zarr")).findings
