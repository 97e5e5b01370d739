"""Other labels for the same clusters: shuffled, or of half of them only.

All tests between values are functions of sums by value, so what they would find under other labels
costs a matrix product and no new scores.

P: cluster, V: value, C: labeling, N: neuron.
"""

from collections.abc import Iterator
from dataclasses import dataclass

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


def shuffles(design: Design, number: int, rng: np.random.Generator) -> list[Labeling]:
    """Labels of whole clusters, exchanged within strata."""
    everyone_P = np.ones(design.num_clusters, dtype=bool)
    return [Labeling(label_P=design.shuffle(rng), half_P=everyone_P) for _ in range(number)]


def halves(
    design: Design, number: int, rng: np.random.Generator, *, shuffled: bool
) -> list[Labeling]:
    """`number` times two halves of the clusters that complete each other, one after the other.

    Of the design's own labels, or of labels shuffled anew each time.
    """
    found = []
    for _ in range(number):
        label_P = design.shuffle(rng) if shuffled else design.label_P
        half_P = design.halve(label_P, rng)
        found += [Labeling(label_P=label_P, half_P=h) for h in (half_P, ~half_P)]
    return found


def blocks(labelings: list[Labeling]) -> Iterator[tuple[int, list[Labeling]]]:
    """Labelings, `AT_ONCE` at a time, each with the number of the first."""
    for first in range(0, len(labelings), AT_ONCE):
        yield first, labelings[first : first + AT_ONCE]


def indicators(design: Design, labelings: list[Labeling]) -> NDArray[np.float32]:
    """A column of 0 and 1 for each labeling and label; (P, C x V)."""
    columns = [design.indicators(of.label_P) * of.half_P[:, None] for of in labelings]
    return np.hstack(columns).astype(np.float32)


def sums(
    number_NP: NDArray[np.float32], indicator_PCV: NDArray[np.float32], num_labels: int
) -> NDArray[np.float32]:
    """Sums by labeling and label; (N, C, V)."""
    return (number_NP @ indicator_PCV).reshape(len(number_NP), -1, num_labels)


def sums_in_half(z_NP: NDArray[np.float32], design: Design, labeling: Labeling) -> Floats:
    """Sums (N, V) of scores standardised within the labeling's half; 0 where constant there."""
    z_NP = z_NP[:, labeling.half_P]
    label_P = labeling.label_P[labeling.half_P]
    indicator_PV = design.indicators(label_P).astype(np.float32)
    mean_N1 = z_NP.mean(axis=1, keepdims=True)
    sd_N1 = np.sqrt(np.maximum(np.mean(z_NP**2, axis=1, keepdims=True) - mean_N1**2, 0))
    sd_N1[sd_N1 < 1e-4] = np.inf
    sum_NV = z_NP @ indicator_PV - mean_N1 * indicator_PV.sum(axis=0)
    return np.asarray(sum_NV / sd_N1, dtype=np.float64)
