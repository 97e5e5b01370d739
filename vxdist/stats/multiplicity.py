"""Benjamini-Hochberg: which of many tests can be believed at once.

K: test, from the smallest p on.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
AT_ONCE = 1 << 20
"""Tests whose q are computed at a time: all of a 70B model take much memory."""


def bh_q(p: Floats) -> Floats:
    """q of each p, in the shape and dtype of `p`: the lowest FDR at which the test is rejected.

    NaN is a test that was not made: it stays NaN, and does not count among the tests.
    """
    flat = p.ravel()
    tests = flat.size - int(np.count_nonzero(np.isnan(flat)))
    order_K, q_K = _sort(flat)
    q_K = q_K[:tests]
    _spread(q_K, tests)
    np.minimum.accumulate(q_K[::-1], out=q_K[::-1])
    np.minimum(q_K, 1, out=q_K)
    q = np.full_like(flat, np.nan)
    for n in range(0, tests, AT_ONCE):  # positions are widened, some at a time
        q[order_K[n : min(n + AT_ONCE, tests)]] = q_K[n : n + AT_ONCE]
    return q.reshape(p.shape)


def _sort(p: Floats) -> tuple[NDArray[Any], Floats]:
    """Where the sorted p were, and those themselves; NaN come last.

    Those of a neuron each are many, and in single precision: there p and position are sorted as one
    whole number, in half the time. A p that is not negative sorts as its bits do.
    """
    if p.dtype != np.float32 or p.size >= 1 << 32:
        order_K = np.argsort(p, kind="stable")
        return order_K, p[order_K]
    both_K = np.empty(p.size, dtype="<u8")
    half_K2 = both_K.view("<u4").reshape(-1, 2)  # the lower half comes first
    half_K2[:, 0] = np.arange(p.size, dtype=np.uint32)
    half_K2[:, 1] = p.view(np.uint32)
    both_K.sort()
    return half_K2[:, 0], half_K2[:, 1].view("<f4")


def bh_count(p_sorted: Floats, tests: int, fdr: float) -> int:
    """How many of `tests` are rejected at `fdr`, from the smallest of their p in ascending order.

    `p_sorted` (K,) may be the beginning of the list; the count is exact as long as that holds every
    p that could be rejected. It is the number of `bh_q` at most `fdr`.
    """
    spread_K = p_sorted.copy()
    _spread(spread_K, tests)
    rejected_K = np.flatnonzero(spread_K <= fdr)
    return int(rejected_K[-1]) + 1 if rejected_K.size else 0


def _spread(p_K: Floats, tests: int) -> None:
    """Make p x tests / rank of p, in their own memory and dtype."""
    p_K *= p_K.dtype.type(tests)
    for n in range(0, p_K.size, AT_ONCE):
        some_K = p_K[n : n + AT_ONCE]
        some_K /= np.arange(n + 1, n + 1 + some_K.size).astype(p_K.dtype)
