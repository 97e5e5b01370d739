"""Scaling by several doses, and the curve of them, through the commands.

X: dose, D: dilemma.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vxstore
from vxdist.cli import main
from vxstore.cli.main import main as vxstore_main
from vxstore.outcome import averaged

DOSES = {"choice": 0.0, "half": 0.5, "double": 2.0}
Evaluate = Callable[..., int]


@pytest.fixture
def evaluate(run_options: list[str]) -> Evaluate:
    """Evaluate a reduced store with more options; with `dose` scale, else zero."""
    options = [*run_options, "--evaluate.controls", "4", "--evaluate.values", "[kindness,thrift]"]
    for stage in ("locate", "reduce"):
        assert main([stage, *options]) == 0

    def run(*more: str, name: str = "choice", dose: float | None = None) -> int:
        scale = ("--evaluate.intervention", "scale", "--evaluate.scale.dose", str(dose))
        named = ("--evaluate.name", name, *(scale if dose is not None else ()))
        return main(["evaluate", *options, *named, *more])

    return run


def test_three_doses_make_a_curve(
    evaluate: Evaluate,
    run_options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = str(tmp_path / "run.zarr")
    assert evaluate() == 0
    assert vxstore_main(["doses", path]) == 2
    assert "run.zarr has no dose curve; `vxdist evaluate" in capsys.readouterr().err
    assert evaluate(name="half", dose=0.5) == 0
    assert evaluate(name="none", dose=0.0) == 0
    assert evaluate("--evaluate.seed", "1", name="seed", dose=0.25) == 0
    capsys.readouterr()
    assert evaluate(name="double", dose=2.0) == 0
    assert "dose curve of choice, half, double (doses 0, 0.5, 2): " in capsys.readouterr().out
    store = vxstore.open(path)

    zero, none = (store.evaluation(name).load() for name in ("choice", "none"))
    assert none.log_odds.equals(zero.log_odds)
    _check_curve(store)
    assert store.dose("seed").evaluation.values.tolist() == ["seed"]

    # Again: nothing is measured, and the curve of each is brought up to now.
    before = store.dose("double").attrs
    assert evaluate(name="double", dose=2.0) == 0
    assert store.dose("double").attrs == before
    assert "dose curve" not in capsys.readouterr().out
    assert evaluate(name="half", dose=0.5) == 0
    assert store.dose("half").evaluation.values.tolist() == ["choice", "half", "double"]
    assert evaluate("--evaluate.fdr", "0.2", name="half", dose=0.5) == 0
    assert store.dose("half").attrs["fdr"] == 0.2
    assert vxstore_main(["check", path]) == 0
    _check_answers(path, capsys)
    assert main(["report", *run_options, "--report.evaluation", "half"]) == 0
    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert "How the shifts follow the dose" in page
    assert page.count('class="dose-curve') == 4  # two masks in two languages
    assert main(["report", *run_options, "--report.evaluation", "seed"]) == 0
    assert "dose-curve" in (tmp_path / "run.html").read_text(encoding="utf-8")
    _check_draws(path)


def _check_draws(path: str) -> None:
    """Evaluations whose draws are chosen otherwise, and so are other neurons, share no curve."""
    from vxdist.evaluate.doses import find_members
    from vxstore.io import arrays
    from vxstore.io.metadata import commit

    store = vxstore.open(path)
    assert list(find_members(store, "double")) == ["choice", "half", "double"]
    names = ("evaluation/half", "evaluation/choice")
    half, choice = (arrays.open_group(path, name, mode="r+") for name in names)
    commit(path, {}, without=names)
    del half.attrs["draws"]  # an earlier version drew at random, and did not say so
    choice.attrs["draws"] = "quantiles"
    commit(path, {})
    assert list(find_members(store, "double")) == ["none", "half", "double"]
    assert list(find_members(store, "choice")) == ["choice"]


def _check_curve(store: vxstore.Store) -> None:
    """Shifts are those of the evaluations' own effects, slopes those of plain least squares."""
    found = store.dose("double").load()
    assert dict(zip(found.evaluation.values, found.dose.values, strict=True)) == DOSES
    shifts = []
    for n, name in enumerate(DOSES):
        effect, number_CD = store.effect(name), averaged(store.evaluation(name))
        for array in ("mean_shift", "shift_low", "control_mean", "control_sd"):
            np.testing.assert_array_equal(found[array][n], effect[array])
        shifts.append(number_CD - number_CD[0])
    evaluation = store.evaluation("choice")
    conditions = evaluation.condition.values.tolist()
    away_X1 = 1 - np.array(list(DOSES.values()))[:, None]
    for mask in ("kindness", "thrift"):
        at = (evaluation.value.values == mask) & (evaluation.dilemma_language.values == "zh")
        cell = {"mask": mask, "value": mask, "language": "zh"}
        for name, slope in [
            (mask, found.slope.sel(cell)),
            (f"{mask} control 2", found.control_slope.sel({**cell, "draw": 2})),
        ]:
            shift_XD = np.stack([of[conditions.index(name)][at] for of in shifts])
            slope_D = np.linalg.lstsq(away_X1, shift_XD, rcond=None)[0][0]
            np.testing.assert_allclose(slope, slope_D.mean())
    assert np.isfinite(found.p_value.values).all()


