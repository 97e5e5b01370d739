"""The effect matrix: laws, and rates on numbers with a known effect."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vxdist.stats.effects import Measured, effect_matrix, flip_rate, rank_among

MASKS, LANGUAGES = ("a", "b", "c"), ("zh", "en")


def make(
    seed: int,
    *,
    draws: int = 4,
    dilemmas: int = 12,
    own_effect: float = 0.0,
    boundary: float | None = 0.0,
) -> Measured:
    """Random shifts of sd 1 under every condition; a mask adds `own_effect` on its own value."""
    kinds = [("intact", ""), *(("mask", m) for m in MASKS)]
    kinds += [("control", m) for m in MASKS for _ in range(draws)]
    labels = [(v, g) for v in MASKS for g in LANGUAGES for _ in range(dilemmas)]
    rng = np.random.default_rng(seed)
    number_CD = rng.normal(size=(len(kinds), len(labels))) + rng.normal(size=len(labels))
    value_D = np.array([v for v, _ in labels])
    for c, (kind, mask) in enumerate(kinds):
        number_CD[c] += own_effect * (kind == "mask") * (value_D == mask)
    return Measured(
        number_CD=number_CD,
        kind_C=np.array([kind for kind, _ in kinds]),
        mask_C=np.array([mask for _, mask in kinds]),
        value_D=value_D,
        language_D=np.array([g for _, g in labels]),
        boundary=boundary,
    )


def measure(measured: Measured) -> dict[str, np.ndarray]:
    """The matrix with usual settings."""
    return effect_matrix(measured, MASKS, LANGUAGES, confidence=0.95)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), draw=st.integers(0, 3))
def test_mask_and_draw_exchanged_exchange_their_shifts(seed: int, draw: int) -> None:
    """To the bit: a draw is measured as its mask is."""
    measured = make(seed, own_effect=0.8)
    before = measure(measured)
    at_draw = 4 + 4 + draw  # intact, three masks, four draws of a
    measured.number_CD[[2, at_draw]] = measured.number_CD[[at_draw, 2]]
    after = measure(measured)
    mask, draws = after["mean_shift"], after["control_shift"]
    np.testing.assert_array_equal(mask[1], before["control_shift"][1, ..., draw])
    np.testing.assert_array_equal(draws[1, ..., draw], before["mean_shift"][1])
    np.testing.assert_array_equal(mask[[0, 2]], before["mean_shift"][[0, 2]])


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_arrays_agree_with_each_other(seed: int) -> None:
    found = measure(make(seed, own_effect=0.5))
    draw_MVGK = found["control_shift"]
    np.testing.assert_allclose(found["control_mean"], draw_MVGK.mean(axis=-1))
    np.testing.assert_allclose(found["control_sd"], draw_MVGK.std(axis=-1, ddof=1))
    np.testing.assert_allclose(found["se_total"], found["control_sd"] * np.sqrt(1 + 1 / 4))
    below = (draw_MVGK < found["mean_shift"][..., None]).mean(axis=-1)
    np.testing.assert_array_equal(found["control_rank"], below)
    for low, middle, high in (
        ("shift_low", "mean_shift", "shift_high"),
        ("flip_low", "flip_rate", "flip_high"),
    ):
        assert (found[low] <= found[middle]).all()
        assert (found[middle] <= found[high]).all()


def test_intervals_by_scipy() -> None:
    measured = make(3)
    found = measure(measured)
    at = measured.of_cell("b", "en")
    shift_D = measured.number_CD[1, at] - measured.number_CD[0, at]
    expected = stats.ttest_1samp(shift_D, 0.0).confidence_interval(0.95)
    assert found["shift_low"][0, 1, 1] == pytest.approx(expected.low)
    assert found["shift_high"][0, 1, 1] == pytest.approx(expected.high)
    hits = round(found["flip_rate"][0, 1, 1] * 12)
    interval = stats.binomtest(hits, 12).proportion_ci(0.95, method="wilson")
    assert found["flip_low"][0, 1, 1] == pytest.approx(interval.low)
    assert found["flip_high"][0, 1, 1] == pytest.approx(interval.high)


def test_without_draws_there_are_no_arrays_of_draws() -> None:
    found = measure(make(1, draws=0, own_effect=5.0))
    assert "control_shift" not in found
    for name in ("control_rank", "control_mean", "control_sd", "se_total"):
        assert np.isnan(found[name]).all()


def test_one_draw_or_dilemma_has_no_spread() -> None:
    one = measure(make(1, draws=1))
    assert np.isnan(one["control_sd"]).all()
    assert not np.isnan(one["control_mean"]).any()
    alone = measure(make(1, dilemmas=1))
    assert np.isnan(alone["shift_low"]).all()
    assert not np.isnan(alone["control_sd"]).any()


def test_a_cell_without_dilemmas_says_nothing() -> None:
    measured = make(1)
    measured.value_D[measured.language_D == "zh"] = "a"
    found = measure(measured)
    for name in (
        "mean_shift",
        "shift_low",
        "flip_rate",
        "flip_low",
        "control_mean",
        "control_rank",
    ):
        assert np.isnan(found[name][:, 1:, 0]).all()
    assert np.isnan(found["control_shift"][:, 1:, 0]).all()
    assert (found["dilemma_count"][..., 0] == [36, 0, 0]).all()


def test_an_outcome_without_boundary_has_no_flips() -> None:
    found = measure(make(1, boundary=None))
    for name in ("flip_rate", "flip_low", "flip_high"):
        assert np.isnan(found[name]).all()
    assert flip_rate(np.array([0.4, 0.6]), np.array([0.6, 0.7]), 0.5) == 0.5
    assert np.isnan(flip_rate(np.array([]), np.array([]), 0.0))


def test_ties_count_half() -> None:
    assert rank_among(1.0, np.array([0.0, 1.0, 2.0, 3.0])) == pytest.approx(0.375)
    assert np.isnan(rank_among(0.0, np.array([])))
