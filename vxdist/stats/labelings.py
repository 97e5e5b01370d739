"""Other labels for the same clusters: shuffled, or of half of them only.

All tests between values are functions of sums by value, so what they would find under other labels
costs a matrix product and no new scores.

P: cluster, V: value, C: labeling, N: neuron.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

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
    """Some labelings, counted from `first`: a column of 0 and 1 for each and label, and the spread
    of each column (see `Design.spreads`)."""

    first: int
    indicator_PCV: NDArray[np.float32]
    spread_CV: Floats

    def sums(self, number_NP: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sums by labeling and label; (N, C, V)."""
        return (number_NP @ self.indicator_PCV).reshape(len(number_NP), *self.spread_CV.shape)


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
                    indicator_PCV=np.hstack(columns).astype(np.float32),
                    spread_CV=np.stack(spreads),
                )
            )
        return found

    @cached_property
    def counts_CV(self) -> NDArray[np.int64]:
        """Clusters of each labeling and label that take part."""
        labels = self.design.num_labels
        return np.stack([np.bincount(of.label_P[of.half_P], minlength=labels) for of in self.each])

    def sums_in_halves(self, z_NP: NDArray[np.float32]) -> Floats:
        """Sums (N, C, V) of scores that are standardised within each half; 0 where constant."""
        labels = self.design.num_labels
        half_PC = np.stack([of.half_P for of in self.each], axis=1).astype(np.float32)
        size_C = half_PC.sum(axis=0)
        mean_NC = z_NP @ half_PC / size_C
        square_NC = z_NP**2 @ half_PC / size_C
        sd_NC = np.sqrt(np.maximum(square_NC - mean_NC**2, 0))
        sd_NC[sd_NC < 1e-3] = np.inf
        sum_NCV = np.concatenate([block.sums(z_NP) for block in self.blocks], axis=1)
        sum_NCV = sum_NCV.reshape(len(z_NP), -1, labels)
        centred_NCV = sum_NCV - mean_NC[..., None] * self.counts_CV
        return np.asarray(centred_NCV / sd_NC[..., None], dtype=np.float64)


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
