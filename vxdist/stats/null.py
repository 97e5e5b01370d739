"""What the same tests find under shuffled labels: the null that every claim is judged beside.

N: neuron, P: cluster, V: value, B: shuffle, K: one (neuron, value) that a shuffle makes look
significant.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vxdist.stats.contrasts import (
    LEAST_LABELS,
    beyond_others,
    exclusive,
    one_against_rest,
    two_sided,
    upper_tail,
)
from vxdist.stats.design import Design
from vxdist.stats.gathered import Gathered
from vxdist.stats.labelings import Block, Labelings
from vxdist.stats.multiplicity import bh_count
from vxdist.stats.tested import beyond_tail, exclusive_p

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

KEPT = 1000
"""Expected number of p kept of a shuffle: enough to apply Benjamini-Hochberg exactly unless it
rejects 10 times as many at an FDR of 0.1."""
ROUNDED = 1e-3
"""Relative error of p under shuffles, of sums in single precision: up to there, p are equal."""


class LevelNull(TypedDict):
    """What shuffles find at one level.

    `any_rate`: share of shuffles in which the rule finds anything; `mean_selected` and
    `most_selected`: (neuron, value) found in a shuffle. `calibrated`: the any-rate is not above the
    FDR by more than two standard errors.
    """

    any_rate: float
    any_rate_se: float
    mean_selected: float
    most_selected: int
    calibrated: bool


@dataclass(kw_only=True)
class Tally:
    """Small p of each shuffle, of one level. `cut`: larger ones are not kept."""

    shuffles: int
    cut: float
    _shuffle: Gathered = field(default_factory=lambda: Gathered(np.int32))
    _p: Gathered = field(default_factory=lambda: Gathered(np.float64))

    def add(self, shuffle_K: Integers, p_K: Floats) -> None:
        """Keep the p that are small enough."""
        kept = p_K <= self.cut
        self._shuffle.add(shuffle_K[kept])
        self._p.add(p_K[kept])

    def by_shuffle(self) -> list[Floats]:
        """The p kept of each shuffle, in ascending order."""
        shuffle_K, p_K = self._shuffle.all, self._p.all
        order = np.lexsort((p_K, shuffle_K))
        ends = np.searchsorted(shuffle_K[order], np.arange(1, self.shuffles))
        return np.split(p_K[order], ends)

    def summary(self, tests: int, fdr: float) -> LevelNull:
        """What the rule finds in the shuffles among so many tests."""
        found_B = np.array([bh_count(p_K, tests, fdr) for p_K in self.by_shuffle()])
        rate = float((found_B > 0).mean())
        allowed = fdr + 2 * np.sqrt(fdr * (1 - fdr) / self.shuffles)
        return LevelNull(
            any_rate=rate,
            any_rate_se=float(np.sqrt(rate * (1 - rate) / self.shuffles)),
            mean_selected=float(found_B.mean()),
            most_selected=int(found_B.max()),
            calibrated=bool(rate <= allowed),
        )

    def familywise(self, p: Floats) -> Floats:
        """p of the smallest p: (1 + shuffles whose smallest is at most this) / (B + 1).

        NaN stays. 1 beyond what was kept of the shuffles.
        """
        least_B = np.sort([p_K[0] if p_K.size else np.inf for p_K in self.by_shuffle()])
        as_small = np.searchsorted(least_B, p * (1 + ROUNDED), side="right")
        found = (1 + as_small) / (self.shuffles + 1)
        return np.where(np.isnan(p), np.nan, np.where(p > self.cut, 1.0, found))


def new_tallies(levels: tuple[int, ...], shuffles: int, tests: int, fdr: float) -> dict[int, Tally]:
    """A tally for each level. `tests`: (neuron, value) that are tested, at most."""
    cut = min(fdr, KEPT / max(tests, 1))
    return {level: Tally(shuffles=shuffles, cut=cut) for level in levels}


Found = Mapping[int, tuple[Integers, Floats]]
"""By level, the shuffle and the p of each (neuron, value) that a shuffle makes look significant."""


def shuffled_values(z_NP: Floats, shuffles: Labelings, cut: float) -> Iterator[Found]:
    """Levels 1 to 3 (differs, stands out, exclusive) under each shuffle, some shuffles at a time.

    Only (neuron, value) whose p of level 1 is at most `cut` are looked at: that of level 2 is never
    smaller, and that of level 3 hardly ever.
    """
    design = shuffles.design
    z_PN = np.ascontiguousarray(z_NP.T, dtype=np.float32)
    for block in shuffles.blocks:
        sum_BVN, shuffle_K, value_K, neuron_K, t_K = _large(z_PN, design, block, cut, sided=1)
        sum_KV = sum_BVN[shuffle_K, :, neuron_K].astype(np.float64)
        p_K = upper_tail(t_K, design.degrees)
        at = np.arange(len(p_K))
        beyond_K = np.full(len(p_K), np.nan)
        if design.num_labels >= LEAST_LABELS:
            t_beyond_K = beyond_others(sum_KV, design.counts_V)[at, value_K]
            beyond_K = np.maximum(beyond_tail(t_beyond_K, design), p_K)
        lead = exclusive(sum_KV, design.counts_V, design.num_clusters)
        alone_K = np.where(lead.own_N == value_K, exclusive_p(lead.t_N, design), np.inf)
        shuffle_K = shuffle_K + block.first
        yield {
            1: (shuffle_K, p_K),
            2: (shuffle_K, beyond_K),
            3: (shuffle_K, alone_K),
        }


def shuffled_stance(z_NP: Floats, shuffles: Labelings, cut: float) -> Iterator[Found]:
    """Level 4, stance within a dilemma, under each shuffle; as `shuffled_values`."""
    design = shuffles.design
    z_PN = np.ascontiguousarray(z_NP.T, dtype=np.float32)
    for block in shuffles.blocks:
        _, shuffle_K, _, _, t_K = _large(z_PN, design, block, cut, sided=2)
        yield {4: (shuffle_K + block.first, two_sided(t_K, design.degrees))}


def _large(
    z_PN: NDArray[np.float32], design: Design, block: Block, cut: float, *, sided: int
) -> tuple[NDArray[np.float32], Integers, Integers, Integers, Floats]:
    """Sums (B, V, N) by labeling; and labeling, value, neuron and t where p is at most `cut`."""
    sum_BVN, spread_BV = block.sums(z_PN), block.spread_CV
    rho_cut = _rho_of(cut / sided, design.degrees)
    # A little lower, for rounding: what is too large is dropped later.
    least_BV = (design.num_clusters * (rho_cut - 1e-6) * spread_BV).astype(np.float32)
    size_BVN = np.abs(sum_BVN) if sided == 2 else sum_BVN
    at = np.flatnonzero((size_BVN >= least_BV[..., None]).ravel())
    shuffle_K, value_K, neuron_K = np.unravel_index(at, sum_BVN.shape)
    sum_K1 = sum_BVN.ravel()[at].astype(np.float64)[:, None]
    spread_K1 = spread_BV[shuffle_K, value_K][:, None]
    t_K = one_against_rest(sum_K1, spread_K1, design)[:, 0]
    return sum_BVN, shuffle_K, value_K, neuron_K, t_K


@lru_cache  # asked for each block of neurons and labelings, and slow
def _rho_of(p: float, degrees: int) -> float:
    """The correlation whose one-sided p this is."""
    t = float(stats.t.isf(p, degrees))
    return float(t / np.sqrt(degrees + t**2))
