"""Tests of a neuron's scores between values, all from the sums of the scores by value.

The scores have mean 0 and mean square 1 over P clusters (`vxdist.stats.normal_scores`); less where
they are adjusted, which makes p larger, and 0 if constant. p is one-sided: more active for the
value.

N: neuron, V: value, P: cluster.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from vxdist.stats.design import LEAST_SPREAD, Design
from vxdist.stats.normal_scores import normal_scores

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LEAST_LABELS = 8
"""Values from which their spread can be told: below, none can stand out."""
NO_T = 1e-9
"""A t up to here is 0, but for rounding."""


def one_against_rest(sum_NV: Floats, spread_V: Floats, design: Design) -> Floats:
    """t of each value against all others, on `design.degrees`; NaN where confounds leave nothing.

    t = rho sqrt(df / (1 - rho^2)), rho = sum_v / (P sd_v) that of scores and the value's indicator.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        rho_NV = sum_NV / (
            design.num_clusters * np.where(spread_V > LEAST_SPREAD, spread_V, np.nan)
        )
        rho_NV = np.clip(rho_NV, -0.999999, 0.999999)
        return np.asarray(rho_NV * np.sqrt(design.degrees / (1 - rho_NV**2)))


def contrast(z_NP: Floats, design: Design, label_P: Integers | None = None) -> Floats:
    """`one_against_rest` of scores, (N, V), under the design's labels or under others."""
    label_P = design.label_P if label_P is None else label_P
    sum_NV = z_NP @ design.indicators(label_P)
    return one_against_rest(sum_NV, design.spreads(label_P), design)


def least_p(design: Design) -> float:
    """The smallest p of `contrast` that scores could have: all clusters of a value rank first.

    Exact without confounds; scores that are adjusted for some may fall a little below it.
    """
    free = replace(design, confounds_PK=np.empty((design.num_clusters, 0)))
    ranked_1P = normal_scores(np.arange(1.0, free.num_clusters + 1)[None])
    descending_P = ranked_1P[0, ::-1]
    most_V = np.array([descending_P[:count].sum() for count in free.counts_V])
    t_V = one_against_rest(most_V[None], free.spreads(free.label_P), free)[0]
    return float(np.nanmin(upper_tail(t_V, free.degrees), initial=1.0))


def upper_tail(t: Floats, degrees: int) -> Floats:
    """p of a t or more; 1 for a t of 0, which hardly any but constant scores have."""
    return np.asarray(np.where(np.abs(t) < NO_T, 1.0, special.stdtr(degrees, -t)))


def two_sided(t: Floats, degrees: int) -> Floats:
    """p of a t so far from 0; 1 for 0."""
    return np.asarray(2 * special.stdtr(degrees, -np.abs(t)))


def between(sum_NV: Floats, design: Design) -> tuple[Floats, int, int]:
    """F of the one-way analysis of variance (N,), and its degrees of freedom. F = 0 if constant."""
    clusters, labels = design.num_clusters, design.num_labels
    explained_N = (sum_NV**2 / design.counts_V).sum(axis=1)
    left_N = np.maximum(clusters - explained_N, 1e-12)
    of = labels - 1
    rest = clusters - labels - (design.basis_PK.shape[1] - 1)
    return explained_N / of / (left_N / rest), of, rest


@dataclass(frozen=True, kw_only=True)
class Exclusive:
    """The value with the largest mean score, and its lead over the runner-up in standard errors."""

    own_N: Integers
    rival_N: Integers
    t_N: Floats


def exclusive(sum_NV: Floats, counts_V: Integers, clusters: int) -> Exclusive:
    """t = (m_a - m_b) / (s_w sqrt(1/n_a + 1/n_b)), s_w^2 = SSW / (P - V), of the two largest means.

    Significant, it is more active for one value than for every other: an intersection-union test.
    """
    mean_NV = sum_NV / counts_V
    first_N2 = np.argpartition(-mean_NV, 1, axis=1)[:, :2]
    lead_N2 = np.take_along_axis(mean_NV, first_N2, axis=1)
    swap_N = (lead_N2[:, 0] < lead_N2[:, 1]) | (
        (lead_N2[:, 0] == lead_N2[:, 1]) & (first_N2[:, 0] > first_N2[:, 1])
    )
    first_N2[swap_N] = first_N2[swap_N, ::-1]
    own_N, rival_N = first_N2.T
    within_N = clusters - (mean_NV**2 * counts_V).sum(axis=1)
    s_N = np.sqrt(np.maximum(within_N, 1e-9) / (clusters - len(counts_V)))
    at = np.arange(len(mean_NV))
    lead_N = mean_NV[at, own_N] - mean_NV[at, rival_N]
    error_N = s_N * np.sqrt(1 / counts_V[own_N] + 1 / counts_V[rival_N])
    return Exclusive(own_N=own_N, rival_N=rival_N, t_N=lead_N / error_N)


def beyond_others(sum_NV: Floats, counts_V: Integers) -> Floats:
    """t, on V - 2 degrees, of each value's mean score among the means of the other values.

    t = (m_v - mu) / (s sqrt(1 + 1/(V-1))), mu and s of the others: values as draws of topics.
    """
    mean_NV = sum_NV / counts_V
    others = len(counts_V) - 1
    mu_NV = (mean_NV.sum(axis=1, keepdims=True) - mean_NV) / others
    square_NV = (mean_NV**2).sum(axis=1, keepdims=True) - mean_NV**2
    variance_NV = np.maximum(square_NV / others - mu_NV**2, 1e-12) * others / (others - 1)
    return np.asarray((mean_NV - mu_NV) / np.sqrt(variance_NV * (1 + 1 / others)))


def rank_auc(rank_sum_NV: Floats, counts_V: Integers) -> Floats:
    """P(a cluster of the value ranks above another) = 1/2 + (mean rank in v - mean outside) / P."""
    clusters = int(counts_V.sum())
    all_N1 = np.full((len(rank_sum_NV), 1), clusters * (clusters + 1) / 2)
    outside_NV = (all_N1 - rank_sum_NV) / (clusters - counts_V)
    return np.asarray(0.5 + (rank_sum_NV / counts_V - outside_NV) / clusters)
