"""Other labels for the same clusters: shuffled, or of half of them only.

All tests between values are functions of sums by value, so what they would find under other labels
costs a matrix product and no new scores. The product is sparse, as a cluster has one label of many:
it takes a third of the time of a dense one.

P: cluster, V: value, C: labeling, N: neuron.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vxdist.stats.design import Design

Floats = NDArray[np.float64]
AT_ONCE = 20
"""Labelings whose sums are held at a time."""


@dataclass(frozen=True, kw_only=True)
class Labeling:
    """Labels of all clusters; those outside `half_P` take no part."""

    label_P: NDArray[np.int64]
    half_P: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some labelings, counted from `first`: a row of 0 and 1 for each and label, (C V, P), and the
    spread of each row (see `Design.spreads`)."""

    first: int
    indicator: sparse.csr_array
    spread_CV: Floats

    def sums(self, number_PN: NDArray[Any]) -> NDArray[Any]:
        """Sums by labeling and label, (C, V, N), in the precision of the numbers."""
        sum_KN = self.indicator.astype(number_PN.dtype) @ np.ascontiguousarray(number_PN)
        return np.asarray(sum_KN).reshape(*self.spread_CV.shape, -1)


@dataclass(frozen=True)
class Labelings:
    """Labelings of one design, made once and used for all neurons."""

    design: Design
    each: Sequence[Labeling]

    @cached_property
    def blocks(self) -> list[Block]:
        """The labelings, `AT_ONCE` at a time."""
        found = []
        for first in range(0, len(self.each), AT_ONCE):
            some = self.each[first : first + AT_ONCE]
            columns = [self.design.indicators(of.label_P) * of.half_P[:, None] for of in some]
            spreads = [self.design.spreads(of.label_P) for of in some]
            found.append(
                Block(
                    first=first,
                    indicator=sparse.csr_array(np.hstack(columns).T.astype(np.float32)),
                    spread_CV=np.stack(spreads),
                )
            )
        return found

    @cached_property
    def counts_CV(self) -> NDArray[np.int64]:
        """Clusters of each labeling and label that take part."""
        labels = self.design.num_labels
        return np.stack([np.bincount(of.label_P[of.half_P], minlength=labels) for of in self.each])

    def sums_in_halves(self, z_PN: NDArray[np.float32]) -> Floats:
        """Sums (C, V, N) of scores that are standardised within each half; 0 where constant."""
        half_CP = np.stack([of.half_P for of in self.each]).astype(np.float32)
        size_C1 = half_CP.sum(axis=1, keepdims=True)
        mean_CN = half_CP @ z_PN / size_C1
        square_CN = half_CP @ z_PN**2 / size_C1
        sd_CN = np.sqrt(np.maximum(square_CN - mean_CN**2, 0))
        sd_CN[sd_CN < 1e-3] = np.inf
        sum_CVN = np.concatenate([block.sums(z_PN) for block in self.blocks]).astype(np.float64)
        sum_CVN -= mean_CN[:, None] * self.counts_CV[..., None]
        sum_CVN /= sd_CN[:, None]
        return sum_CVN


def shuffles(design: Design, number: int, rng: np.random.Generator) -> Labelings:
    """Labels of whole clusters, exchanged within strata."""
    everyone_P = np.ones(design.num_clusters, dtype=bool)
    each = [Labeling(label_P=design.shuffle(rng), half_P=everyone_P) for _ in range(number)]
    return Labelings(design, each)


def halves(design: Design, number: int, rng: np.random.Generator) -> Labelings:
    """Pairs of halves of the clusters that complete each other, one after the other.

    First `number` pairs with the design's own labels, then as many with labels shuffled anew.
    """
    each = []
    for shuffled in (False, True):
        for _ in range(number):
            label_P = design.shuffle(rng) if shuffled else design.label_P
            half_P = design.halve(label_P, rng)
            each += [Labeling(label_P=label_P, half_P=h) for h in (half_P, ~half_P)]
    return Labelings(design, each)
