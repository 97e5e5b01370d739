"""The clusters that a test compares: whose they are, what confounds them, how they are shuffled.

A cluster is all tellings of one dilemma; they are told, and so shuffled, together.

P: cluster, V: value, K: confounding column, N: neuron.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LEAST_SPREAD = 1e-6
"""Spread of a label's indicator below which the confounds leave nothing of it."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """Clusters with a label each: a value, or what else they are compared by.

    `label_P` counts from 0 and is below `num_labels`; `stratum_P` is alike where labels may be
    exchanged; the columns of `confounds_PK` (may have none) are taken out of scores and labels.
    """

    label_P: Integers
    stratum_P: Integers
    num_labels: int
    confounds_PK: Floats

    @property
    def num_clusters(self) -> int:
        """Number of clusters, P."""
        return len(self.label_P)

    @cached_property
    def counts_V(self) -> Integers:
        """Clusters of each label."""
        return np.bincount(self.label_P, minlength=self.num_labels)

    @cached_property
    def basis_PK(self) -> Floats:
        """Orthonormal basis of a constant and the confounds."""
        centred_PK = self.confounds_PK - self.confounds_PK.mean(axis=0)
        scale_K = np.sqrt((centred_PK**2).sum(axis=0))
        kept_PK = centred_PK[:, scale_K > 1e-9] / scale_K[scale_K > 1e-9]
        left, size, _ = np.linalg.svd(kept_PK, full_matrices=False)
        constant_P1 = np.full((self.num_clusters, 1), self.num_clusters**-0.5)
        return np.hstack([constant_P1, left[:, size > 1e-9]])

    @property
    def degrees(self) -> int:
        """Degrees of freedom of the one-against-the-rest test: P - 2 without confounds."""
        return int(self.num_clusters - self.basis_PK.shape[1] - 1)

    def adjust(self, z_NP: Floats) -> Floats:
        """Scores without what the confounds explain of them."""
        return z_NP - (z_NP @ self.basis_PK) @ self.basis_PK.T

    def indicators(self, label_P: Integers) -> Floats:
        """Which label each cluster has, as a column of 0 and 1 for each; (P, V)."""
        return np.asarray(label_P[:, None] == np.arange(self.num_labels), dtype=np.float64)

    def spreads(self, label_P: Integers) -> Floats:
        """Standard deviation of each label's indicator without what the confounds explain of it."""
        indicator_PV = self.indicators(label_P)
        rest_PV = indicator_PV - self.basis_PK @ (self.basis_PK.T @ indicator_PV)
        return np.asarray(np.sqrt(np.mean(rest_PV**2, axis=0)))

    @property
    def explained(self) -> Integers:
        """The labels that the confounds explain: they cannot be tested."""
        return np.flatnonzero(self.spreads(self.label_P) <= LEAST_SPREAD)

    def shuffle(self, rng: np.random.Generator) -> Integers:
        """Labels exchanged at random between clusters of the same stratum."""
        label_P = self.label_P.copy()
        for stratum in np.unique(self.stratum_P):
            at = np.flatnonzero(self.stratum_P == stratum)
            label_P[at] = label_P[rng.permutation(at)]
        return label_P

    def halve(self, label_P: Integers, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Half of the clusters of each label and stratum; an odd one goes to either half."""
        half_P = np.zeros(self.num_clusters, dtype=bool)
        for label in range(self.num_labels):
            for stratum in np.unique(self.stratum_P):
                at = np.flatnonzero((label_P == label) & (self.stratum_P == stratum))
                most = len(at) // 2 + int(len(at) % 2 and rng.random() < 0.5)
                half_P[rng.permutation(at)[:most]] = True
        return half_P


def dummies(label_P: Sequence[str], least: int) -> Floats:
    """A column of 0 and 1 for each label that at least `least` clusters have; (P, K)."""
    names, count = np.unique(np.asarray(label_P, dtype=str), return_counts=True)
    kept = names[count >= least]
    return np.asarray(np.asarray(label_P)[:, None] == kept, dtype=np.float64)
