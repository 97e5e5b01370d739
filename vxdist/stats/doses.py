"""The dose curve: what masks do when their neurons are scaled by one dose or another, and whether
it grows with the dose.

Dose 0 is zero ablation; dose 1 is the intact model, whose shift is 0 by definition. X: dose,
C: condition, D: dilemma, M: mask, V: value, G: language, K: control draw.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxdist.stats.effects import Measured, effect_matrix
from vxdist.stats.families import infer
from vxdist.stats.verdict import conclude

Floats = NDArray[np.float64]
CURVE = ("mean_shift", "shift_low", "shift_high", "control_mean", "control_sd")
"""Arrays of an effect matrix that a curve has at each dose."""
TREND = {
    "mean_shift": "slope",
    "shift_low": "slope_low",
    "shift_high": "slope_high",
    "control_mean": "control_slope_mean",
    "control_sd": "control_slope_sd",
    "control_shift": "control_slope",
    "p_value": "p_value",
    "q_value": "q_value",
    "dilemma_count": "dilemma_count",
}
"""Arrays of an effect matrix of slopes, and what the curve calls them."""


@dataclass(frozen=True, kw_only=True)
class DoseCurve:
    """Arrays (X, M, V, G) of `CURVE`, arrays (M, V, G) of `TREND` (control_slope: and K), and what
    `infer` says of the families of slopes, with the verdict on them."""

    arrays: dict[str, NDArray[Any]]
    attrs: dict[str, Any]


def dose_curve(
    dose_X: Floats,
    measured_X: Sequence[Measured],
    masks: Sequence[str],
    languages: Sequence[str],
    *,
    empty_MG: NDArray[np.bool_],
    confidence: float,
    fdr: float,
) -> DoseCurve:
    """The shifts of every mask by dose, and the trend of each, from evaluations that differ in the
    dose only: their conditions and dilemmas are the same. No dose is 1. NaN for masks without a
    neuron (`empty_MG`), and where there are no dilemmas.

    The trend is tested as a shift is: the slope of each dilemma takes the place of its shift, so
    that its mean has a t interval over dilemmas, and p and q by the predictive t against the mean
    slopes of the mask's own draws (see `families.infer`).
    """
    by_dose = [effect_matrix(m, masks, languages, confidence=confidence) for m in measured_X]
    arrays = {name: np.stack([of[name] for of in by_dose]) for name in CURVE}
    trend = effect_matrix(_slopes(dose_X, measured_X), masks, languages, confidence=confidence)
    found = infer(trend, empty_MG, fdr)
    trend |= found.arrays
    arrays |= {name: trend[of] for of, name in TREND.items() if of in trend}
    for name, array in arrays.items():
        if array.dtype.kind == "f":
            behind = (1,) * (name == "control_slope")
            nothing = empty_MG.reshape(len(masks), 1, len(languages), *behind)
            arrays[name] = np.where(nothing, np.nan, array)
    draws = trend["control_shift"].shape[-1] if "control_shift" in trend else 0
    verdict = conclude(trend, found.attrs["families"], masks, languages, draws=draws, fdr=fdr)
    return DoseCurve(arrays=arrays, attrs={**found.attrs, "verdict": verdict})


def _slopes(dose_X: Floats, measured_X: Sequence[Measured]) -> Measured:
    """The slopes of all conditions in the place of what was measured; that of the intact is 0."""
    shift_XCD = np.stack([m.number_CD - m.number_CD[m.kind_C == "intact"] for m in measured_X])
    # Contiguous, so that equal rows have equal means.
    slope_CD = np.ascontiguousarray(slope_on_dose(dose_X, shift_XCD))
    return dataclasses.replace(measured_X[0], number_CD=slope_CD, boundary=None)


def slope_on_dose(dose_X: Floats, shift_XCD: Floats) -> Floats:
    """Slope (C, D) of the shifts on 1 - dose, in their units: least squares through the intact
    model, sum(x y) / sum(x^2), for that point is known and has no error. With one dose it is the
    shift over 1 - dose."""
    away_X = 1.0 - dose_X
    slope_CD = np.tensordot(away_X, shift_XCD, axes=1) / (away_X @ away_X)
    return np.asarray(slope_CD, dtype=np.float64)
