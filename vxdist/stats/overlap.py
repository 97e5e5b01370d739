"""Whether two languages select the same neurons for the same value, and not only the same neurons.

Some neurons are selected more easily than others, whatever the value and the language. So a value's
overlap is judged by that with the other values: labels are matched, and neurons stay as they are.

L: layer, N: neuron, V: value, R: permutation of the values.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from vxdist.stats.multiplicity import bh_q

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

PERMUTATIONS = 20_000
"""Permutations drawn; where there are no more than that, each is tried once."""
FEWEST_VALUES = 3
"""With two values one permutation in two is the labels' own, so no p could be small."""
DECILES = 10
TIED = 1e-9
"""Difference up to which scores of layers, in sds, are equal."""


@dataclass(frozen=True, kw_only=True)
class Matching:
    """How the selections of two languages, g and h, match.

    `overlap_VV`: neurons that g selects for one value (row) and h for another (column); the
    diagonal is shared, and `shared_L` counts it by layer. `expected_other`: what the diagonal would
    hold were it like the rest. `p_value`: the fraction of permutations of the values that share as
    much; `p_layer_L`: of those that share as much in any layer, each layer's sharing measured by
    the mean and sd of its permutations, so that it holds for all layers together. NaN where there
    are fewer than three values, or where permutations make no difference.
    """

    overlap_VV: Ints
    shared_L: Ints
    expected_other: float
    p_value: float
    p_layer_L: NDArray[np.float64]


def overlap_by_layer(selected_g_LNV: Bools, selected_h_LNV: Bools) -> Ints:
    """Neurons of each layer that g selects for one value and h for another, (L, V, V).

    Blocks of layers are put together by concatenating these.
    """
    g_LVN = selected_g_LNV.swapaxes(1, 2).astype(np.float64)
    return np.asarray(np.rint(g_LVN @ selected_h_LNV.astype(np.float64)).astype(np.int64))


def expected_matched(
    selected_g_LNV: Bools,
    selected_h_LNV: Bools,
    activity_LN: Floats,
    exists_LN: Bools | None = None,
) -> NDArray[np.float64]:
    """What each layer (L,) would share for equal values, were neurons drawn at random.

    They are drawn from neurons of the layer within the same tenth by `activity_LN` (NaN counts as
    never active), of those that exist (None: all). Neurons are not independent, so this is a
    yardstick and no test.
    """
    expected_L = np.zeros(len(activity_LN))
    exists_LN = np.ones(activity_LN.shape, dtype=bool) if exists_LN is None else exists_LN
    for layer, exists_N in enumerate(exists_LN):
        there_N = np.flatnonzero(exists_N)
        activity_N = np.nan_to_num(activity_LN[layer, there_N])
        tenth_N = (rankdata(activity_N) - 1) * DECILES // max(1, activity_N.size)
        for tenth in np.unique(tenth_N):
            alike_N = there_N[tenth_N == tenth]
            g_V = selected_g_LNV[layer, alike_N].sum(axis=0)
            h_V = selected_h_LNV[layer, alike_N].sum(axis=0)
            expected_L[layer] += (g_V * h_V).sum() / alike_N.size
    return expected_L


def match_labels(
    overlap_LVV: Ints, rng: np.random.Generator, permutations: int = PERMUTATIONS
) -> Matching:
    """Compare what equal values share with what they share under permutations of the labels.

    `rng` is used only if there are more than `permutations` of them. Then the labels' own counts
    as one more, so that no p is 0.
    """
    values = overlap_LVV.shape[-1]
    overlap_VV = overlap_LVV.sum(axis=0)
    shared_L = np.trace(overlap_LVV, axis1=1, axis2=2)
    off_diagonal = int(overlap_VV.sum() - shared_L.sum())
    p_value, p_layer_L = np.nan, np.full(len(overlap_LVV), np.nan)
    if values >= FEWEST_VALUES:
        p_value, p_layer_L = _p_values(overlap_LVV, _permutations(values, permutations, rng))
    return Matching(
        overlap_VV=overlap_VV,
        shared_L=shared_L,
        expected_other=off_diagonal / (values - 1) if values > 1 else np.nan,
        p_value=p_value,
        p_layer_L=p_layer_L,
    )


def shared(larger_p: Floats, fdr: float) -> Bools:
    """Where both languages show it: BH over all tests of the larger p of the two; never at NaN."""
    return np.asarray(bh_q(larger_p) <= fdr)


def bound(
    shown_g: Bools, shown_h: Bools, interaction: Floats, p_interaction: Floats, fdr: float
) -> tuple[Bools, Bools]:
    """Where g shows it (significantly), and significantly more than h does; and the other way.

    `interaction` is positive where g shows more, and `p_interaction` its two-sided p; BH over all
    of them. Over those significant in g or in h alone it would not hold: the same data choose them.
    To be significant in g and not in h is not enough.
    """
    differs = bh_q(p_interaction) <= fdr
    more, less = differs & (interaction > 0), differs & (interaction < 0)
    return np.asarray(shown_g & more), np.asarray(shown_h & less)


def _permutations(values: int, number: int, rng: np.random.Generator) -> Ints:
    """All permutations, if no more than `number`; else the labels' own, and `number` drawn."""
    own = np.arange(values)
    if math.factorial(values) <= number:
        return np.array(list(itertools.permutations(own)), dtype=np.int64)
    drawn_RV = rng.permuted(np.tile(own, (number, 1)), axis=1)
    return np.concatenate([own[None], drawn_RV])


def _p_values(overlap_LVV: Ints, order_RV: Ints) -> tuple[float, NDArray[np.float64]]:
    """p of all layers as one, and of each layer (L,). The first permutation is the labels' own."""
    own_L = np.full(len(overlap_LVV), np.nan)
    most_R = np.full(len(order_RV), -np.inf)
    for layer, overlap_VV in enumerate(overlap_LVV):
        sd = _permuted_sd(overlap_VV)
        if sd > 0:
            score_R = (_shared(overlap_VV, order_RV) - overlap_VV.sum() / len(overlap_VV)) / sd
            own_L[layer] = score_R[0]
            most_R = np.maximum(most_R, score_R)
    ranked_R = np.sort(most_R)
    at_least_L = len(order_RV) - np.searchsorted(ranked_R, own_L - TIED)
    p_layer_L = np.where(np.isnan(own_L), np.nan, at_least_L / len(order_RV))
    overlap_VV = overlap_LVV.sum(axis=0)
    if _permuted_sd(overlap_VV) == 0:
        return np.nan, p_layer_L
    shared_R = _shared(overlap_VV, order_RV)
    return float(np.mean(shared_R >= shared_R[0])), p_layer_L


def _shared(overlap_VV: Ints, order_RV: Ints) -> Ints:
    """What is shared under each permutation of the columns, (R,)."""
    return np.asarray(overlap_VV[np.arange(len(overlap_VV)), order_RV].sum(axis=1))


def _permuted_sd(overlap_VV: Ints) -> float:
    """Sd of what is shared, over all permutations; 0 where they make no difference."""
    values = len(overlap_VV)
    # values^2 x the deviation from row and column means, in whole numbers, so that 0 is exactly 0
    deviation_VV = values * values * overlap_VV + overlap_VV.sum()
    deviation_VV -= values * (overlap_VV.sum(axis=0) + overlap_VV.sum(axis=1, keepdims=True))
    squares = np.square(deviation_VV.astype(np.float64)).sum()
    return float(np.sqrt(squares / (values - 1)) / values**2)
