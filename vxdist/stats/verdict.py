"""Which effects pass, and whether the masks do more than their control draws.

C: a mask and its control draws, M: mask, V: value, G: language, K: control draw.
"""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Verdict(TypedDict):
    """How many cells of the effect matrix pass, of the masks and of draws in the masks' place.

    A cell is one mask on the dilemmas of one value in one language; it is `own` if the mask is of
    that value. `placebo` and `placebo_own` have one count for each control draw.
    `beyond_controls`: the masks pass in more cells than any draw does.
    """

    cells: int
    passed: int
    passed_own: int
    placebo: list[int]
    placebo_own: list[int]
    beyond_controls: bool


def passes(shift_C: Floats, low_C: Floats, high_C: Floats) -> Bools:
    """Which of a mask and its control draws, in one cell, pass both tests against the others.

    The tests: the interval excludes zero, and the shift is strictly outside all others. Without
    another to compare with, none passes. All are judged alike, so that a draw put in the mask's
    place (a placebo) passes by chance as often as a mask that is no more than a draw.
    """
    if shift_C.size < 2:
        return np.zeros(shift_C.shape, dtype=bool)
    return excludes_zero(low_C, high_C) & outermost(shift_C)


def excludes_zero(low: Floats, high: Floats) -> Bools:
    """Where an interval does not hold zero; an interval that is NaN does not exclude it."""
    return np.asarray((low > 0) | (high < 0), dtype=bool)


def outermost(shift_C: Floats) -> Bools:
    """Which numbers are strictly below, or strictly above, all others; ties are neither."""
    others = shift_C.size - 1
    above_C = (shift_C[:, None] > shift_C).sum(axis=1)
    below_C = (shift_C[:, None] < shift_C).sum(axis=1)
    return np.asarray((above_C == others) | (below_C == others), dtype=bool)


def sum_up(passes_MVG: Bools, placebo_MVGK: Bools) -> Verdict:
    """The verdict on an effect matrix whose masks and values have the same labels in order."""
    own = np.arange(len(passes_MVG))
    passed = int(passes_MVG.sum())
    placebo_K = placebo_MVGK.sum(axis=(0, 1, 2))
    return Verdict(
        cells=passes_MVG.size,
        passed=passed,
        passed_own=int(passes_MVG[own, own].sum()),
        placebo=[int(n) for n in placebo_K],
        placebo_own=[int(n) for n in placebo_MVGK[own, own].sum(axis=(0, 1))],
        beyond_controls=bool(placebo_K.size and passed > placebo_K.max()),
    )
