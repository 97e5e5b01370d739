"""What decides a number is in an evaluation's identity: a resume that would mix two is refused."""

import datetime
import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

import vxstore
from vxdist.asking import identity
from vxdist.cli import main
from vxstore.cli.main import main as vxstore_main
from vxstore.evaluation import ConditionRecorder
from vxstore.io import arrays

CLOCK = "{{ strftime_now('%A, %d %B %Y, %H:%M:%S') }}. {{ messages[-1].content }}\n>"
Cut = Callable[[list[str]], None]


@pytest.fixture
def options(run_options: list[str], model_folder: Path, tmp_path: Path) -> list[str]:
    """A run that is reduced already, of a model whose chat template tells the time."""
    folder = tmp_path / "clock"
    shutil.copytree(model_folder, folder)
    (folder / "chat_template.jinja").write_text(CLOCK)
    found = [*run_options, "--model.path", str(folder)]
    for stage in ("locate", "reduce"):
        assert main([stage, *found]) == 0
    return found


@pytest.fixture
def cut_short(killed_after: Callable[[int], AbstractContextManager[None]]) -> Cut:
    """Evaluate, and end it after two conditions, as a kill would."""

    def cut(options: list[str]) -> None:
        with killed_after(2):
            assert main(["evaluate", *options]) == 3

    return cut


def set_day(monkeypatch: pytest.MonkeyPatch, day: int) -> None:
    """Another day in January 2026."""

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Clock":
            return cls(2026, 1, day, 13, 14, 15, tzinfo=tz)

    monkeypatch.setattr(identity.datetime, "datetime", Clock)


def attrs_of(tmp_path: Path, name: str = "choice") -> dict[str, Any]:
    return dict(vxstore.open(str(tmp_path / "run.zarr")).evaluation(name).attrs)


