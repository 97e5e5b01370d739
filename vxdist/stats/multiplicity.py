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
    order_K, sorted_K = _sort(flat)
    q_K = _spread(sorted_K[:tests], tests)
    q_K[::-1] = np.minimum.accumulate(q_K[::-1])
    q = np.full_like(flat, np.nan)
    q[order_K[:tests]] = np.minimum(q_K, 1)
    return q.reshape(p.shape)


def _sort(p: Floats) -> tuple[NDArray[Any], Floats]:
    """Where the sorted p were, and those themselves; NaN come last.

    Those of a neuron each are many, and in single precision: there p and position are sorted as one
    whole number, in half the time. A p that is not negative sorts as its bits do.
    """
    if p.dtype != np.float32 or p.size >= 1 << 32:
        order_K = np.argsort(p, kind="stable")
        return order_K, p[order_K]
    both_K = p.view(np.uint32).astype(np.uint64)
    both_K <<= np.uint64(32)
    both_K |= np.arange(p.size, dtype=np.uint32)
    both_K.sort()
    position_K = both_K.astype(np.uint32)  # the lower half
    both_K >>= np.uint64(32)
    return position_K, both_K.astype(np.uint32).view(np.float32)


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
