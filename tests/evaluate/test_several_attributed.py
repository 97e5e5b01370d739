"""Several outcomes in one run, of a store with an attribution, and by doses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vxstore
from vxdist.cli import main
from vxdist.config import AttributeConfig, Config, compose_section
from vxdist.config import EvaluateConfig as Plain
from vxstore.check.store import check

MORE = ("--evaluate.controls", "8")
ARRAYS = ("p_attributed", "warrant_r", "warrant_slope")


@pytest.fixture(scope="module")
def attributed(reduced: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A reduced store with an attribution of all dilemmas, of the outcome that can have one."""
    run = reduced.copied(tmp_path_factory.mktemp("attributed"))
    listed = ("--evaluate.outcome", "harm,choice", "--attribute.dilemmas", "all")
    assert main(["attribute", *run.options, "--store", str(run.store), *listed]) == 0
    assert vxstore.open(str(run.store)).names("attribution") == ["choice-all"]
    return run


def effect(run: Any, name: str) -> Any:
    return vxstore.open(str(run.store)).effect(name).load()


def test_the_attribution_is_of_its_own_outcome(
    attributed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = attributed.copied(tmp_path)
    listed = ("--evaluate.outcome", "choice,likelihood,harm,answers")
    assert run.evaluate(*MORE, *listed) == 0
    choice = effect(run, "choice")
    assert choice.attrs["warrant"]["attribution"] == "choice-all"
    assert choice.attrs["harm_of"] == "harm"
    assert (~np.isnan(choice.warrant_r)).any()
    assert (~np.isnan(choice.harm_shift)).any()
    for name in ("likelihood", "harm"):
        assert "warrant" not in effect(run, name).attrs
        assert "p_attributed" not in effect(run, name)
    cells = vxstore.effects(vxstore.open(str(run.store)), "choice")["cells"]
    assert {*ARRAYS, "harm_shift", "harm_p", "nll_shift"} <= set(cells)
    assert not check(str(run.store)).findings
    capsys.readouterr()
    assert run.evaluate(*MORE, *listed) == 0
    assert "effects of" not in capsys.readouterr().out  # none is measured again


def test_harm_that_is_added_leaves_what_is_attributed(attributed: Any, tmp_path: Path) -> None:
    run = attributed.copied(tmp_path)
    assert run.evaluate(*MORE) == 0
    before = effect(run, "choice")
    assert run.evaluate(*MORE, "--evaluate.outcome", "harm") == 0
    after = effect(run, "choice")
    assert "harm_of" not in before.attrs
    assert after.attrs["harm_of"] == "harm"
    assert after.attrs["warrant"] == before.attrs["warrant"]
    for name in ARRAYS:
        np.testing.assert_array_equal(after[name], before[name])


def test_draws_at_quantiles_are_of_what_is_attributed(
    attributed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = attributed.copied(tmp_path)
    spread = (*MORE, "--evaluate.draws", "quantiles", "--evaluate.outcome")
    capsys.readouterr()
    assert run.evaluate(*spread, "harm,answers") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "harm, answers cannot be attributed to neurons; use random" in line
    assert run.evaluate(*spread, "choice,harm") == 0
    store = vxstore.open(str(run.store))
    choice, harm = store.evaluation("choice").load(), store.evaluation("harm").load()
    assert (choice.attrs["draws"], harm.attrs["draws"]) == ("quantiles", "random")
    is_draw = choice["kind"].values == "control"
    assert choice["masked"].values[~is_draw].tolist() == harm["masked"].values[~is_draw].tolist()
    assert (choice["masked"].values[is_draw] != harm["masked"].values[is_draw]).any()
    assert effect(run, "choice").attrs["harm_of"] == "harm"


@pytest.mark.long
def test_doses_of_several(reduced: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A curve of each outcome of dilemmas, at the end of the run that completes it."""
    run = reduced.copied(tmp_path)
    listed = ("--evaluate.outcome", "choice,likelihood,harm,answers")
    assert run.evaluate(*listed) == 0
    half = ("--evaluate.intervention", "scale", "--evaluate.scale.dose", "0.5")
    capsys.readouterr()
    assert run.evaluate(*listed, *half, "--evaluate.name", "half") == 0
    said = capsys.readouterr().out
    store = vxstore.open(str(run.store))
    for name in ("choice", "likelihood"):
        assert f"dose curve of {name}, half-{name} (doses 0, 0.5)" in said
        curve = store.dose(f"half-{name}").load()
        assert curve["evaluation"].values.tolist() == [name, f"half-{name}"]
        np.testing.assert_array_equal(curve["mean_shift"][0], effect(run, name)["mean_shift"])
    assert said.count("dose curve") == 2
    assert effect(run, "half-choice").attrs["harm_of"] == "half-harm"
    assert not check(str(run.store)).findings


@pytest.mark.parametrize(
    ("outcome", "own", "expected"),
    [
        ("choice", None, "choice-odd"),
        (["harm", "choice", "likelihood"], None, "choice-odd"),
        (["harm", "likelihood", "choice"], None, "likelihood-odd"),
        (["harm", "answers"], None, "harm-odd"),  # which attribute refuses
        (["harm", "answers"], "choice", "choice-odd"),
        ([], None, "-odd"),
    ],
)
def test_attribution_of_several_outcomes(outcome: Any, own: str | None, expected: str) -> None:
    evaluate = compose_section(Plain)(outcome=outcome)
    config = Config(evaluate=evaluate, attribute=AttributeConfig(outcome=own))
    assert config.attribution_name == expected
