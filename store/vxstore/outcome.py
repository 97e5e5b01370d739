"""What an evaluation says of its outcome: whose change is the effect, and where a decision flips.

C: condition, D: dilemma.
"""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

EFFECT_OF, BOUNDARY = "effect_of", "decision_boundary"
DEFAULTS = {EFFECT_OF: "log_odds", BOUNDARY: 0.0}
"""What evaluations mean that do not say it: those of earlier versions, which chose letters."""


def effect_of(evaluation: xr.Dataset) -> str:
    """Name of the array whose change is the effect."""
    return str(evaluation.attrs.get(EFFECT_OF, DEFAULTS[EFFECT_OF]))


def decision_boundary(evaluation: xr.Dataset) -> float | None:
    """The number at which the model's decision flips; None if the outcome has no such point."""
    boundary = evaluation.attrs.get(BOUNDARY, DEFAULTS[BOUNDARY])
    return None if boundary is None else float(boundary)


def averaged(evaluation: xr.Dataset) -> NDArray[np.float64]:
    """The array whose change is the effect, averaged to (condition, dilemma).

    What is behind the dilemma is averaged: for letters the order of the options, so that a
    preference for a letter cancels.
    """
    array = evaluation[effect_of(evaluation)].transpose("condition", "dilemma", ...)
    number_CDX = array.values.reshape(*array.shape[:2], -1)
    return np.asarray(number_CDX.mean(axis=-1), dtype=np.float64)
