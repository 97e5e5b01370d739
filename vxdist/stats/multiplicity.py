"""Benjamini-Hochberg: which of many tests can be believed at once.

K: test, from the smallest p on.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def bh_q(p: Floats) -> Floats:
    """q of each p, in the shape and dtype of `p`: the lowest FDR at which the test is rejected.

    NaN is a test that was not made: it stays NaN, and does not count among the tests.
    """
    flat = p.ravel()
    tests = flat.size - int(np.count_nonzero(np.isnan(flat)))
    order_K = np.argsort(flat, kind="stable")[:tests]  # NaN come last
    q_K = _spread(flat[order_K], tests)
    q_K[::-1] = np.minimum.accumulate(q_K[::-1])
    q = np.full_like(flat, np.nan)
    q[order_K] = np.minimum(q_K, 1)
    return q.reshape(p.shape)


def bh_count(p_sorted: Floats, tests: int, fdr: float) -> int:
    """How many of `tests` are rejected at `fdr`, from the smallest of their p in ascending order.

    `p_sorted` (K,) may be the beginning of the list; the count is exact as long as that holds every
    p that could be rejected. It is the number of `bh_q` at most `fdr`.
    """
    rejected_K = np.flatnonzero(_spread(p_sorted, tests) <= fdr)
    return int(rejected_K[-1]) + 1 if rejected_K.size else 0


def _spread(p_K: Floats, tests: int) -> Floats:
    """p x tests / rank, in the dtype of `p_K`."""
    spread_K = p_K * p_K.dtype.type(tests)
    spread_K /= np.arange(1, p_K.size + 1, dtype=p_K.dtype)
    return np.asarray(spread_K)
