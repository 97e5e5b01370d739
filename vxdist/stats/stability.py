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


def _differs(sum_NCV: Floats, counts_CV: Integers) -> Floats:
    size_C1 = counts_CV.sum(axis=1, keepdims=True)
    return np.asarray(sum_NCV / np.sqrt(counts_CV * (size_C1 - counts_CV)))


def _stance(sum_NCV: Floats, counts_CV: Integers) -> Floats:
    return np.abs(_differs(sum_NCV, counts_CV))


def _exclusive(sum_NCV: Floats, counts_CV: Integers) -> Floats:
    number_NCV = np.full(sum_NCV.shape, -np.inf)
    at = np.arange(len(number_NCV))
    for c, counts_V in enumerate(counts_CV):
        found = exclusive(sum_NCV[:, c], counts_V, int(counts_V.sum()))
        number_NCV[at, c, found.own_N] = found.t_N
    return number_NCV


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
    sum_NCV = halves.sums_in_halves(z_NP.astype(np.float32))
    number_NCV = RULES[rule](sum_NCV, halves.counts_CV)
    return np.ascontiguousarray(number_NCV.transpose(1, 2, 0), dtype=np.float32)


class Leaders:
    """The neurons that rank first in each labeling for each value, kept as blocks of them pass.

    A neuron is known by a number of its own, its code.
    """

    def __init__(self, labelings: int, num_labels: int, most: int) -> None:
        self._most = most
        self._number_CVK = np.empty((labelings, num_labels, 0), dtype=np.float32)
        self._code_CVK = np.empty((labelings, num_labels, 0), dtype=np.int64)
        self._waiting: list[tuple[NDArray[np.float32], Integers]] = []

    def add(self, number_CVN: NDArray[np.float32], code_N: Integers) -> None:
        """Take in more neurons; codes may also differ by labeling and value."""
        self._waiting.append((number_CVN, np.broadcast_to(code_N, number_CVN.shape)))
        if sum(number.shape[-1] for number, _ in self._waiting) > max(self._most // 4, WAITING):
            self._sort_out()

    def _sort_out(self) -> None:
        numbers, codes = zip(*self._waiting, strict=True)
        number_CVK = np.concatenate([self._number_CVK, *numbers], axis=-1)
        code_CVK = np.concatenate([self._code_CVK, *codes], axis=-1)
        if number_CVK.shape[-1] > self._most:
            first = np.argpartition(-number_CVK, self._most - 1, axis=-1)[..., : self._most]
            number_CVK = np.take_along_axis(number_CVK, first, axis=-1)
            code_CVK = np.take_along_axis(code_CVK, first, axis=-1)
        self._number_CVK, self._code_CVK, self._waiting = number_CVK, code_CVK, []

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
