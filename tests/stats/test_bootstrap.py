"""Intervals: scipy's to the bit, whatever stands beside a row, and as wide as they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vxdist.stats import bootstrap
from vxdist.stats.bootstrap import mean_interval

SEEDS = st.integers(0, 2**32 - 1)


def of_scipy(sample_D: np.ndarray, confidence: float, seed: int) -> tuple[float, float]:
    """One row alone, by one plain call."""
    found = stats.bootstrap(
        (sample_D,),
        np.mean,
        n_resamples=150,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


@settings(max_examples=40, deadline=None)
@given(
    conditions=st.integers(1, 6),
    dilemmas=st.integers(2, 40),
    confidence=st.sampled_from([0.5, 0.9, 0.95, 0.99]),
    seed=SEEDS,
    batch=st.integers(1, 5000),
)
def test_each_row_is_scipys_to_the_bit(
    conditions: int, dilemmas: int, confidence: float, seed: int, batch: int
) -> None:
    sample_CD = np.random.default_rng(seed).normal(0.3, 1.0, (conditions, dilemmas))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "NUMBERS_AT_ONCE", batch)
        low_C, high_C = mean_interval(sample_CD, confidence=confidence, resamples=150, seed=seed)
    expected = [of_scipy(row, confidence, seed) for row in sample_CD]
    assert list(zip(low_C.tolist(), high_C.tolist(), strict=True)) == expected


def test_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    sample_CD = rng.normal(1.0, 2.0, size=(400, 30))
    low_C, high_C = mean_interval(sample_CD, confidence=0.9, resamples=300, seed=3)
    covered = (low_C <= 1.0) & (high_C >= 1.0)
    assert 0.83 < covered.mean() < 0.96


@pytest.mark.parametrize("dilemmas", [0, 1])
def test_too_few_dilemmas_have_no_interval(dilemmas: int) -> None:
    ends = mean_interval(np.ones((3, dilemmas)), confidence=0.95, resamples=100, seed=0)
    assert np.isnan(ends).all()
    assert np.shape(ends) == (2, 3)