def _check_answers(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert vxstore_main(["doses", path, "--evaluation", "double", "--format", "json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    of_cell = [r for r in answer["curve"] if (r["mask"], r["language"]) == ("thrift", "en")]
    assert [row["dose"] for row in of_cell] == [0.0, 0.5, 1.0, 2.0]
    assert (of_cell[2]["evaluation"], of_cell[2]["mean_shift"]) == ("intact", 0.0)
    assert answer["others"] == ["none", "seed"]  # none is another zero
    assert len(answer["slopes"]) == 4
    assert vxstore_main(["doses", path, "--all", "--format", "csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 2 * 2 * 2 * 4
    assert vxstore_main(["doses", path, "--mask", "thrift", "--language", "zh"]) == 0
    shown = capsys.readouterr().out
    assert "kindness" not in shown
    assert "0.5" in shown
    assert "verdict: " in shown
    for wrong in (("--mask", "greed"), ("--evaluation", "absent")):
        assert vxstore_main(["doses", path, *wrong]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("scale", "scale.dose", "1"), "evaluate.scale.dose: 1 leaves the model intact"),
        (("scale", "scale.dose", ".nan"), "evaluate.scale.dose: found nan, expected a number"),
        (("scale", "scale.dose", "-1"), "evaluate.scale.dose: found -1.0, expected a number"),
        (("scale", "scale.dose", "10.5"), "expected a number from 0 to 10"),
        (("scale", "scale.dose", "much"), "evaluate.scale.dose"),
        (("add", "add.strength", "0"), "evaluate.add.strength: found 0"),
        (("add", "add.strength", ".inf"), "evaluate.add.strength: found inf"),
        (("other_mean", "other_mean.value", "greed"), "found 'greed', expected a value that is"),
        (("other_mean", "other_mean.value", "thrift"), "thrift is one of the values to ablate"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    run_options: list[str],
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, str, str],
    shown: str,
) -> None:
    """Before anything is recorded."""
    intervention, key, text = options
    asked = ("--evaluate.intervention", intervention, f"--evaluate.{key}", text)
    assert main(["run", *run_options, *asked]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert shown in line


@pytest.mark.parametrize("intervention", ["add", "other_mean"])
def test_what_is_not_recorded_is_refused_by_name(
    run_options: list[str], capsys: pytest.CaptureFixture[str], intervention: str
) -> None:
    asked = ("--evaluate.intervention", intervention, "--locate.statistics", "[active_count]")
    assert main(["run", *run_options, *asked]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"evaluate.intervention: {intervention} needs activation_sum" in line
