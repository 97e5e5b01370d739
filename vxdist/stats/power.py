"""Which effect a run can find: shifts of a mask against K matched draws over n dilemmas.

D: dilemma, K: control draw.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from vxdist.stats.effects import Measured
from vxdist.stats.moderated import LEAST_CELLS, LEAST_DRAWS, LEAST_TO_MODERATE

Floats = NDArray[np.float64]
POWER = 0.8
STEPS = 4000
"""Steps of an average over the law of an estimated sd."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How much matched sets differ, in the units of the outcome: `set_sd` between the true mean
    shifts of sets, `dilemma_sd` between the shifts of a set on different dilemmas. `prior_df` is
    what the cells say of each other's variance (see `moderated.Prior`)."""

    dilemma_sd: float
    set_sd: float
    prior_df: float

    def standard_error(self, dilemmas: int, draws: int) -> float:
        """That of a mask's mean shift less the mean of its draws (se_total)."""
        variance = self.set_sd**2 + self.dilemma_sd**2 / dilemmas
        return float(np.sqrt(variance * (1 + 1 / draws)))


def least_shift(
    spread: Spread, *, dilemmas: int, draws: int, cells: int, fdr: float, power: float = POWER
) -> float:
    """The smallest shift that is found with this power, in the units of `spread`; NaN without a p.

    One mask of all does something, so that it needs p <= fdr / cells; t is noncentral, with the
    degrees of freedom of the draws and of the prior.
    """
    if draws < LEAST_DRAWS:
        return float("nan")
    df = degrees_of_freedom(spread.prior_df, draws=draws, cells=cells)
    critical = float(special.stdtrit(df, 1 - fdr / cells / 2))

    def lacking(distance: float) -> float:
        return exceeds(distance, critical, df) - power

    highest = critical
    while lacking(highest) < 0:
        highest *= 2
    distance = float(optimize.brentq(lacking, 0.0, highest))
    return distance * spread.standard_error(dilemmas, draws)


def exceeds(distance: float, critical: float, df: float) -> float:
    """P(|T| > critical) of a noncentral t: the normal law, averaged over the estimated sd.

    scipy's noncentral t is NaN in its far tail.
    """
    middle = (np.arange(STEPS) + 0.5) / STEPS
    limit = critical * np.sqrt(2 * special.gammaincinv(df / 2, middle) / df)
    return float((special.ndtr(distance - limit) + special.ndtr(-distance - limit)).mean())


def degrees_of_freedom(prior_df: float, *, draws: int, cells: int) -> float:
    """Those of t for a mask, as `judge` counts them."""
    own = draws - 1
    if draws < LEAST_TO_MODERATE or cells < LEAST_CELLS:
        return float(own)
    return float(min(prior_df + own, cells * own))


def measure_spread(
    measured: Measured, masks: list[str], languages: list[str], prior_df: float
) -> Spread | None:
    """The spread of the control draws on own values, pooled over masks and languages.

    Each cell is a table of draws and dilemmas; what all draws do to a dilemma cancels against its
    mask, so the spread is that of the table without row and column means. None where no cell has
    two draws and two dilemmas.
    """
    intact_D = measured.number_CD[measured.kind_C == "intact"][0]
    residual, between = [], []
    for mask in masks:
        draws = measured.of_mask(mask)[1:]
        for language in languages:
            at = measured.of_cell(mask, language)
            if len(draws) < 2 or len(at) < 2:
                continue
            shift_KD = measured.number_CD[np.ix_(draws, at)] - intact_D[at]
            rows_K, columns_D = shift_KD.mean(axis=1), shift_KD.mean(axis=0)
            rest_KD = shift_KD - rows_K[:, None] - columns_D + shift_KD.mean()
            of_dilemma = float((rest_KD**2).sum() / ((len(draws) - 1) * (len(at) - 1)))
            residual.append(of_dilemma)
            between.append(float(rows_K.var(ddof=1)) - of_dilemma / len(at))
    if not residual:
        return None
    return Spread(
        dilemma_sd=float(np.sqrt(np.mean(residual))),
        set_sd=float(np.sqrt(max(0.0, float(np.mean(between))))),
        prior_df=prior_df,
    )
