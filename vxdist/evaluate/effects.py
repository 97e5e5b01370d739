"""What the masks did: shifts of log-odds, with intervals, beside the control draws.

C: condition, D: dilemma, O: order of the options.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One mask on the dilemmas of one value in one language. Shifts in nats."""

    mean_shift: float
    shift_low: float
    shift_high: float
    flip_rate: float
    control_mean: float
    control_rank: float
    dilemma_count: int


def measure(
    evaluation: xr.Dataset,
    values: list[str],
    languages: list[str],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> dict[str, NDArray[Any]]:
    """The effect matrix, each array (mask, value, language), from log_odds (C, D, O)."""
    cells = {
        (m, v, g): _cell(
            evaluation, mask, value, language, confidence, resamples, np.random.default_rng(seed)
        )
        for m, mask in enumerate(values)
        for v, value in enumerate(values)
        for g, language in enumerate(languages)
    }
    shape = (len(values), len(values), len(languages))
    return {
        name: np.array([getattr(cells[at], name) for at in np.ndindex(shape)]).reshape(shape)
        for name in Cell.__dataclass_fields__
    }


def _cell(
    evaluation: xr.Dataset,
    mask: str,
    value: str,
    language: str,
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> Cell:
    of = (evaluation["value"].values == value) & (evaluation["dilemma_language"].values == language)
    # Averaging both orders takes the model's liking for a letter out.
    log_odds_CD = evaluation["log_odds"].values[:, of].mean(axis=-1)
    shift_CD = log_odds_CD - log_odds_CD[0]
    kind, masks = evaluation["kind"].values, evaluation["mask"].values
    on = int(np.flatnonzero((kind == "mask") & (masks == mask))[0])
    draws = (kind == "control") & (masks == mask)
    low, high = interval(shift_CD[on], confidence, resamples, rng)
    mean = float(shift_CD[on].mean()) if shift_CD.shape[1] else float("nan")
    return Cell(
        mean_shift=mean,
        shift_low=low,
        shift_high=high,
        flip_rate=flip_rate(log_odds_CD[0], log_odds_CD[on]),
        control_mean=float(shift_CD[draws].mean()) if draws.any() else float("nan"),
        control_rank=rank_among(mean, shift_CD[draws].mean(axis=-1)),
        dilemma_count=int(of.sum()),
    )


def interval(
    shift_D: Floats, confidence: float, resamples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over dilemmas; NaN for fewer than two."""
    if len(shift_D) < 2:
        return float("nan"), float("nan")
    found = stats.bootstrap(
        (shift_D,),
        np.mean,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        rng=rng,
    ).confidence_interval
    return float(found.low), float(found.high)


def flip_rate(before_D: Floats, after_D: Floats) -> float:
    """Share of dilemmas whose preferred option changes; NaN without any."""
    if not len(before_D):
        return float("nan")
    return float(np.mean((before_D > 0) != (after_D > 0)))


def rank_among(shift: float, control_shifts: Floats) -> float:
    """Share of control shifts below `shift`, ties counting half; NaN without any."""
    if not len(control_shifts):
        return float("nan")
    below = np.mean(control_shifts < shift) + np.mean(control_shifts == shift) / 2
    return float(below)
