"""From counts by part to rates by cluster: all tellings of a dilemma, put together.

S: part, P: cluster, N: neuron. A part holds tellings of one cluster and stance. Parts are added up
one after the other, which is fast where neurons are neighbours in memory.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Tellings:
    """Which cluster and stance each part of a language is of; every cluster has a part."""

    cluster_S: Integers
    stance_S: NDArray[Any]

    @cached_property
    def _rounds(self) -> list[tuple[Integers, Integers]]:
        """The first part of each cluster, then the second of those that have one, and so on."""
        order_S = np.lexsort((self.stance_S, self.cluster_S))
        sorted_S = self.cluster_S[order_S]
        start_P = np.flatnonzero(np.r_[True, sorted_S[1:] != sorted_S[:-1]])
        size_P = np.diff(np.r_[start_P, len(order_S)])
        have = [np.flatnonzero(size_P > n) for n in range(size_P.max())]
        return [(of, order_S[start_P[of] + n]) for n, of in enumerate(have)]

    @property
    def num_clusters(self) -> int:
        """Number of clusters."""
        return len(self._rounds[0][0])

    def sums(self, number_NS: NDArray[Any]) -> NDArray[Any]:
        """Sums over the parts of each cluster, (N, P)."""
        number_SN = number_NS.T
        sum_PN = number_SN[self._rounds[0][1]]
        for cluster_K, part_K in self._rounds[1:]:
            if len(cluster_K) == len(sum_PN):
                sum_PN += number_SN[part_K]
            else:
                sum_PN[cluster_K] += number_SN[part_K]
        return sum_PN.T

    def rates(self, active_NS: NDArray[Any], given_NS: NDArray[Any]) -> Floats:
        """Mean rate of each cluster, less the mean of its stance; (N, P), NaN where none is known.

        A rate is active tokens / tokens given. The stance is taken out because not every cluster
        is told in both. A part that was given no token (`given_NS` may have a first dimension of
        1) is left out.
        """
        rate_NS, known_NS = _rates(active_NS, given_NS)
        rate_SN = rate_NS.T
        for stance in np.unique(self.stance_S):
            of_S = np.flatnonzero(self.stance_S == stance)
            told_N = known_NS.T[of_S].sum(axis=0)
            rate_SN[of_S] -= rate_SN[of_S].sum(axis=0) / np.maximum(told_N, 1)
        if not known_NS.all():
            rate_NS *= known_NS
        told_NP = self.sums(known_NS.astype(np.int64))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.ascontiguousarray(self.sums(rate_NS) / told_NP)

    def differences(
        self, active_NS: NDArray[Any], given_NS: NDArray[Any], stances: tuple[Any, Any]
    ) -> Floats:
        """Rate of the first stance less that of the second, for `both` clusters; (N, P)."""
        rate_NS, known_NS = _rates(active_NS, given_NS)
        if not known_NS.all():
            rate_NS = np.where(known_NS, rate_NS, np.nan)
        first, second = (self._parts_of(stance, self.both(stances)) for stance in stances)
        return np.ascontiguousarray((rate_NS.T[first] - rate_NS.T[second]).T)

    def both(self, stances: tuple[Any, Any]) -> Integers:
        """The clusters, in order, that have parts of both stances."""
        have = [set(self.cluster_S[self.stance_S == stance].tolist()) for stance in stances]
        return np.array(sorted(have[0] & have[1]), dtype=np.int64)

    def _parts_of(self, stance: Any, cluster_P: Integers) -> Integers:
        """The part of each of these clusters that has this stance."""
        of = np.flatnonzero(self.stance_S == stance)
        at = dict(zip(self.cluster_S[of].tolist(), of.tolist(), strict=True))
        return np.array([at[cluster] for cluster in cluster_P.tolist()], dtype=np.int64)


def _rates(active_NS: NDArray[Any], given_NS: NDArray[Any]) -> tuple[Floats, NDArray[Any]]:
    """Rates, 0 where not known; and where they are known, in the shape of `given_NS`."""
    return active_NS / np.maximum(given_NS, 1), given_NS > 0