def test_a_resume_on_another_day(
    options: list[str], cut_short: Cut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_day(monkeypatch, 30)
    assert main(["evaluate", *options, "--evaluate.name", "whole"]) == 0
    cut_short(options)
    set_day(monkeypatch, 31)
    assert main(["evaluate", *options]) == 0
    assert main(["evaluate", *options]) == 0  # finished: nothing to do
    store = vxstore.open(str(tmp_path / "run.zarr"))
    resumed, whole = (store.evaluation(name).load() for name in ("choice", "whole"))
    assert resumed.log_odds.equals(whole.log_odds)
    assert resumed.attrs["date"] == "2026-01-30"
    assert resumed.attrs["questions_digest"] == whole.attrs["questions_digest"]
    assert "Friday, 30 January 2026, 00:00:00." in resumed.attrs["sample_prompts"]["en"]
    assert main(["evaluate", *options, "--evaluate.name", "later"]) == 0
    assert attrs_of(tmp_path, "later")["questions_digest"] != resumed.attrs["questions_digest"]
    given = ["--evaluate.name", "given", "--evaluate.date", "2026-01-30"]
    assert main(["evaluate", *options, *given]) == 0
    assert attrs_of(tmp_path, "given")["questions_digest"] == resumed.attrs["questions_digest"]


@pytest.mark.parametrize(
    ("setting", "text", "shown"),
    [
        ("system", "Be kind.", "system is None there, Be kind. here"),
        ("date", "2025-01-01", "date is 2026-01-30 there, 2025-01-01 here"),
        ("chat", "never", "chat is auto there, never here"),
        ("answer_prefix", " (", 'answer_prefix is null there, " (" here'),
    ],
)
def test_other_settings_are_refused_by_name(
    options: list[str],
    cut_short: Cut,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    setting: str,
    text: str,
    shown: str,
) -> None:
    set_day(monkeypatch, 30)
    cut_short(options)
    capsys.readouterr()
    assert main(["evaluate", *options, f"--evaluate.{setting}", text]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert shown in line


def test_another_template_is_refused(
    options: list[str], cut_short: Cut, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where another version of transformers renders it otherwise."""
    cut_short(options)
    store = str(tmp_path / "run.zarr")
    group = arrays.open_group(store, "evaluation/choice", mode="r+")
    group.update_attributes({"questions_digest": "0" * 64})
    capsys.readouterr()
    assert main(["evaluate", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the model would read other questions now" in line
    assert vxstore_main(["info", store, "--evaluation", "choice"]) == 0
    assert "the first prompt in zh, as the model reads it" in capsys.readouterr().out


def test_one_that_an_earlier_version_began(
    options: list[str], cut_short: Cut, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only what it kept is compared; settings that it did not have are what they did then."""
    cut_short(options)
    store = str(tmp_path / "run.zarr")
    file = tmp_path / "run.zarr" / "evaluation" / "choice" / "zarr.json"
    document = json.loads(file.read_text())
    for name in ("questions_digest", "date", "asking", "sample_prompts", "mass_of"):
        del document["attributes"][name]
    for name in ("chat", "template", "system", "answer_prefix", "date", "least_mass"):
        del document["attributes"]["config"]["evaluate"][name]
    file.write_text(json.dumps(document))
    assert main(["evaluate", *options, "--evaluate.chat", "never"]) == 2
    assert "chat is auto there, never here" in capsys.readouterr().err
    assert main(["evaluate", *options]) == 0
    assert main(["evaluate", *options]) == 0
    assert vxstore.effects(vxstore.open(store))["answer_mass"].keys() == {"en", "zh"}
    assert vxstore_main(["info", store, "--evaluation", "choice"]) == 0
    assert "no prompt is kept" in capsys.readouterr().out


LATER = (
    "asking", "computation", "date", "decision_boundary", "draws", "effect_of", "half",
    "intervention", "mass_of", "outcome", "questions_digest", "sample_prompts",
)  # fmt: skip
"""Attributes that the first version did not write: its evaluations had one outcome."""


@pytest.mark.parametrize(
    "outcomes", ["choice", pytest.param("choice,likelihood", marks=pytest.mark.long)]
)
def test_one_that_the_first_version_began(
    reduced: Any,
    evaluated: Any,
    cut_short: Cut,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    outcomes: str,
) -> None:
    """It is gone on with, alone or beside another outcome, and gives what a whole run gives."""
    run = reduced.copied(tmp_path)
    cut_short([*run.options, "--store", str(run.store)])
    file = run.store / "evaluation" / "choice" / "zarr.json"
    document = json.loads(file.read_text())
    for name in LATER:
        del document["attributes"][name]
    document["attributes"]["config"]["evaluate"] = {"outcome": "choice", "controls": 4}
    file.write_text(json.dumps(document))
    capsys.readouterr()
    assert run.evaluate("--evaluate.intervention", "mean") == 2
    assert "intervention is zero there, mean here" in capsys.readouterr().err
    begun = ConditionRecorder(str(run.store), "choice").sealed()
    assert 0 < begun.sum() < begun.size
    assert run.evaluate("--evaluate.outcome", outcomes) == 0
    assert "evaluate: choice: 18 dilemmas under" not in capsys.readouterr().out  # not begun again
    found, whole = (vxstore.open(str(of.store)) for of in (run, evaluated))
    assert found.names("evaluation") == sorted(outcomes.split(","))
    resumed, expected = (of.evaluation("choice").load() for of in (found, whole))
    assert resumed["sealed"].values.all()
    for name in ("log_odds", "option_mass", "masked"):
        assert resumed[name].values == pytest.approx(expected[name].values, abs=1e-6), name
    assert vxstore.effects(found, "choice")["verdict"] is not None


def test_batches_belong_to_16_bits(
    run_options: list[str], cut_short: Cut, capsys: pytest.CaptureFixture[str]
) -> None:
    half = [*run_options, "--model.dtype", "bfloat16"]
    for stage in ("locate", "reduce"):
        assert main([stage, *half]) == 0
    cut_short(half)
    assert main(["evaluate", *half, "--evaluate.max_padding", "0.5"]) == 2
    assert "max_padding is 0.1 there, 0.5 here" in capsys.readouterr().err
    assert main(["evaluate", *half]) == 0


def test_batches_may_change_in_32_bits(run_options: list[str], cut_short: Cut) -> None:
    for stage in ("locate", "reduce"):
        assert main([stage, *run_options]) == 0
    cut_short(run_options)
    assert main(["evaluate", *run_options, "--evaluate.max_padding", "0.5"]) == 0
