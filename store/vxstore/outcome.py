"""What an evaluation says of its outcome: what was measured, and whose change is the effect.

C: condition, D: dilemma.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxstore.defaults import DEFAULT_INTERVENTION, DEFAULT_OUTCOME

DEFAULTS: Mapping[str, Any] = {
    "outcome": DEFAULT_OUTCOME,
    "intervention": DEFAULT_INTERVENTION,
    "effect_of": "log_odds",
    "decision_boundary": 0.0,
}
"""Attributes of an evaluation, and what is meant where one is absent: evaluations of earlier
versions set neurons to zero and had the model choose a letter."""
DEFAULT_MASS = "option_mass"
NEUTRAL = "neutral"
"""Split of the corpus that holds no dilemmas, and the value that its passages are labelled with."""
ENOUGH_MASS = 0.5
"""Probability of the answers below which an intact model mostly says something else."""


def describe_outcome(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of an evaluation that `DEFAULTS` names.

    `effect_of` is the array whose change is the effect, None if it measures none; the model's
    decision flips where its mean crosses `decision_boundary`, which is None if there is no such
    point.
    """
    return {key: attrs.get(key, default) for key, default in DEFAULTS.items()}


def has_effect(attrs: Mapping[str, Any]) -> bool:
    """Whether an evaluation measures an effect; else it keeps texts, to be read."""
    return describe_outcome(attrs)["effect_of"] is not None


def is_neutral(attrs: Mapping[str, Any]) -> bool:
    """Whether an evaluation is of neutral passages, which have no value, and not of dilemmas."""
    return attrs.get("split") == NEUTRAL


def intervention_settings(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an evaluation's intervention; empty if it has none, or none are kept."""
    found: Any = attrs
    for key in ("config", "evaluate", describe_outcome(attrs)["intervention"]):
        found = found.get(key) if isinstance(found, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}


def averaged(evaluation: xr.Dataset) -> NDArray[np.float64]:
    """The array whose change is the effect, averaged to (condition, dilemma).

    All dimensions behind the dilemma are averaged: for letters the order of the options, so that a
    preference for a letter cancels.
    """
    array = evaluation[describe_outcome(evaluation.attrs)["effect_of"]]
    array = array.transpose("condition", "dilemma", ...)
    number_CDX = array.values.reshape(*array.shape[:2], -1)
    return np.asarray(number_CDX.mean(axis=-1), dtype=np.float64)


def answer_mass(evaluation: xr.Dataset) -> dict[str, float]:
    """Mean probability that the intact model gives to the answers, by language of the dilemmas.

    Empty if the outcome measures none. The attribute `mass_of` names the array; where it is absent,
    it is that of the choice of letters.
    """
    array = evaluation.attrs.get("mass_of", DEFAULT_MASS)
    if array is None or array not in evaluation:
        return {}
    intact = [str(kind) for kind in evaluation["kind"].values].index("intact")
    mass = evaluation[array].isel(condition=intact).transpose("dilemma", ...)
    mean_D = mass.values.reshape(mass.sizes["dilemma"], -1).mean(axis=1)
    spoken_D = np.array([str(label) for label in evaluation["dilemma_language"].values])
    return {g: float(mean_D[spoken_D == g].mean()) for g in dict.fromkeys(spoken_D.tolist())}


def asks_own(attrs: Mapping[str, Any]) -> bool:
    """Whether the control draws of an evaluation were asked about the dilemmas of their mask's own
    value only."""
    return attrs.get("control_dilemmas") == "own"


def find_asked(
    kind_C: NDArray[Any], mask_C: NDArray[Any], value_D: NDArray[Any]
) -> NDArray[np.bool_]:
    """Which dilemmas each condition is asked about, (C, D), in an evaluation that `asks_own`."""
    return np.asarray((kind_C != "control")[:, None] | (mask_C[:, None] == value_D), dtype=bool)
