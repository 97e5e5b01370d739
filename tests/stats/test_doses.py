"""The trend of a dose curve: the slope by hand, its level without effect, a planted slope.

X: dose, C: condition, D: dilemma.
"""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from vxdist.stats.doses import DoseCurve, dose_curve, slope_on_dose
from vxdist.stats.effects import Measured, effect_matrix
from vxdist.stats.families import infer

MASKS = ("a", "b", "c", "d", "e", "f")
DRAWS, DILEMMAS = 16, 12
DOSES = (0.0, 0.5, 2.0)
LEVEL_SETS = 150


def evaluations(
    rng: np.random.Generator, *, doses: Sequence[float] = DOSES, planted: float = 0.0
) -> list[Measured]:
    """A mask is one more draw, but that `planted` x (1 - dose) is added for a on its own dilemmas.

    Sets have effects of their own, which follow the dose, on every dilemma otherwise; what is
    measured of each dose has noise too.
    """
    kind_C = np.array(["intact", *["mask"] * 6, *["control"] * (6 * DRAWS)])
    mask_C = np.array(["", *MASKS, *np.repeat(MASKS, DRAWS)])
    value_D = np.repeat(MASKS, DILEMMAS)
    shape = (len(kind_C), len(value_D))
    sd_C1 = np.array([{"": 0.0, **dict(zip(MASKS, range(1, 7), strict=True))}[m] for m in mask_C])
    set_CD = rng.normal(size=(shape[0], 1)) + rng.normal(size=shape)
    effect_CD = sd_C1[:, None] * set_CD
    effect_CD[1, value_D == "a"] += planted
    intact_D = rng.normal(size=shape[1])
    found = []
    for dose in doses:
        noise_CD = 0.5 * sd_C1[:, None] * rng.normal(size=shape)
        found.append(
            Measured(
                number_CD=intact_D + (1 - dose) * effect_CD + noise_CD,
                kind_C=kind_C,
                mask_C=mask_C,
                value_D=value_D,
                language_D=np.full(shape[1], "en"),
                boundary=None,
            )
        )
    return found


def curve_of(
    measured: list[Measured], doses: Sequence[float] = DOSES, empty: Sequence[int] = ()
) -> DoseCurve:
    return dose_curve(
        np.array(doses),
        measured,
        MASKS,
        ["en"],
        empty_MG=np.isin(np.arange(6), empty)[:, None],
        confidence=0.95,
        fdr=0.1,
    )


def own(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """The diagonal of an array (mask, value, language)."""
    return array[np.arange(6), np.arange(6), 0]


def test_a_slope_is_that_of_least_squares_through_the_intact_model() -> None:
    rng = np.random.default_rng(0)
    dose_X, shift_XCD = np.array([0.0, 0.3, 1.7, 10.0]), rng.normal(size=(4, 3, 5))
    found_CD = slope_on_dose(dose_X, shift_XCD)
    for c in range(3):
        expected_D = np.linalg.lstsq((1 - dose_X)[:, None], shift_XCD[:, c], rcond=None)[0][0]
        np.testing.assert_allclose(found_CD[c], expected_D)
    np.testing.assert_allclose(slope_on_dose(dose_X, (1 - dose_X)[:, None, None] * -2.5), -2.5)


def test_the_trend_of_zero_ablation_alone_is_its_effect() -> None:
    """p and intervals too: the tests of the two are one."""
    (measured,) = evaluations(np.random.default_rng(1), doses=(0.0,))
    curve = curve_of([measured], (0.0,))
    effect = effect_matrix(measured, MASKS, ["en"], confidence=0.95)
    effect |= infer(effect, np.zeros((6, 1), dtype=bool), 0.1).arrays
    for slope, shift in (("slope", "mean_shift"), ("slope_low", "shift_low"), ("p_value",) * 2):
        np.testing.assert_allclose(curve.arrays[slope], effect[shift], rtol=1e-9)
    np.testing.assert_array_equal(curve.arrays["mean_shift"][0], effect["mean_shift"])


def test_without_effect_a_slope_is_found_at_the_rate_of_chance() -> None:
    rng, below, any_found = np.random.default_rng(2), [], []
    for _ in range(LEVEL_SETS):
        curve = curve_of(evaluations(rng))
        below.append(own(curve.arrays["p_value"]) <= 0.05)
        any_found.append(bool(curve.attrs["verdict"]["found"]))
    # Three binomial standard errors.
    assert np.mean(below) == pytest.approx(0.05, abs=0.022)
    assert np.mean(any_found) <= 0.10 + 0.074


def test_a_planted_slope_is_found_and_its_size_is_right() -> None:
    rng, slopes, found, covered = np.random.default_rng(3), [], [], []
    for _ in range(20):
        curve = curve_of(evaluations(rng, planted=6.0))
        slopes.append(curve.arrays["slope"][0, 0, 0])
        low, high = (curve.arrays[f"slope_{end}"][0, 0, 0] for end in ("low", "high"))
        covered.append(low <= slopes[-1] <= high)
        found.append([of["mask"] for of in curve.attrs["verdict"]["found"]])
    assert np.mean(slopes) == pytest.approx(6.0, abs=0.8)
    assert all(covered)
    assert np.mean(["a" in of for of in found]) >= 0.9


def test_few_draws_and_empty_masks_have_no_p() -> None:
    measured = evaluations(np.random.default_rng(4))
    at = [c for c in range(7 + 6 * DRAWS) if c < 7 or (c - 7) % DRAWS < 3]
    few = [
        Measured(
            number_CD=m.number_CD[at],
            kind_C=m.kind_C[at],
            mask_C=m.mask_C[at],
            value_D=m.value_D,
            language_D=m.language_D,
            boundary=None,
        )
        for m in measured
    ]
    curve = curve_of(measured, empty=[2])
    for name in ("mean_shift", "slope", "p_value", "control_slope"):
        array = np.moveaxis(curve.arrays[name], 1 if name == "mean_shift" else 0, 0)
        assert np.isnan(array[2]).all(), name
        assert np.isfinite(array[[0, 1, 3, 4, 5]]).all(), name
    curve = curve_of(few)
    assert np.isnan(curve.arrays["p_value"]).all()
    assert "3 of the at least 4 control draws" in curve.attrs["verdict"]["untested"]
