"""How unlikely a shift is among the shifts of matched draws: a predictive t, whose variances borrow
strength from each other.

A mask that is no more than a draw is one more draw from the same distribution, so its distance
from the mean of K draws has the variance s^2 (1 + 1/K). The s^2 of K draws is uncertain; over many
cells it is shrunk towards a common one (Smyth 2004, as in limma: moments of log s^2).

X: cell, K: control draw.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
LEAST_DRAWS = 4
"""Draws of a mask below which no p is given: three say too little of their own spread."""
LEAST_TO_MODERATE = 8
LEAST_CELLS = 6
"""Draws and cells below which a prior is too uncertain to borrow from: with it, something would be
found in up to 16 of 100 evaluations without effect, where 10 are asked for."""


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What the variances of all cells say of one: `variance`, worth `df` degrees of freedom.

    `df` is 0 if there is no prior, and infinite if the cells differ by chance only. No t has more
    than `most_df`, those of all draws of all cells.
    """

    df: float = 0.0
    variance: float = float("nan")
    most_df: float = float("inf")


def find_prior(variance_X: Floats, df_X: Floats) -> Prior:
    """The prior of variances that have `df_X` degrees of freedom each.

    Cells whose variance is 0 or NaN say nothing; of fewer than `LEAST_CELLS` there is no prior.
    """
    known_X = variance_X > 0
    s2_X, half_X = variance_X[known_X], df_X[known_X] / 2
    if s2_X.size < LEAST_CELLS:
        return Prior()
    # log s^2 without its bias; what it varies beyond sampling is the spread of true variances.
    log_X = np.log(s2_X) - special.digamma(half_X) + np.log(half_X)
    excess = float(log_X.var(ddof=1) - special.polygamma(1, half_X).mean())
    most_df = float(df_X[known_X].sum())
    if excess <= 0:
        return Prior(df=float("inf"), variance=float(s2_X.mean()), most_df=most_df)
    half = invert_trigamma(excess)
    variance = np.exp(log_X.mean() + special.digamma(half) - np.log(half))
    return Prior(df=2 * half, variance=float(variance), most_df=most_df)


def invert_trigamma(number: float) -> float:
    """x with trigamma(x) = `number`, which is above 0; by Newton's method (Smyth 2004)."""
    if number > 1e7:
        return 1 / float(np.sqrt(number))
    if number < 1e-6:
        return 1 / number
    x = 0.5 + 1 / number
    for _ in range(50):
        trigamma = float(special.polygamma(1, x))
        step = trigamma * (1 - trigamma / number) / float(special.polygamma(2, x))
        x += step
        if -step < 1e-10 * x:
            break
    return x


def predictive_p(distance_X: Floats, variance_X: Floats, draws: int, prior: Prior) -> Floats:
    """Two-sided p of shifts that are `distance_X` from the mean of `draws` draws.

    `variance_X` is that of the draws (ddof 1). NaN for a NaN, for fewer than two draws, and where
    no variance is known: draws that are all alike, without a prior.
    """
    df = float(draws - 1)
    if df < 1:
        return np.full(distance_X.shape, np.nan)
    if np.isinf(prior.df):
        moderated_X = np.where(np.isnan(variance_X), np.nan, prior.variance)
    elif prior.df:
        moderated_X = (prior.df * prior.variance + df * variance_X) / (prior.df + df)
    else:
        moderated_X = np.where(variance_X > 0, variance_X, np.nan)
    t_X = np.abs(distance_X) / np.sqrt(moderated_X * (1 + 1 / draws))
    return np.asarray(2 * special.stdtr(min(prior.df + df, prior.most_df), -t_X))
