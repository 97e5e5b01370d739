"""Intervals: as wide as they say, whatever stands beside a row, and scipy's."""

import numpy as np
import pytest
from scipy import stats

from vxdist.stats.intervals import t_interval, wilson_interval

SAMPLES = 4000


@pytest.mark.parametrize("dilemmas", [3, 16])
def test_t_covers_as_often_as_it_says(dilemmas: int) -> None:
    """95 %, within three binomial standard errors; percentile intervals cover 75 % of three."""
    sample_CD = np.random.default_rng(9).normal(1.0, 2.0, (SAMPLES, dilemmas))
    low_C, high_C = t_interval(sample_CD, 0.95)
    covered = ((low_C <= 1.0) & (high_C >= 1.0)).mean()
    assert covered == pytest.approx(0.95, abs=0.0104)


def test_t_is_scipys_and_a_row_is_the_same_alone() -> None:
    sample_CD = np.random.default_rng(1).normal(0.3, 1.0, (5, 7))
    low_C, high_C = t_interval(sample_CD, 0.9)
    for row, low, high in zip(sample_CD, low_C, high_C, strict=True):
        expected = stats.ttest_1samp(row, 0.0).confidence_interval(0.9)
        assert (low, high) == pytest.approx((expected.low, expected.high))
        assert tuple(np.ravel(t_interval(row[None], 0.9))) == (low, high)
    assert t_interval(np.asfortranarray(sample_CD), 0.9)[0].tolist() == low_C.tolist()


def test_what_has_no_spread_has_an_interval_without_width() -> None:
    low_C, high_C = t_interval(np.ones((1, 4)), 0.95)
    assert (low_C[0], high_C[0]) == (1.0, 1.0)


@pytest.mark.parametrize("dilemmas", [0, 1])
def test_too_few_dilemmas_have_no_interval(dilemmas: int) -> None:
    ends = t_interval(np.ones((3, dilemmas)), 0.95)
    assert np.isnan(ends).all()
    assert np.shape(ends) == (2, 3)


@pytest.mark.parametrize(("hits", "count"), [(0, 3), (1, 3), (3, 3), (5, 16), (16, 16), (1, 1)])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_wilson_is_scipys(hits: int, count: int, confidence: float) -> None:
    expected = stats.binomtest(hits, count).proportion_ci(confidence, method="wilson")
    found = wilson_interval(hits / count, count, confidence)
    assert found == pytest.approx((expected.low, expected.high))
    assert 0 <= found[0] <= hits / count <= found[1] <= 1


def test_wilson_of_nothing() -> None:
    assert np.isnan(wilson_interval(float("nan"), 0, 0.95)).all()
    assert np.isnan(wilson_interval(float("nan"), 4, 0.95)).all()
