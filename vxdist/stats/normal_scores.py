"""Normal scores: what a neuron's rates over clusters become before they are tested.

A t test of them holds its level where that of the rates themselves does not, for rates have heavy
tails and differ in spread.

N: neuron, P: cluster.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

TIED = 1e-13
"""Difference up to which neighbours tie: numbers are means and sums, and the order in which those
are added up must not decide a rank."""


def midranks(x_NP: Floats) -> Floats:
    """Ranks of each row, from 1; ties share the mean of theirs. Rows must be free of NaN.

    A number and its place in the row are sorted as one whole number, the place in the lowest bits:
    half the time of an argsort. What is left, 53 bits with 512 clusters, holds where the number
    lies in the range of its row, about as exactly as a float64.
    """
    rows, clusters = x_NP.shape
    bits = (clusters - 1).bit_length()
    least_N1 = x_NP.min(axis=1, keepdims=True)
    range_N1 = x_NP.max(axis=1, keepdims=True) - least_N1
    scale_N1 = 2.0 ** (62 - bits) / np.where(range_N1 > 0, range_N1, 1)
    both_NP = ((x_NP - least_N1) * scale_N1).astype(np.int64)
    both_NP <<= bits
    both_NP |= np.arange(clusters)
    both_NP.sort(axis=1)
    place_NP = np.tile(np.arange(1.0, clusters + 1), (rows, 1))
    same_NP = np.diff(both_NP >> bits, axis=1) <= TIED * scale_N1
    tied_N = np.flatnonzero(same_NP.any(axis=1))
    place_NP[tied_N] = _middles(same_NP[tied_N])
    both_NP &= (1 << bits) - 1
    both_NP += clusters * np.arange(rows)[:, None]
    rank_NP = np.empty(x_NP.shape)
    rank_NP.ravel()[both_NP] = place_NP
    return rank_NP


def _middles(same_NP: NDArray[np.bool_]) -> Floats:
    """Mean place, from 1, of the run of ties that each place of a sorted row belongs to.

    `same_NP` says, from the second place on, whether a place ties with the one before.
    """
    rows, places = same_NP.shape[0], same_NP.shape[1] + 1
    place_P = np.arange(places)
    edge_N1 = np.ones((rows, 1), dtype=bool)
    first_NP = np.where(np.hstack([edge_N1, ~same_NP]), place_P, 0)
    first_NP = np.maximum.accumulate(first_NP, axis=1)
    last_NP = np.where(np.hstack([~same_NP, edge_N1]), place_P, places)
    last_NP = np.minimum.accumulate(last_NP[:, ::-1], axis=1)[:, ::-1]
    return np.asarray((first_NP + last_NP) / 2 + 1)


def normal_scores(rank_NP: Floats) -> Floats:
    """Van der Waerden's scores of midranks, each row centred and of unit variance; 0 if constant.

    Phi^-1((rank - 1/2) / P).
    """
    clusters = rank_NP.shape[1]
    table = special.ndtri((np.arange(2, 2 * clusters + 1) / 2 - 0.5) / clusters)
    return standardise(table[(2 * rank_NP).astype(np.int64) - 2])


def standardise(z_NP: Floats) -> Floats:
    """Rows centred, and divided by their standard deviations; 0 where a row is constant."""
    centred_NP = z_NP - z_NP.mean(axis=1, keepdims=True)
    sd_N1 = np.sqrt(np.mean(centred_NP**2, axis=1, keepdims=True))
    sd_N1[sd_N1 < 1e-9] = np.inf
    return np.asarray(centred_NP / sd_N1)
