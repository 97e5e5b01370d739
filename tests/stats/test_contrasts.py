"""Tests between values against scipy, against naive loops, and at their limits."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from vxdist.stats.contrasts import (
    between,
    beyond_others,
    contrast,
    exclusive,
    least_p,
    one_against_rest,
    rank_auc,
    two_sided,
    upper_tail,
)
from vxdist.stats.design import Design
from vxdist.stats.normal_scores import midranks, normal_scores

Floats = NDArray[np.float64]
VALUES = 9


@pytest.fixture(scope="module")
def design() -> Design:
    """Clusters of nine values, unequally many."""
    label_P = np.repeat(np.arange(VALUES), [6, 7, 8, 6, 9, 6, 6, 10, 7])
    label_P = np.random.default_rng(1).permutation(label_P)
    return Design(
        label_P=label_P,
        stratum_P=np.zeros_like(label_P),
        num_labels=VALUES,
        confounds_PK=np.empty((len(label_P), 0)),
    )


@pytest.fixture(scope="module")
def rank_NP(design: Design) -> Floats:
    """Ranks of neurons of which some have ties, some are of a value, and the first is constant."""
    rng = np.random.default_rng(2)
    x_NP = rng.normal(size=(40, design.num_clusters))
    x_NP += np.linspace(0, 2, 40)[:, None] * (design.label_P == np.arange(40)[:, None] % VALUES)
    x_NP[20:] = np.round(x_NP[20:])
    x_NP[0] = 0.5
    return midranks(x_NP)


@pytest.fixture(scope="module")
def z_NP(rank_NP: Floats) -> Floats:
    """Their normal scores."""
    return normal_scores(rank_NP)


@pytest.fixture(scope="module")
def sum_NV(z_NP: Floats, design: Design) -> Floats:
    """Sums by value."""
    return np.asarray(z_NP @ design.indicators(design.label_P))


def test_one_against_rest_is_a_correlation(design: Design, z_NP: Floats, sum_NV: Floats) -> None:
    t_NV = one_against_rest(sum_NV, design.spreads(design.label_P), design)
    for neuron in range(1, len(z_NP)):
        for value in range(VALUES):
            of_value_P = (design.label_P == value).astype(float)
            found = stats.pearsonr(z_NP[neuron], of_value_P, alternative="greater")
            either = stats.pearsonr(z_NP[neuron], of_value_P)
            t = t_NV[neuron, value]
            assert upper_tail(t, design.degrees) == pytest.approx(found.pvalue, rel=1e-9)
            assert two_sided(t, design.degrees) == pytest.approx(either.pvalue, rel=1e-9)


def test_one_against_rest_is_the_pooled_t_test(
    design: Design, z_NP: Floats, sum_NV: Floats
) -> None:
    t_NV = one_against_rest(sum_NV, design.spreads(design.label_P), design)
    of_value_P = design.label_P == 3
    found = stats.ttest_ind(z_NP[1:, of_value_P], z_NP[1:, ~of_value_P], axis=1)
    np.testing.assert_allclose(t_NV[1:, 3], found.statistic, rtol=1e-9)


def test_between_is_the_analysis_of_variance(design: Design, z_NP: Floats, sum_NV: Floats) -> None:
    f_N, of, rest = between(sum_NV, design)
    groups = [z_NP[1:, design.label_P == v] for v in range(VALUES)]
    found = stats.f_oneway(*groups, axis=1)
    np.testing.assert_allclose(f_N[1:], found.statistic, rtol=1e-9)
    np.testing.assert_allclose(stats.f.sf(f_N[1:], of, rest), found.pvalue, rtol=1e-9)


def test_exclusive_compares_the_first_two(design: Design, z_NP: Floats, sum_NV: Floats) -> None:
    found = exclusive(sum_NV, design.counts_V, design.num_clusters)
    for neuron, z_P in enumerate(z_NP[1:], start=1):
        groups = [z_P[design.label_P == v] for v in range(VALUES)]
        rival, own = np.argsort([group.mean() for group in groups])[-2:]
        within = sum(((group - group.mean()) ** 2).sum() for group in groups)
        s = np.sqrt(within / (design.num_clusters - VALUES))
        error = s * np.sqrt(1 / len(groups[own]) + 1 / len(groups[rival]))
        assert (found.own_N[neuron], found.rival_N[neuron]) == (own, rival)
        t = (groups[own].mean() - groups[rival].mean()) / error
        assert found.t_N[neuron] == pytest.approx(t, rel=1e-9)


def test_beyond_is_the_prediction_of_one_more_value(
    design: Design, z_NP: Floats, sum_NV: Floats
) -> None:
    t_NV = beyond_others(sum_NV, design.counts_V)
    for neuron, z_P in enumerate(z_NP[1:], start=1):
        means = np.array([z_P[design.label_P == v].mean() for v in range(VALUES)])
        for value in range(VALUES):
            others = np.delete(means, value)
            error = others.std(ddof=1) * np.sqrt(1 + 1 / len(others))
            expected = (means[value] - others.mean()) / error
            assert t_NV[neuron, value] == pytest.approx(expected, rel=1e-7)


def test_auc_counts_pairs(design: Design, rank_NP: Floats) -> None:
    auc_NV = rank_auc(rank_NP @ design.indicators(design.label_P), design.counts_V)
    for neuron, rank_P in enumerate(rank_NP):
        for value in range(VALUES):
            inside, outside = (rank_P[design.label_P == value], rank_P[design.label_P != value])
            above = inside[:, None] - outside
            expected = np.mean((above > 0) + 0.5 * (above == 0))
            assert auc_NV[neuron, value] == pytest.approx(expected, abs=1e-12)


def test_a_constant_neuron_shows_nothing(design: Design, sum_NV: Floats) -> None:
    t_V = one_against_rest(sum_NV, design.spreads(design.label_P), design)[0]
    assert upper_tail(t_V, design.degrees).tolist() == [1] * VALUES
    assert two_sided(t_V, design.degrees).tolist() == [1] * VALUES
    assert between(sum_NV, design)[0][0] == 0
    assert exclusive(sum_NV, design.counts_V, design.num_clusters).t_N[0] == 0
    assert beyond_others(sum_NV, design.counts_V)[0].tolist() == [0] * VALUES


def test_a_t_of_zero_but_for_rounding_is_zero() -> None:
    assert upper_tail(np.array([0.0, 1e-17, -1e-17]), 20).tolist() == [1, 1, 1]
    assert upper_tail(np.array([1e-6]), 20)[0] == pytest.approx(0.5, abs=1e-5)


def test_no_p_is_below_the_least(design: Design) -> None:
    """Which a neuron has that is most active in all clusters of the value with the most."""
    rng = np.random.default_rng(5)
    order_VP = [rng.permutation(design.num_clusters) for _ in range(VALUES)]
    best_VP = [
        order_P[np.argsort(design.label_P[order_P] == v, kind="stable")].argsort() + 1.0
        for v, order_P in enumerate(order_VP)
    ]
    random_NP = [rng.permutation(design.num_clusters) + 1.0 for _ in range(200)]
    z_NP = normal_scores(np.array([*best_VP, *random_NP]))
    p_NV = upper_tail(contrast(z_NP, design), design.degrees)
    assert p_NV.min() == pytest.approx(least_p(design))
    confounded = dataclasses.replace(design, confounds_PK=rng.normal(size=(len(z_NP.T), 1)))
    assert least_p(confounded) == least_p(design)
