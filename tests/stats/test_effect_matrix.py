"""The effect matrix: laws, and rates on numbers with a known effect."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vxdist.stats.effects import Measured, effect_matrix, flip_rate, rank_among
from vxdist.stats.verdict import sum_up

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


def measure(measured: Measured, **changes: float) -> dict[str, np.ndarray]:
    """The matrix with usual settings."""
    settings = {"confidence": 0.95, "resamples": 200, "seed": 1} | changes
    return effect_matrix(measured, MASKS, LANGUAGES, **settings)  # type: ignore[arg-type]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), draw=st.integers(0, 3))
def test_a_draw_that_is_the_mask_gets_its_verdict(seed: int, draw: int) -> None:
    """Exchanging the numbers of mask b and one of its draws exchanges what is said of them."""
    measured = make(seed, own_effect=0.8)
    before = measure(measured)
    at_draw = 4 + 4 + draw  # intact, three masks, four draws of a
    measured.number_CD[[2, at_draw]] = measured.number_CD[[at_draw, 2]]
    after = measure(measured)
    for of_mask, of_draws in (("mean_shift", "control_shift"), ("passes", "placebo_passes")):
        np.testing.assert_array_equal(after[of_mask][1], before[of_draws][1, ..., draw])
        np.testing.assert_array_equal(after[of_draws][1, ..., draw], before[of_mask][1])
        np.testing.assert_array_equal(after[of_mask][[0, 2]], before[of_mask][[0, 2]])


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_arrays_agree_with_each_other(seed: int) -> None:
    found = measure(make(seed, own_effect=0.5))
    inside = np.isin(found["control_rank"], [0, 1])
    clear = (found["shift_low"] > 0) | (found["shift_high"] < 0)
    np.testing.assert_array_equal(found["passes"], inside & clear)
    np.testing.assert_allclose(found["control_mean"], found["control_shift"].mean(axis=-1))
    below = (found["control_shift"] < found["mean_shift"][..., None]).mean(axis=-1)
    np.testing.assert_array_equal(found["control_rank"], below)
    assert (found["shift_low"] <= found["mean_shift"]).all()
    assert (found["mean_shift"] <= found["shift_high"]).all()


def test_a_planted_effect_passes_on_own_dilemmas_only() -> None:
    found = measure(make(2, own_effect=8.0))
    own = np.eye(3, dtype=bool)
    assert found["passes"][own].all()
    verdict = sum_up(found["passes"], found["placebo_passes"])
    assert verdict["passed_own"] == 6
    assert verdict["beyond_controls"]


def test_without_effect_masks_pass_as_often_as_placebos() -> None:
    """Over many data sets; both at the rate of an end of five, as all share the intact model's
    numbers and their intervals often exclude zero together."""
    at_masks, at_draws = [], []
    for seed in range(60):
        found = measure(make(seed, dilemmas=6), resamples=60)
        at_masks.append(found["passes"].mean())
        at_draws.append(found["placebo_passes"].mean())
    error = np.std(at_masks) / np.sqrt(len(at_masks))
    assert np.mean(at_masks) == pytest.approx(np.mean(at_draws), abs=3 * error)
    assert np.mean(at_draws) < 2 / 5


def test_without_draws_there_are_no_arrays_of_draws() -> None:
    found = measure(make(1, draws=0, own_effect=5.0))
    assert not {"control_shift", "placebo_passes"} & set(found)
    assert not found["passes"].any()
    assert np.isnan(found["control_rank"]).all()
    assert np.isnan(found["control_mean"]).all()


def test_a_cell_without_dilemmas_says_nothing() -> None:
    measured = make(1)
    measured.value_D[measured.language_D == "zh"] = "a"
    found = measure(measured)
    for name in ("mean_shift", "shift_low", "flip_rate", "control_mean", "control_rank"):
        assert np.isnan(found[name][:, 1:, 0]).all()
    assert np.isnan(found["control_shift"][:, 1:, 0]).all()
    assert (found["dilemma_count"][..., 0] == [36, 0, 0]).all()
    assert not found["passes"][:, 1:, 0].any()


def test_an_outcome_without_boundary_has_no_flips() -> None:
    assert np.isnan(measure(make(1, boundary=None))["flip_rate"]).all()
    assert flip_rate(np.array([0.4, 0.6]), np.array([0.6, 0.7]), 0.5) == 0.5
    assert np.isnan(flip_rate(np.array([]), np.array([]), 0.0))


def test_ties_count_half() -> None:
    assert rank_among(1.0, np.array([0.0, 1.0, 2.0, 3.0])) == pytest.approx(0.375)
    assert np.isnan(rank_among(0.0, np.array([])))
