"""How alike the selections of two halves of the dilemmas are.

Of use only beside the same figure under shuffled labels: a rule that picks noisy neurons is stable.

N: neuron, P: cluster, V: value, C: labeling, K: one of the neurons that rank first.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vxdist.stats.contrasts import exclusive
from vxdist.stats.labelings import Labelings

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def _differs(sum_CVN: Floats, counts_CV: Integers) -> Floats:
    size_C1 = counts_CV.sum(axis=1, keepdims=True)
    return np.asarray(sum_CVN / np.sqrt(counts_CV * (size_C1 - counts_CV))[..., None])


def _stance(sum_CVN: Floats, counts_CV: Integers) -> Floats:
    return np.abs(_differs(sum_CVN, counts_CV))


def _exclusive(sum_CVN: Floats, counts_CV: Integers) -> Floats:
    number_CVN = np.full(sum_CVN.shape, -np.inf)
    at = np.arange(sum_CVN.shape[-1])
    for number_VN, sum_VN, counts_V in zip(number_CVN, sum_CVN, counts_CV, strict=True):
        found = exclusive(sum_VN.T, counts_V, int(counts_V.sum()))
        number_VN[found.own_N, at] = found.t_N
    return number_CVN


RULES: Mapping[str, Callable[[Floats, Integers], Floats]] = {
    "contrast": _differs,
    "exclusive": _exclusive,
    "stance": _stance,
}
"""By selector, the number that ranks each (neuron, value), from sums of scores by half."""

WAITING = 4096
"""Neurons that wait, at least, before those that rank first are sorted out."""


def rank_in_halves(z_NP: Floats, halves: Labelings, rule: str) -> NDArray[np.float32]:
    """The numbers that rank neurons in each half; (C, V, N)."""
    sum_CVN = halves.sums_in_halves(np.ascontiguousarray(z_NP.T, dtype=np.float32))
    return RULES[rule](sum_CVN, halves.counts_CV).astype(np.float32)


class Leaders:
    """The neurons that rank first in each labeling for each value, kept as blocks of them pass.

    A neuron is known by a number of its own, its code.
    """

    def __init__(self, labelings: int, num_labels: int, most: int) -> None:
        self._number_CVK = np.full((labelings, num_labels, most), -np.inf, dtype=np.float32)
        self._code_CVK = np.zeros((labelings, num_labels, most), dtype=np.int64)
        self._last_CV1 = np.full((labelings, num_labels, 1), -np.inf, dtype=np.float32)
        self._waiting: list[tuple[NDArray[np.float32], Integers]] = []

    def add(self, number_CVN: NDArray[np.float32], code_N: Integers) -> None:
        """Take in more neurons; codes may also differ by labeling and value."""
        able_N = (number_CVN > self._last_CV1).any(axis=(0, 1))
        if not able_N.all():
            number_CVN, code_N = number_CVN[..., able_N], code_N[..., able_N]
        self._waiting.append((number_CVN, np.broadcast_to(code_N, number_CVN.shape)))
        most = self._number_CVK.shape[-1]
        if sum(number.shape[-1] for number, _ in self._waiting) > max(most // 4, WAITING):
            self._sort_out()

    def _sort_out(self) -> None:
        """Labeling by labeling, since all of them at once would take several times the memory."""
        numbers, codes = zip(*self._waiting, strict=True)
        most = self._number_CVK.shape[-1]
        for c in range(len(self._number_CVK)):
            number_VN = np.concatenate([of[c] for of in (self._number_CVK, *numbers)], axis=-1)
            code_VN = np.concatenate([of[c] for of in (self._code_CVK, *codes)], axis=-1)
            at_VK = np.argpartition(-number_VN, most - 1, axis=-1)[:, :most]
            self._number_CVK[c] = np.take_along_axis(number_VN, at_VK, axis=-1)
            self._code_CVK[c] = np.take_along_axis(code_VN, at_VK, axis=-1)
        self._last_CV1 = self._number_CVK.min(axis=-1, keepdims=True)
        self._waiting = []

    def first(self, size_V: Integers) -> list[list[Integers]]:
        """By labeling and value, the codes of the first `size_V`, as far as they have a number."""
        if self._waiting:
            self._sort_out()
        found = []
        for number_VK, code_VK in zip(self._number_CVK, self._code_CVK, strict=True):
            order_VK = np.lexsort((code_VK, -number_VK), axis=-1)
            places = [order_VK[v, :size] for v, size in enumerate(size_V)]
            kept = [at[np.isfinite(number_VK[v, at])] for v, at in enumerate(places)]
            found.append([code_VK[v, at] for v, at in enumerate(kept)])
        return found


def assignments(first: list[list[Integers]]) -> list[Integers]:
    """By labeling, the sorted set of (neuron, value), as neuron x V + value."""
    return [
        np.sort(np.concatenate([code_K * len(by_value) + v for v, code_K in enumerate(by_value)]))
        for by_value in first
    ]


def shares(selections: list[Integers]) -> dict[int, float]:
    """By member, the fraction of the selections that it is in."""
    code_K, count_K = np.unique(np.concatenate(selections), return_counts=True)
    return dict(zip(code_K.tolist(), (count_K / len(selections)).tolist(), strict=True))


def jaccard(one: Integers, other: Integers) -> float:
    """Shared members / members of either, of two sets without repeats; NaN of two empty ones."""
    both = np.intersect1d(one, other, assume_unique=True).size
    either = len(one) + len(other) - both
    return both / either if either else float("nan")


def mean_jaccard(selections: list[Integers]) -> float:
    """Mean Jaccard of the first with the second selection, the third with the fourth, and so on."""
    found = [jaccard(a, b) for a, b in list(pairwise(selections))[::2]]
    known = [one for one in found if not np.isnan(one)]
    return float(np.mean(known)) if known else float("nan")
