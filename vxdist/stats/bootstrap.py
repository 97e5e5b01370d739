"""Bootstrap intervals of means over dilemmas.

C: condition, D: dilemma, R: resample.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

NUMBERS_AT_ONCE = 1 << 17
"""Resampled numbers held in memory at a time; more are slower, and change nothing."""


def mean_interval(
    sample_CD: Floats, *, confidence: float, resamples: int, seed: int
) -> tuple[Floats, Floats]:
    """Ends (C,) of the percentile bootstrap interval of each row's mean; NaN if D is below 2.

    Rows share the resamples, so their intervals differ by their numbers and not by chance; the
    interval of a row is the same whatever rows are beside it.
    """
    conditions, dilemmas = sample_CD.shape
    if dilemmas < 2:
        return np.full(conditions, np.nan), np.full(conditions, np.nan)
    found = stats.bootstrap(
        (sample_CD,),
        _mean,
        axis=-1,
        n_resamples=resamples,
        batch=max(1, NUMBERS_AT_ONCE // sample_CD.size),
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return np.asarray(found.low), np.asarray(found.high)


def _mean(resampled_CRD: Floats, axis: int) -> Floats:
    """Means along the last axis. Only in a contiguous array are they, to the bit, those of a row
    alone: numpy adds in the order of memory."""
    return np.asarray(np.ascontiguousarray(resampled_CRD).mean(axis=axis))
