"""Several outcomes in one run: the same as each alone, with one model and one loop."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import vxstore
from vxdist.names import name_evaluations
from vxstore.evaluation import ConditionRecorder

ROOT = Path(__file__).parents[2]
BOTH = ("--evaluate.outcome", "choice,harm")


def load(store: Path, name: str) -> Any:
    return vxstore.open(str(store)).evaluation(name).load()


@pytest.mark.parametrize(
    ("outcomes", "name", "expected"),
    [
        ("choice", None, {"choice": "choice"}),
        ("choice", "mine", {"choice": "mine"}),
        (["choice"], "mine", {"choice": "mine"}),
        (["choice", "harm"], None, {"choice": "choice", "harm": "harm"}),
        (["choice", "harm"], "mine", {"choice": "mine-choice", "harm": "mine-harm"}),
    ],
)
def test_names(outcomes: Any, name: str | None, expected: dict[str, str]) -> None:
    assert name_evaluations(outcomes, name) == expected


def test_several_are_what_each_is_alone(
    evaluated: Any, reduced: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit; and a second time, there is nothing left to run."""
    assert set(vxstore.open(str(evaluated.store)).names("evaluation")) == {
        "choice", "likelihood", "harm", "answers"
    }  # fmt: skip
    apart = reduced.copied(tmp_path)
    for name in ("choice", "likelihood", "harm", "answers"):
        assert apart.evaluate("--evaluate.outcome", name) == 0
        assert load(evaluated.store, name).equals(load(apart.store, name)), name
    monkeypatch.setattr("vxdist.runtime.loop.load_model", None)
    assert apart.evaluate("--evaluate.outcome", "choice,likelihood,harm,answers") == 0


def test_one_model_and_one_loop(
    reduced: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vxdist.runtime import loop

    real, loads = loop.load_model, []

    def load_model(*of: Any) -> Any:
        loads.append(of)
        return real(*of)

    monkeypatch.setattr(loop, "load_model", load_model)
    run = reduced.copied(tmp_path)
    assert run.evaluate(*BOTH, "--evaluate.name", "x") == 0
    assert len(loads) == 1
    assert vxstore.open(str(run.store)).names("evaluation") == ["x-choice", "x-harm"]


def test_cut_short_between_two(
    evaluated: Any, reduced: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed for real after 14 conditions; the next run does what is left, and no more."""
    run = reduced.copied(tmp_path)
    command = [sys.executable, "-c", KILLED, "evaluate", *run.options, *BOTH]
    ended = subprocess.run([*command, "--store", str(run.store)], cwd=ROOT, check=False)
    assert ended.returncode == -signal.SIGKILL
    sealed = {n: ConditionRecorder(str(run.store), n).sealed() for n in ("choice", "harm")}
    done = sum(int(of.sum()) for of in sealed.values())
    assert 13 <= done <= 14
    assert not all(of.all() for of in sealed.values())
    real, written = ConditionRecorder.write, []

    def write(self: Any, condition: int, *data: Any) -> None:
        written.append(condition)
        real(self, condition, *data)

    monkeypatch.setattr(ConditionRecorder, "write", write)
    assert run.evaluate(*BOTH, "--take-over") == 0
    assert len(written) == 2 * 16 - done
    for name in ("choice", "harm"):
        assert load(run.store, name).equals(load(evaluated.store, name))


KILLED = """
import os, signal, sys
from vxstore.evaluation import ConditionRecorder
from vxdist.cli import main
real, written = ConditionRecorder.write, []
def write(self, *data):
    if len(written) == 14:
        os.kill(os.getpid(), signal.SIGKILL)
    written.append(data[0])
    real(self, *data)
ConditionRecorder.write = write
sys.exit(main(sys.argv[1:]))
"""


def test_another_setting_of_one_is_refused_by_that_one_only(
    evaluated: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = evaluated.copied(tmp_path)
    capsys.readouterr()
    other = ("--evaluate.likelihood.normalise", "sum")
    assert run.evaluate("--evaluate.outcome", "choice,harm,answers", *other) == 0
    capsys.readouterr()
    assert run.evaluate("--evaluate.outcome", "choice,likelihood", *other) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "evaluation/likelihood was made with other settings" in line
    assert "normalise is per_character there, sum here" in line


@pytest.mark.long
def test_two_ranks(evaluated: Any, reduced: Any, tmp_path: Path) -> None:
    run = reduced.copied(tmp_path)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port"),
        str(20000 + os.getpid() % 10000),
        *("launch/evaluate.py", *run.options, "--store", str(run.store)),
        *("--evaluate.outcome", "choice,likelihood,harm,answers"),
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    for name in ("choice", "likelihood", "harm", "answers"):
        assert load(run.store, name).equals(load(evaluated.store, name)), name


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--evaluate.outcome", "choice,mood"), "evaluate.outcome: found 'mood', expected one of"),
        (("--evaluate.outcome", "choice,choice"), "must name at least one outcome, each once"),
        (("--evaluate.outcome", "[]"), "must name at least one outcome, each once"),
        (
            ("--evaluate.outcome", "answers", "--evaluate.answers.max_new_tokens", "0"),
            "evaluate.answers.max_new_tokens: 0 must be 1 or more",
        ),
        (
            ("--evaluate.outcome", "likelihood", "--evaluate.likelihood.normalise", "length"),
            "evaluate.likelihood.normalise",
        ),
    ],
)
def test_bad_input_is_one_line(
    reduced: Any, options: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert reduced.evaluate(*options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_a_corpus_without_neutral_passages(
    reduced: Any, corpus_folder: Path, neutral_corpus: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    import shutil

    from .conftest import write_passages

    english = tmp_path / "english"
    shutil.copytree(neutral_corpus, english)
    write_passages(english, ["en"])
    for folder, missing in ((corpus_folder, "en, zh"), (english, "zh")):
        capsys.readouterr()
        more = ("--corpus.path", str(folder), "--evaluate.outcome", "choice,harm")
        assert reduced.evaluate(*more) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"has no neutral passages in {missing}; add them" in line
