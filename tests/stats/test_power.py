"""The power formula: known cases, and the spread that it takes from an evaluation."""

import numpy as np
import pytest
from scipy import stats

from tests.stats.test_effect_matrix import LANGUAGES, MASKS
from vxdist.stats.effects import Measured
from vxdist.stats.power import (
    Spread,
    degrees_of_freedom,
    exceeds,
    least_shift,
    measure_spread,
)

SPREAD = Spread(dilemma_sd=2.0, set_sd=1.0, prior_df=0.0)


@pytest.mark.parametrize(("df", "distance"), [(3.0, 1.0), (15.0, 4.0), (40.0, 0.0)])
def test_exceeds_is_a_noncentral_t(df: float, distance: float) -> None:
    expected = stats.nct.sf(2.5, df, distance) + stats.nct.cdf(-2.5, df, distance)
    assert exceeds(distance, 2.5, df) == pytest.approx(float(expected), abs=1e-4)


def test_with_endless_draws_and_one_cell_it_is_the_textbook_number() -> None:
    """(1.96 + 0.84) standard errors."""
    spread = Spread(dilemma_sd=2.0, set_sd=1.0, prior_df=1e9)
    found = least_shift(spread, dilemmas=4, draws=1_000_000, cells=1, fdr=0.05)
    assert found == pytest.approx((1.95996 + 0.84162) * np.sqrt(1 + 4 / 4), rel=1e-3)


def test_more_dilemmas_draws_and_fewer_cells_find_smaller_shifts() -> None:
    usual = {"dilemmas": 16, "draws": 8, "cells": 24, "fdr": 0.1}
    found = least_shift(SPREAD, **usual)  # type: ignore[arg-type]
    for change in ({"dilemmas": 32}, {"draws": 16}, {"cells": 4}, {"fdr": 0.2}):
        assert least_shift(SPREAD, **(usual | change)) < found  # type: ignore[arg-type]
    assert np.isnan(least_shift(SPREAD, dilemmas=16, draws=3, cells=24, fdr=0.1))


def test_the_prior_counts_where_it_is_made() -> None:
    assert degrees_of_freedom(4.0, draws=16, cells=24) == 19
    assert degrees_of_freedom(4.0, draws=4, cells=24) == 3
    assert degrees_of_freedom(4.0, draws=16, cells=4) == 15
    assert degrees_of_freedom(1e6, draws=16, cells=6) == 90


def make(draws: int, dilemmas: int, *, set_sd: float, noise: float) -> Measured:
    """What sets do to a dilemma in common, `set_sd` of their own, and noise."""
    rng = np.random.default_rng(5)
    kinds = [("intact", ""), *(("mask", m) for m in MASKS)]
    kinds += [("control", m) for m in MASKS for _ in range(draws)]
    labels = [(v, g) for v in MASKS for g in LANGUAGES for _ in range(dilemmas)]
    value_D = np.array([v for v, _ in labels])
    number_CD = np.zeros((len(kinds), len(labels)))
    in_common_D = rng.normal(0, 5.0, len(labels))
    for c, (kind, _) in enumerate(kinds):
        if kind != "intact":
            own = {v: rng.normal(0, set_sd) for v in MASKS}
            number_CD[c] = in_common_D + [own[v] for v in value_D]
            number_CD[c] += rng.normal(0, noise, len(labels))
    return Measured(
        number_CD=number_CD,
        kind_C=np.array([kind for kind, _ in kinds]),
        mask_C=np.array([mask for _, mask in kinds]),
        value_D=value_D,
        language_D=np.array([g for _, g in labels]),
        boundary=None,
    )


def test_the_spread_of_draws_is_measured_without_what_they_do_in_common() -> None:
    found = measure_spread(make(200, 30, set_sd=1.0, noise=3.0), list(MASKS), list(LANGUAGES), 4.0)
    assert found is not None
    assert found.dilemma_sd == pytest.approx(3.0, rel=0.03)
    assert found.set_sd == pytest.approx(1.0, rel=0.15)
    alike = measure_spread(make(200, 30, set_sd=0.0, noise=3.0), list(MASKS), list(LANGUAGES), 4.0)
    assert alike is not None
    assert alike.set_sd < 0.2


@pytest.mark.parametrize(("draws", "dilemmas"), [(0, 8), (1, 8), (4, 1)])
def test_too_little_measures_no_spread(draws: int, dilemmas: int) -> None:
    measured = make(draws, dilemmas, set_sd=1.0, noise=1.0)
    assert measure_spread(measured, list(MASKS), list(LANGUAGES), 4.0) is None
