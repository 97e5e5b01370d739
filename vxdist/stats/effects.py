"""What the masks did: mean shifts against the intact model, beside those of the control draws.

C: condition, D: dilemma, M: mask, V: value, G: language, K: control draw.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxdist.stats.intervals import t_interval, wilson_interval
from vxdist.stats.judge import draw_variance

Floats = NDArray[np.float64]
Labels = NDArray[np.str_]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of the model, one number for each condition and dilemma.

    `kind_C` is intact (once), mask or control, and `mask_C` the value whose mask it is, or whose
    mask the control draw is matched to. The model's decision flips where the number crosses
    `boundary`; None if there is no such point.
    """

    number_CD: Floats
    kind_C: Labels
    mask_C: Labels
    value_D: Labels
    language_D: Labels
    boundary: float | None

    def of_mask(self, mask: str) -> NDArray[np.intp]:
        """The conditions of a mask: its own, then its control draws in order."""
        on = np.flatnonzero((self.kind_C == "mask") & (self.mask_C == mask))
        draws = np.flatnonzero((self.kind_C == "control") & (self.mask_C == mask))
        return np.concatenate([on, draws])

    def of_cell(self, value: str, language: str) -> NDArray[np.intp]:
        """The dilemmas of a value in a language."""
        return np.flatnonzero((self.value_D == value) & (self.language_D == language))


def effect_matrix(
    measured: Measured,
    masks: Sequence[str],
    languages: Sequence[str],
    *,
    confidence: float,
    values: Sequence[str] | None = None,
) -> dict[str, NDArray[Any]]:
    """Every mask on the dilemmas of every value in every language; None is the masks' values.

    Arrays (M, V, G) in units of what was measured: mean_shift, shift_low and shift_high (ends of
    its t interval, over dilemmas), control_mean and control_sd (of the mean shifts of the control
    draws), se_total (the standard error of mean_shift - control_mean over both dilemmas and draws).
    Others (M, V, G): flip_rate, flip_low and flip_high (ends of its Wilson interval), control_rank
    (see `rank_among`), dilemma_count. With control draws also control_shift (M, V, G, K), the mean
    shift of each draw. NaN where there are no dilemmas, or too few for a spread.
    """
    values = masks if values is None else values
    shape = (len(masks), len(values), len(languages))
    intact_D = measured.number_CD[measured.kind_C == "intact"][0]
    cells = []
    for mask in masks:
        number_CD = measured.number_CD[measured.of_mask(mask)]
        for value in values:
            for language in languages:
                at = measured.of_cell(value, language)
                # Contiguous, so that equal rows have equal means.
                shift_CD = np.ascontiguousarray(number_CD[:, at] - intact_D[at])
                rate = flip_rate(intact_D[at], number_CD[0, at], measured.boundary)
                cells.append(_cell(shift_CD, confidence) | _flips(rate, at.size, confidence))
    arrays = {}
    for name in cells[0]:
        stacked = np.array([cell[name] for cell in cells])
        if name != "control_shift" or stacked.shape[1]:
            arrays[name] = stacked.reshape(*shape, *stacked.shape[1:])
    return arrays


def _cell(shift_CD: Floats, confidence: float) -> dict[str, Any]:
    """One cell; the first condition is the mask, the others are its control draws."""
    conditions, dilemmas = shift_CD.shape
    shift_C = shift_CD.mean(axis=-1) if dilemmas else np.full(conditions, np.nan)
    low_C, high_C = t_interval(shift_CD[:1], confidence)
    draws = conditions - 1
    sd = float(np.sqrt(draw_variance(shift_C[1:])))
    return {
        "mean_shift": shift_C[0],
        "shift_low": low_C[0],
        "shift_high": high_C[0],
        "control_mean": shift_CD[1:].mean() if draws and dilemmas else np.nan,
        "control_sd": sd,
        "se_total": sd * np.sqrt(1 + 1 / draws) if draws else np.nan,
        "control_rank": rank_among(float(shift_C[0]), shift_C[1:]),
        "dilemma_count": dilemmas,
        "control_shift": shift_C[1:],
    }


def _flips(rate: float, dilemmas: int, confidence: float) -> dict[str, float]:
    low, high = wilson_interval(rate, dilemmas, confidence)
    return {"flip_rate": rate, "flip_low": low, "flip_high": high}


def flip_rate(before_D: Floats, after_D: Floats, boundary: float | None) -> float:
    """Share of dilemmas on which the decision changes; NaN without any, or without boundary."""
    if boundary is None or not len(before_D):
        return float("nan")
    return float(np.mean((before_D > boundary) != (after_D > boundary)))


def rank_among(shift: float, control_shifts: Floats) -> float:
    """Share of control shifts below `shift`, ties counting half; NaN without any or for NaN."""
    if not len(control_shifts) or np.isnan([shift, *control_shifts]).any():
        return float("nan")
    below = np.mean(control_shifts < shift) + np.mean(control_shifts == shift) / 2
    return float(below)
