"""All tests of the neurons of one language, on rates by cluster.

N: neuron, P: cluster, V: value.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from vxdist.stats.contrasts import (
    LEAST_LABELS,
    between,
    beyond_others,
    contrast,
    exclusive,
    one_against_rest,
    rank_auc,
    two_sided,
    upper_tail,
)
from vxdist.stats.design import Design
from vxdist.stats.normal_scores import midranks, normal_scores

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MUCH_EXPLAINED = 0.05
"""Fraction of a neuron's variance that confounds explain, beyond which it is scored again."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Ranks and normal scores of a neuron's clusters; rows of `known_N` False mean nothing.

    `plain_NP` are the scores before adjustment, which those of the languages pooled are made of.
    """

    rank_NP: Floats
    plain_NP: Floats
    z_NP: Floats
    known_N: NDArray[np.bool_]


def score(x_NP: Floats, design: Design) -> Scored:
    """Score rates by cluster (`Tellings.rates`); a neuron that lacks one is not known."""
    known_N = np.asarray(~np.isnan(x_NP).any(axis=1))
    rank_NP = midranks(np.where(known_N[:, None], x_NP, 0.0))
    plain_NP = normal_scores(rank_NP)
    z_NP = _adjust(plain_NP, design) if design.confounds_PK.size else plain_NP
    return Scored(rank_NP=rank_NP, plain_NP=plain_NP, z_NP=z_NP, known_N=known_N)


def _adjust(plain_NP: Floats, design: Design) -> Floats:
    """Scores without what the confounds explain; not standardised again, so p is too large at most.

    Where confounds explain much, what is left has heavy tails and is scored again: neurons that are
    active once a story are as active as it is short.
    """
    left_NP = design.adjust(plain_NP)
    explained_N = 1 - np.mean(left_NP**2, axis=1)
    much_N = np.flatnonzero(explained_N > MUCH_EXPLAINED)
    left_NP[much_N] = design.adjust(normal_scores(midranks(left_NP[much_N])))
    return left_NP


@dataclass(frozen=True, kw_only=True)
class Tested:
    """p of every test, t and AUC of one value against the rest. NaN where not tested.

    `p_exclusive_NV` is that of the value with the largest mean, and 1 for others; `rival_N` is the
    value with the second largest, -1 if not tested. `p_beyond_NV` is NaN with few values.
    """

    t_NV: Floats
    p_NV: Floats
    auc_NV: Floats
    p_beyond_NV: Floats
    p_exclusive_NV: Floats
    p_omnibus_N: Floats
    rival_N: Integers


def test(scored: Scored, design: Design) -> Tested:
    """Test scored neurons. `design` is that which they were scored under."""
    indicator_PV = design.indicators(design.label_P)
    sum_NV = scored.z_NP @ indicator_PV
    t_NV = one_against_rest(sum_NV, design.spreads(design.label_P), design)
    p_NV = upper_tail(t_NV, design.degrees)
    found = exclusive(sum_NV, design.counts_V, design.num_clusters)
    p_exclusive_NV = np.ones_like(p_NV)
    at = np.arange(len(p_NV))
    p_exclusive_NV[at, found.own_N] = exclusive_p(found.t_N, design)
    f_N, of, rest = between(sum_NV, design)
    p_omnibus_N = np.where(f_N == 0, 1.0, special.fdtrc(of, rest, f_N))
    unknown = ~scored.known_N
    for p in (t_NV, p_NV, p_exclusive_NV, p_omnibus_N):
        p[unknown] = np.nan
    return Tested(
        t_NV=t_NV,
        p_NV=p_NV,
        auc_NV=np.where(unknown[:, None], np.nan, _auc(scored, indicator_PV, design)),
        p_beyond_NV=beyond_p(sum_NV, p_NV, design),
        p_exclusive_NV=p_exclusive_NV,
        p_omnibus_N=p_omnibus_N,
        rival_N=np.where(unknown, -1, found.rival_N),
    )


def _auc(scored: Scored, indicator_PV: Floats, design: Design) -> Floats:
    return rank_auc(scored.rank_NP @ indicator_PV, design.counts_V)


def exclusive_p(t_N: Floats, design: Design) -> Floats:
    """p of the lead of one value over every other."""
    return upper_tail(t_N, design.num_clusters - design.num_labels)


def beyond_p(sum_NV: Floats, p_NV: Floats, design: Design) -> Floats:
    """p of standing out among the values, never below that of differing; NaN with few values."""
    if design.num_labels < LEAST_LABELS:
        return np.full(p_NV.shape, np.nan)
    t_NV = beyond_others(sum_NV, design.counts_V)
    return np.asarray(np.maximum(beyond_tail(t_NV, design), p_NV))


def beyond_tail(t: Floats, design: Design) -> Floats:
    """p of a mean so far beyond those of the other values."""
    return np.asarray(special.stdtr(design.num_labels - 2, -t))


def test_stance(z_NP: Floats, design: Design) -> tuple[Floats, Floats]:
    """t and two-sided p, (N, V), of scored differences between stances; NaN if not known."""
    t_NV = contrast(z_NP, design)
    return t_NV, two_sided(t_NV, design.degrees)
