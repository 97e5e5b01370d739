"""From counts by part to rates by cluster: all tellings of a dilemma, put together.

S: part, P: cluster, N: neuron. A part holds tellings of one cluster and stance.
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
    def _order_S(self) -> Integers:
        return np.lexsort((self.stance_S, self.cluster_S))

    @cached_property
    def _starts_P(self) -> Integers:
        sorted_S = self.cluster_S[self._order_S]
        return np.flatnonzero(np.r_[True, sorted_S[1:] != sorted_S[:-1]])

    @property
    def num_clusters(self) -> int:
        """Number of clusters."""
        return len(self._starts_P)

    def sums(self, number_NS: NDArray[Any]) -> NDArray[Any]:
        """Sums over the parts of each cluster, (N, P)."""
        return np.add.reduceat(number_NS[:, self._order_S], self._starts_P, axis=1)

    def rates(self, active_NS: NDArray[Any], given_NS: NDArray[Any]) -> Floats:
        """Mean rate of each cluster, less the mean of its stance; (N, P), NaN where none is known.

        A rate is active tokens / tokens given. The stance is taken out because not every cluster
        is told in both. A part that was given no token (`given_NS` may have a first dimension of
        1) is left out.
        """
        rate_NS, known_NS = _rates(active_NS, given_NS)
        for stance in np.unique(self.stance_S):
            of_S = self.stance_S == stance
            told_N1 = known_NS[:, of_S].sum(axis=1, keepdims=True)
            total_N1 = rate_NS[:, of_S].sum(axis=1, keepdims=True)
            rate_NS[:, of_S] -= total_N1 / np.maximum(told_N1, 1)
        if not known_NS.all():
            rate_NS *= known_NS
        told_NP = self.sums(known_NS)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.sums(rate_NS) / told_NP)

    def differences(
        self, active_NS: NDArray[Any], given_NS: NDArray[Any], stances: tuple[Any, Any]
    ) -> Floats:
        """Rate of the first stance less that of the second, for `both` clusters; (N, P)."""
        rate_NS, known_NS = _rates(active_NS, given_NS)
        if not known_NS.all():
            rate_NS = np.where(known_NS, rate_NS, np.nan)
        first, second = (self._parts_of(stance, self.both(stances)) for stance in stances)
        return np.asarray(rate_NS[:, first] - rate_NS[:, second])

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
