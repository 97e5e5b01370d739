"""An attribution in use: neurons chosen by it, a null from it, and what is circular is refused."""

import numpy as np
import pytest

import vxstore
from vxdist.cli import main
from vxstore.check.store import check


@pytest.fixture
def attributed(run_options: list[str]) -> list[str]:
    """Options of a run whose store has attributions of both halves and of all dilemmas."""
    options = [*run_options, "--evaluate.controls", "8"]
    assert main(["locate", *options]) == 0
    for half in ("odd", "even", "all"):
        assert main(["attribute", *options, "--attribute.dilemmas", half]) == 0
    return options


def path_of(options: list[str]) -> str:
    return options[options.index("--store") + 1]


SELECT = ["--reduce.selector", "attribution", "--reduce.attribution.top_fraction", "0.1"]


def test_selector_takes_the_most_negative_and_circular_effects_are_refused(
    attributed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["reduce", *attributed, *SELECT]) == 2
    assert "reduce.attribution.name: not given; " in capsys.readouterr().err
    named = [*SELECT, "--reduce.attribution.name", "choice-all"]
    assert main(["reduce", *attributed, *named]) == 0
    store = vxstore.open(path_of(attributed))
    scores, of = store.scores("attribution").load(), store.attribution("choice-all").load()
    n = of.dilemma_count.sel(language="en").values
    sums, squares = (
        of[name].sel(language="en").transpose("layer", "neuron", "value").values
        for name in ("attribution_sum", "attribution_square_sum")
    )
    expected = (sums / n) / np.sqrt((squares - sums**2 / n) / (n - 1) / n)
    in_en = scores.sel(language="en").transpose("layer", "neuron", "value")
    assert in_en.t_attribution.values == pytest.approx(expected, rel=1e-4)
    for v in range(len(n)):
        t, chosen = expected[..., v].ravel(), in_en.selected.values[..., v].ravel()
        assert chosen.sum() == round(0.1 * t.size / len(n))
        assert t[chosen].max() <= t[~chosen].min()
        assert t[chosen].max() < 0
    assert scores.attrs["attribution"]["name"] == "choice-all"
    assert not check(path_of(attributed)).findings
    capsys.readouterr()
    for half in ("all", "even"):
        asked = ["--evaluate.scores", "attribution", "--evaluate.dilemmas", half]
        assert main(["evaluate", *attributed, *named, *asked]) == 2
        err = capsys.readouterr().err
        assert "is circular; attribute one half" in err
        assert err.count("\n") == 1


def test_neurons_of_one_half_are_evaluated_on_the_other(
    attributed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    # Odd halves of the small corpus have two dilemmas a language: a t is of both languages pooled.
    named = [*SELECT, "--reduce.attribution.name", "choice-all", "--reduce.name", "mine"]
    assert main(["reduce", *attributed, *named]) == 0
    from vxstore.io import arrays
    from vxstore.io.metadata import commit

    group = arrays.open_group(path_of(attributed), "scores/mine", mode="r+")
    group.update_attributes({"attribution": {"name": "choice-odd", "half": "odd"}})
    commit(path_of(attributed), {}, without=["scores/mine"])
    commit(path_of(attributed), {})
    asked = ["--evaluate.scores", "mine", "--evaluate.dilemmas"]
    capsys.readouterr()
    assert main(["evaluate", *attributed, *asked, "odd"]) == 2
    assert "set evaluate.dilemmas: even" in capsys.readouterr().err
    assert main(["evaluate", *attributed, *asked, "even"]) == 0
    evaluation = vxstore.open(path_of(attributed)).evaluation("choice")
    assert evaluation.sizes["dilemma"] == 6
    capsys.readouterr()
    assert main(["evaluate", *attributed, *asked, "all"]) == 2


def test_p_attributed(attributed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reduce", *attributed]) == 0
    assert main(["evaluate", *attributed]) == 0
    store = vxstore.open(path_of(attributed))
    effect, of = store.effect("choice").load(), store.attribution("choice-all").load()
    assert effect.attrs["warrant"]["attribution"] == "choice-all"
    assert effect.attrs["warrant"]["sets"] == 10_000
    r, p = effect.warrant_r.values, effect.p_attributed.values
    assert np.nanmedian(r) > 0.8  # tiny masks: the prediction is good
    slope = effect.warrant_slope.values
    warranted = (r >= 0.8) & (slope >= 0.7) & (slope <= 1.3)
    assert warranted.any()
    assert np.array_equal(~np.isnan(p), warranted)
    assert ((p[warranted] >= 1e-4) & (p[warranted] <= 1)).all()
    # r is that of the control draws' predicted and measured shifts
    evaluation = store.evaluation("choice").load()
    at = np.flatnonzero((evaluation.kind == "control") & (evaluation["mask"] == "kindness"))
    cell = {"value": "kindness", "language": "en"}
    mean_LN = of.attribution_sum.sel(**cell) / of.dilemma_count.sel(**cell)
    masked = evaluation.masked.sel(language="en").isel(condition=at)
    predicted = (masked * mean_LN).sum(("layer", "neuron")).values
    measured = effect.control_shift.sel(mask="kindness", **cell).values
    expected = np.corrcoef(predicted, measured)[0, 1]
    assert float(effect.warrant_r.sel(mask="kindness", **cell)) == pytest.approx(expected)
    assert not check(path_of(attributed)).findings
    capsys.readouterr()
    assert main(["evaluate", *attributed]) == 0
    said = capsys.readouterr().out
    assert "exists already" in said
    assert "effects of" not in said  # they are not measured again


def test_draws_at_quantiles(
    attributed: list[str], run_options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reduce", *attributed]) == 0
    spread = ["--evaluate.draws", "quantiles", "--evaluate.name", "spread"]
    capsys.readouterr()
    mean = ["--evaluate.intervention", "mean"]
    assert main(["evaluate", *attributed, *spread, *mean]) == 2
    assert "evaluate.draws: quantiles needs an attribution" in capsys.readouterr().err
    assert main(["evaluate", *attributed, *spread]) == 0
    store = vxstore.open(path_of(attributed))
    evaluation, of = store.evaluation("spread").load(), store.attribution("choice-all").load()
    for value in ("kindness",):
        at = np.flatnonzero((evaluation.kind == "control") & (evaluation["mask"] == value))
        own = np.flatnonzero((evaluation.kind == "mask") & (evaluation["mask"] == value))
        for language in ("en", "zh"):
            cell = {"value": value, "language": language}
            mean_LN = of.attribution_sum.sel(**cell) / of.dilemma_count.sel(**cell)
            masked = evaluation.masked.sel(language=language)
            predicted = (masked.isel(condition=at) * mean_LN).sum(("layer", "neuron")).values
            assert (np.diff(predicted) >= 0).all()
            counts = masked.sum("neuron")
            assert (counts.isel(condition=at).values == counts.isel(condition=own).values).all()
