"""The predictive t and its prior, against formulas and numbers that are known."""

import math

import numpy as np
import pytest
from scipy import special, stats

from vxdist.stats.judge import draw_variance, judge, judge_draws
from vxdist.stats.moderated import (
    LEAST_CELLS,
    LEAST_DRAWS,
    LEAST_TO_MODERATE,
    Prior,
    find_prior,
    invert_trigamma,
    predictive_p,
)


@pytest.mark.parametrize("x", [1e-8, 0.01, 0.3, 1.0, 7.5, 400.0, 1e7])
def test_trigamma_is_inverted(x: float) -> None:
    assert invert_trigamma(float(special.polygamma(1, x))) == pytest.approx(x, rel=1e-6)


@pytest.mark.parametrize("prior_df", [2.0, 6.0, 20.0])
def test_a_known_prior_is_found(prior_df: float) -> None:
    """Variances from a scaled inverse chi square of `prior_df`, each estimated with 15."""
    rng, cells = np.random.default_rng(4), 200_000
    true_X = 0.25 * prior_df / rng.chisquare(prior_df, cells)
    found = find_prior(true_X * rng.chisquare(15, cells) / 15, np.full(cells, 15.0))
    assert found.df == pytest.approx(prior_df, rel=0.05)
    assert found.variance == pytest.approx(0.25, rel=0.02)


def test_one_variance_for_all_is_an_infinite_prior_with_no_more_df_than_there_are() -> None:
    variance_X = np.full(10, 0.5)
    found = find_prior(variance_X, np.full(10, 15.0))
    assert (found.df, found.variance, found.most_df) == (math.inf, 0.5, 150.0)
    p = predictive_p(np.array([2.0]), np.array([9.0]), 16, found)  # its own variance does not count
    assert p[0] == pytest.approx(2 * stats.t.sf(2.0 / math.sqrt(0.5 * 17 / 16), 150))


def test_too_few_variances_have_no_prior() -> None:
    for known in range(LEAST_CELLS):
        variance_X = np.r_[np.arange(1.0, known + 1), [0.0, np.nan] * 4]
        assert find_prior(variance_X, np.full(variance_X.size, 9.0)) == Prior()
    assert find_prior(np.arange(1.0, LEAST_CELLS + 1), np.full(LEAST_CELLS, 9.0)).df > 0


def test_moderated_by_hand() -> None:
    prior = Prior(df=4.0, variance=0.5, most_df=100.0)
    p = predictive_p(np.array([-1.5]), np.array([2.0]), 9, prior)
    sd = math.sqrt((4 * 0.5 + 8 * 2.0) / 12 * (1 + 1 / 9))
    assert p[0] == pytest.approx(2 * stats.t.sf(1.5 / sd, 12))


def test_without_a_prior_it_is_the_t_of_one_more_draw() -> None:
    """The same as a two-sample t test with one number in one sample."""
    rng = np.random.default_rng(2)
    draw_XK, shift_X = rng.normal(size=(3, 5)), rng.normal(size=3)
    found = judge(shift_X, draw_XK)
    expected = [
        stats.ttest_ind([shift], draws).pvalue
        for shift, draws in zip(shift_X, draw_XK, strict=True)
    ]
    np.testing.assert_allclose(found.p_X, expected)
    assert found.prior == Prior()


@pytest.mark.parametrize("draws", range(LEAST_DRAWS))
def test_too_few_draws_give_no_p(draws: int) -> None:
    draw_XK = np.random.default_rng(1).normal(size=(3, draws))
    found = judge(np.array([9.0, -9.0, 0.0]), draw_XK)
    assert np.isnan(found.p_X).all()
    assert np.isnan(found.q_X).all()
    assert np.isnan(judge_draws(draw_XK)).all()
    assert judge_draws(draw_XK).shape == (3, draws)


def test_four_draws_give_a_p_without_a_prior_and_eight_have_one() -> None:
    rng = np.random.default_rng(1)
    for draws in (LEAST_DRAWS, LEAST_TO_MODERATE):
        found = judge(rng.normal(size=10), rng.normal(size=(10, draws)))
        assert not np.isnan(found.p_X).any()
        assert (found.prior.df > 0) == (draws == LEAST_TO_MODERATE)


def test_draws_that_are_all_alike_give_p_only_with_a_prior() -> None:
    rng = np.random.default_rng(1)
    draw_XK = rng.normal(size=(12, 16))
    draw_XK[0] = 0.1
    assert draw_variance(draw_XK)[0] == 0.0
    assert draw_variance(np.full((1, 10), 0.3))[0] == 0.0  # though numpy's is not, by rounding
    shift_X = np.zeros(12)
    shift_X[0] = 0.1
    assert judge(shift_X, draw_XK).p_X[0] == 1.0
    shift_X[0] = 9.0
    assert judge(shift_X, draw_XK).p_X[0] < 0.01
    assert np.isnan(judge(shift_X[:3], draw_XK[:3]).p_X[0])


def test_a_cell_with_nan_is_not_judged_and_counts_for_no_other() -> None:
    rng = np.random.default_rng(3)
    draw_XK, shift_X = rng.normal(size=(12, 16)), rng.normal(size=12)
    whole = judge(shift_X[1:], draw_XK[1:])
    for broken in ("shift", "draw"):
        shifts, draws = shift_X.copy(), draw_XK.copy()
        if broken == "shift":
            shifts[0] = np.nan
        else:
            draws[0, 3] = np.nan
        found = judge(shifts, draws)
        assert np.isnan(found.p_X[0])
        assert np.isnan(found.q_X[0])
        if broken == "draw":
            np.testing.assert_allclose(found.q_X[1:], whole.q_X)


def test_a_draw_in_the_masks_place_is_judged_as_the_mask_would_be() -> None:
    """Against the other draws, with the prior of all cells but for what is left out."""
    rng = np.random.default_rng(3)
    draw_XK = rng.normal(size=(7, 9)) * np.exp(rng.normal(size=(7, 1)))
    found = judge_draws(draw_XK)
    rest = np.delete(draw_XK[2], 4)
    variance_X, df_X = draw_XK.var(axis=1, ddof=1), np.full(7, 8.0)
    variance_X[2], df_X[2] = rest.var(ddof=1), 7.0
    expected = predictive_p(
        np.array([draw_XK[2, 4] - rest.mean()]),
        variance_X[2:3],
        8,
        find_prior(variance_X, df_X),
    )
    assert found[2, 4] == pytest.approx(expected[0])
