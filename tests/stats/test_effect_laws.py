"""What p and q of effects promise, on many evaluations whose truth is known.

As measured shifts are: means over dilemmas of a set's own effect and of noise, with masks that
differ in size and so in their spread.
"""

import numpy as np
import pytest

from vxdist.stats.judge import judge, judge_draws
from vxdist.stats.power import Spread, least_shift

MASKS, DRAWS, FDR = 24, 16, 0.1
EVALUATIONS = 2000
DILEMMAS, NOISE = 16, 2.0
Floats = np.ndarray


def draw(
    rng: np.random.Generator, *, draws: int = DRAWS, cells: int = MASKS, tails: str = "normal"
) -> tuple[Floats, Floats, Floats]:
    """Shift of a mask (X,) that is a draw, shifts of its draws (X, K), and their sd (X,)."""
    sd_X = np.exp(rng.normal(0, 0.4, cells))
    shape = (cells, draws + 1)
    set_XK = rng.normal(size=shape)
    if tails == "t4":
        set_XK = rng.standard_t(4, size=shape) / np.sqrt(2)
    noise = NOISE / np.sqrt(DILEMMAS)
    shift_XK = (set_XK + noise * rng.normal(size=shape)) * sd_X[:, None]
    return shift_XK[:, 0], shift_XK[:, 1:], sd_X * np.sqrt(1 + noise**2)


def rates(tails: str, draws: int = DRAWS, cells: int = MASKS) -> tuple[float, float]:
    """Share of p at most .05, and of evaluations with any q at most `FDR`, without any effect."""
    rng = np.random.default_rng(10)
    below, found = [], []
    for _ in range(EVALUATIONS):
        shift_X, draw_XK, _ = draw(rng, draws=draws, cells=cells, tails=tails)
        judged = judge(shift_X, draw_XK)
        below.append((judged.p_X <= 0.05).mean())
        found.append((judged.q_X <= FDR).any())
    return float(np.mean(below)), float(np.mean(found))


def test_nothing_is_found_more_often_than_is_said() -> None:
    level, found = rates("normal")
    assert level == pytest.approx(0.05, abs=0.01)
    assert found <= 0.13


@pytest.mark.parametrize(("draws", "cells"), [(4, 24), (4, 4), (8, 4), (8, 8), (16, 6)])
def test_nor_with_few_draws_or_cells(draws: int, cells: int) -> None:
    """A prior from so few would find something in up to 16 of 100."""
    level, found = rates("normal", draws, cells)
    assert level == pytest.approx(0.05, abs=0.01)
    assert found <= 0.10 + 0.04


def test_with_heavy_tails_the_level_holds_at_5_percent_only() -> None:
    level, found = rates("t4")
    assert 0.05 <= level <= 0.065
    assert found > 0.15  # why a small p by the law of t is not believed in its size


@pytest.mark.parametrize("draws", [5, DRAWS])
def test_draws_in_the_masks_place_are_found_at_the_rate_of_chance(draws: int) -> None:
    rng = np.random.default_rng(3)
    p = [judge_draws(draw(rng, draws=draws)[1]) for _ in range(12)]
    share = np.mean(np.array(p) <= 0.05)
    assert share == pytest.approx(0.05, abs=0.012)


def test_and_more_often_if_their_tails_are_heavier_than_the_law() -> None:
    """The null rate shows what would make p too small."""
    rng = np.random.default_rng(3)
    heavy = rng.standard_cauchy((60, DRAWS))
    assert np.mean(judge_draws(heavy) <= 0.01) > 0.02


@pytest.mark.parametrize("draws", [4, 8, 16, 32])
def test_a_planted_effect_is_found_with_the_stated_power(draws: int) -> None:
    """One mask of 24, at p <= fdr / 24. A prior df of 4 is that of sds that differ by 40 %."""
    rng, found, by_q = np.random.default_rng(draws), [], []
    spread = Spread(dilemma_sd=NOISE, set_sd=1.0, prior_df=4.0)
    least = least_shift(spread, dilemmas=DILEMMAS, draws=draws, cells=MASKS, fdr=FDR)
    for _ in range(800):
        shift_X, draw_XK, sd_X = draw(rng, draws=draws)
        shift_X[0] += least * sd_X[0] / np.sqrt(1 + NOISE**2 / DILEMMAS)
        judged = judge(shift_X, draw_XK)
        found.append(judged.p_X[0] <= FDR / MASKS)
        by_q.append(judged.q_X[0] <= FDR)
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)
    assert np.mean(by_q) >= np.mean(found)
