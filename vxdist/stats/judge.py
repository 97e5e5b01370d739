"""Cells of one kind, each a mask's shift and those of its matched draws, judged together.

X: cell, K: control draw.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vxdist.stats.moderated import (
    LEAST_DRAWS,
    LEAST_TO_MODERATE,
    Prior,
    find_prior,
    predictive_p,
)
from vxdist.stats.multiplicity import bh_q

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """p, and q among the cells; NaN where a cell could not be judged."""

    p_X: Floats
    q_X: Floats
    prior: Prior


def judge(shift_X: Floats, draw_XK: Floats) -> Judged:
    """How each shift stands among its draws, in any units; see `predictive_p`.

    A cell with a NaN is not judged, nor is any with fewer than `LEAST_DRAWS` draws.
    """
    draws = draw_XK.shape[-1]
    if draws < LEAST_DRAWS:
        nothing_X = np.full(shift_X.shape, np.nan)
        return Judged(p_X=nothing_X, q_X=nothing_X, prior=Prior())
    variance_X = draw_variance(draw_XK)
    prior = Prior()
    if draws >= LEAST_TO_MODERATE:
        prior = find_prior(variance_X, np.full(variance_X.shape, draws - 1.0))
    p_X = predictive_p(shift_X - draw_XK.mean(axis=-1), variance_X, draws, prior)
    return Judged(p_X=p_X, q_X=np.asarray(bh_q(p_X), dtype=np.float64), prior=prior)


def judge_draws(draw_XK: Floats) -> Floats:
    """p (X, K) of each draw in its mask's place, against the other draws of the same mask.

    The prior is that of `judge`, but for the draw that is left out. None is a mask, so that p is
    at most .05 in 5 % of them, if the law of t holds.
    """
    cells, draws = draw_XK.shape
    p_XK = np.full(draw_XK.shape, np.nan)
    if draws < LEAST_DRAWS:
        return p_XK
    variance_X, df_X = draw_variance(draw_XK), np.full(cells, draws - 1.0)
    for k in range(draws):
        rest_XK = np.delete(draw_XK, k, axis=-1)
        distance_X = draw_XK[:, k] - rest_XK.mean(axis=-1)
        rest_X = draw_variance(rest_XK)
        for x in range(cells):
            prior = Prior()
            if draws >= LEAST_TO_MODERATE:
                this_X = np.arange(cells) == x
                prior = find_prior(np.where(this_X, rest_X, variance_X), df_X - this_X)
            of = slice(x, x + 1)
            p_XK[of, k] = predictive_p(distance_X[of], rest_X[of], draws - 1, prior)
    return p_XK


def draw_variance(draw_XK: Floats) -> Floats:
    """Variance (X,) of the shifts of a cell's draws; exactly 0 if they are all alike, NaN if there
    are fewer than two."""
    if draw_XK.shape[-1] < 2:
        return np.full(draw_XK.shape[:-1], np.nan)
    alike_X = (draw_XK == draw_XK[..., :1]).all(axis=-1)
    return np.where(alike_X, 0.0, draw_XK.var(axis=-1, ddof=1))
