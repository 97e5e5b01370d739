"""A rank with other files, settings or packages is named before anything is loaded or recorded."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vxdist.cli import main
from vxdist.runtime.identity import find_difference
from vxstore.evaluation import ConditionRecorder
from vxstore.write import Recorder

ROOT = Path(__file__).parents[2]
RANK = """
import json, os, sys
from vxdist.cli import main
own = json.loads(os.environ["OWN"]).get(os.environ["RANK"], {})
os.environ.update(own.get("environ", {}))
code = main([*sys.argv[1:], *own.get("options", [])])
print(f"rank {os.environ['RANK']} ended with {code}", flush=True)
sys.exit(code)
"""
Own = dict[str, object]


def refused(folder: Path, options: list[str], own: Own) -> str:
    """What two ranks say under torchrun, of which rank 1 has some options of its `own`."""
    (folder / "rank.py").write_text(RANK)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    done = subprocess.run(
        [*command, str(folder / "rank.py"), *options],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OWN": json.dumps({"1": own})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode != 0, done.stdout
    said = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert said, done.stdout
    assert "Traceback" not in done.stdout.partition("ChildFailedError")[0].partition("E1")[0]
    assert f"rank 1 ({socket.gethostname()}) differs in " in said[0], done.stdout
    # torchrun kills the other rank where one has ended before it could say so.
    assert "ended with 2" in done.stdout
    assert "ended with 0" not in done.stdout
    return said[0]


@pytest.fixture
def other_corpus(corpus_folder: Path, tmp_path: Path) -> Path:
    """The small corpus with as many tokens of another content."""
    folder = tmp_path / "other"
    shutil.copytree(corpus_folder, folder)
    file = folder / "activation.jsonl"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("number 0", "number 9"), encoding="utf-8")
    return folder


@pytest.mark.parametrize("strategy", ["ddp", pytest.param("zero3", marks=pytest.mark.long)])
def test_another_corpus(
    run_options: list[str], other_corpus: Path, tmp_path: Path, strategy: str
) -> None:
    if strategy == "zero3":
        pytest.importorskip("deepspeed")
    options = ["locate", *run_options, "--trainer.strategy", strategy]
    line = refused(tmp_path, options, {"options": ["--corpus.path", str(other_corpus)]})
    assert "the stories of the corpus (corpus_digest): " in line
    assert "plan_digest" not in line
    assert "nothing was recorded" in line
    assert not Recorder(str(tmp_path / "run.zarr")).sealed().any()
    assert not (tmp_path / "run.lock").exists()


def test_other_settings_and_another_environment(run_options: list[str], tmp_path: Path) -> None:
    own: Own = {
        "options": ["--locate.span", "response"],
        "environ": {"NVIDIA_TF32_OVERRIDE": "0"},
    }
    line = refused(tmp_path, ["locate", *run_options], own)
    assert "locate.span: response there, all on rank 0" in line
    assert "the variable NVIDIA_TF32_OVERRIDE: 0 there, None on rank 0" in line
    assert not Recorder(str(tmp_path / "run.zarr")).sealed().any()
    # Nothing stands in the way of the same command on ranks that agree.
    assert main(["locate", *run_options]) == 0


def test_another_evaluation(run_options: list[str], tmp_path: Path) -> None:
    assert main(["locate", *run_options]) == 0
    assert main(["reduce", *run_options]) == 0
    own: Own = {"options": ["--evaluate.choice.cues", "{en: 'Say:', zh: '答案:'}"]}
    line = refused(tmp_path, ["evaluate", *run_options], own)
    assert "settings.cues.en: Say: there, Answer: on rank 0" in line
    assert not ConditionRecorder(str(tmp_path / "run.zarr"), "choice").sealed().any()


def test_what_is_said_of_ranks_that_differ() -> None:
    """The cause and not what follows from it; not every rank and fact."""
    same = {"corpus_digest": "a" * 64, "plan_digest": "b" * 64, "store": "x"}
    other = {**same, "plan_digest": "c" * 64}
    assert find_difference([("rank 0", same), ("rank 1", same)]) is None
    line = find_difference([("rank 0", same), ("rank 1", other)])
    assert line is not None
    assert line.startswith("rank 1 differs in the tokens of the stories (plan_digest): cccc")
    assert "… there, bbbb" in line
    line = find_difference([("rank 0", same), *((f"rank {n}", {}) for n in range(1, 9))])
    assert line is not None
    assert "plan_digest" not in line
    assert "5 more ranks differ" in line
    assert "\n" not in line
