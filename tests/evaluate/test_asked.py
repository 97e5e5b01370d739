"""What is asked together, and what control draws are asked about."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vxstore
from vxdist.asking.outcomes import Traits
from vxdist.asking.outcomes.choice import Choice
from vxdist.asking.outcomes.likelihood import Likelihood
from vxstore.cli.main import main as vxstore_main
from vxstore.evaluation import ConditionRecorder

EXACT = {"log_odds": 1e-5, "log_likelihood": 1e-5}


def opened(run: Any, name: str) -> Any:
    return vxstore.open(str(run.store)).evaluation(name).load()


@pytest.mark.parametrize(("outcome", "array"), [(Choice, "log_odds"), (Likelihood, "log_odds")])
def test_together_is_as_apart(
    outcome: Any, array: str, evaluated: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = outcome.__name__.lower()
    together = opened(evaluated, kind)
    assert together.attrs["shares_prompts"] is True
    run = evaluated.copied(tmp_path)
    monkeypatch.setattr(outcome, "traits", Traits(questions=outcome.traits.questions))
    assert run.evaluate("--evaluate.outcome", kind, "--evaluate.name", "apart") == 0
    apart = opened(run, "apart")
    assert "shares_prompts" not in apart.attrs
    np.testing.assert_allclose(together[array], apart[array], rtol=0, atol=2e-5)
    assert (together[array].values != apart[array].values).any()  # they were computed otherwise


def test_an_evaluation_that_began_apart_goes_on_apart(
    reduced: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed_after: Callable[[int], AbstractContextManager[None]],
) -> None:
    """As of an earlier version, to the bit."""
    run = reduced.copied(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Choice, "traits", Traits())
        assert run.evaluate("--evaluate.name", "whole") == 0
        with killed_after(2):
            assert run.evaluate("--evaluate.name", "cut") == 3
    assert run.evaluate("--evaluate.name", "cut") == 0
    np.testing.assert_array_equal(opened(run, "cut").log_odds, opened(run, "whole").log_odds)


@pytest.fixture(scope="module")
def own(evaluated: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """With an evaluation whose control draws are asked about their own value's dilemmas."""
    run = evaluated.copied(tmp_path_factory.mktemp("own"))
    options = ("--evaluate.outcome", "choice", "--evaluate.name", "own")
    assert run.evaluate(*options, "--evaluate.control_dilemmas", "own") == 0
    return run


def test_draws_are_asked_about_their_own_value(own: Any) -> None:
    every, found = opened(own, "choice"), opened(own, "own")
    is_draw_C = (found.kind == "control").values
    asked_CD = ~is_draw_C[:, None] | (found["mask"].values[:, None] == found["value"].values)
    assert not asked_CD.all()
    np.testing.assert_array_equal(np.isfinite(found.log_odds).all("order"), asked_CD)
    difference = np.abs(found.log_odds - every.log_odds).max("order").values[asked_CD]
    assert difference.max() < 2e-5


def test_what_own_dilemmas_can_say(own: Any) -> None:
    store = vxstore.open(str(own.store))
    every, found = (store.effect(name).load() for name in ("choice", "own"))
    is_own = np.eye(3, dtype=bool)
    for name in ("p_value", "control_rank", "control_sd", "control_mean"):
        np.testing.assert_allclose(
            found[name].values[is_own], every[name].values[is_own], rtol=1e-3, atol=1e-6
        )
        assert np.isnan(found[name].values[~is_own]).all(), name
    assert np.isnan(found.p_specific).all()
    assert found.attrs["families"]["own"]["cells"] == every.attrs["families"]["own"]["cells"] > 0
    assert found.attrs["families"]["other"]["cells"] == 0


def test_a_number_that_was_asked_must_be_finite(own: Any, tmp_path: Path) -> None:
    recorder = ConditionRecorder(str(own.copied(tmp_path).store), "own")
    stored = recorder.array("log_odds")[:]
    last = stored.shape[0] - 1
    recorder.write(last, {"log_odds": stored[last]})
    at = int(np.flatnonzero(recorder.asked()[last])[0])
    stored[last, at] = np.nan
    with pytest.raises(ValueError, match="log_odds is not finite"):
        recorder.write(last, {"log_odds": stored[last]})


def test_check_and_tables_know_of_it(own: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert vxstore_main(["check", str(own.store)]) == 0
    capsys.readouterr()
    assert vxstore_main(["effects", str(own.store), "--evaluation", "own"]) == 0
    assert "control draws were asked about the dilemmas of their own mask's value only" in (
        " ".join(capsys.readouterr().out.split())
    )
