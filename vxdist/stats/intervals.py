"""Intervals of a mean over dilemmas, and of the fraction of decisions that flip.

C: condition, D: dilemma.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]


def t_interval(sample_CD: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Ends (C,) of Student's interval of each row's mean, in its units; NaN if D is below 2.

    mean +- t s / sqrt(D), t the quantile with D - 1 degrees of freedom.
    """
    conditions, dilemmas = sample_CD.shape
    if dilemmas < 2:
        return np.full(conditions, np.nan), np.full(conditions, np.nan)
    # Only contiguous rows have, to the bit, the mean that they have alone.
    sample_CD = np.ascontiguousarray(sample_CD)
    quantile = special.stdtrit(dilemmas - 1, (1 + confidence) / 2)
    half_C = quantile * sample_CD.std(axis=-1, ddof=1) / np.sqrt(dilemmas)
    mean_C = sample_CD.mean(axis=-1)
    return mean_C - half_C, mean_C + half_C


def wilson_interval(fraction: float, count: int, confidence: float) -> tuple[float, float]:
    """Ends of Wilson's score interval of a fraction of `count` (Wilson 1927); NaN without any."""
    if not count or np.isnan(fraction):
        return float("nan"), float("nan")
    z = float(special.ndtri((1 + confidence) / 2))
    shrunk = 1 + z**2 / count
    middle = (fraction + z**2 / (2 * count)) / shrunk
    half = z / shrunk * np.sqrt(fraction * (1 - fraction) / count + (z / (2 * count)) ** 2)
    # At 0 and 1 the end is that number itself; rounding must not put it beside.
    low = 0.0 if fraction == 0 else middle - half
    return float(low), float(1.0 if fraction == 1 else middle + half)
