"""Dose curves: evaluations that differ in the dose only, and the arrays of evaluation/NAME/dose."""

from collections.abc import Mapping
from typing import Any

from vxstore.defaults import DEFAULT_INTERVENTION
from vxstore.schema import ArraySpec

SCALED, ZEROED = "scale", "zero"
"""Interventions that have a dose: that of their settings, and 0."""
INTACT_DOSE = 1.0
"""The dose of the intact model, whose shift is 0 by definition: in every curve, and not stored."""

_TREND_DIMS = ("mask", "value", "language")
_CURVE_DIMS = ("evaluation", *_TREND_DIMS)


def _array(dims: tuple[str, ...], units: str, long_name: str) -> ArraySpec:
    return ArraySpec(dims=dims, dtype="float64", units=units, long_name=long_name)


DOSE: Mapping[str, ArraySpec] = {
    "dose": _array(("evaluation",), "1", "what the activations of ablated neurons are scaled by"),
    "mean_shift": _array(_CURVE_DIMS, "nats", "mean shift, over dilemmas, at the dose"),
    "shift_low": _array(_CURVE_DIMS, "nats", "lower end of its interval, over dilemmas"),
    "shift_high": _array(_CURVE_DIMS, "nats", "upper end of its interval, over dilemmas"),
    "control_mean": _array(_CURVE_DIMS, "nats", "mean over control draws of their mean shift"),
    "control_sd": _array(_CURVE_DIMS, "nats", "standard deviation over control draws of the same"),
    "slope": _array(
        _TREND_DIMS, "nats", "mean over dilemmas of the slope of the shift on 1 - dose"
    ),
    "slope_low": _array(_TREND_DIMS, "nats", "lower end of its interval, over dilemmas"),
    "slope_high": _array(_TREND_DIMS, "nats", "upper end of its interval, over dilemmas"),
    "control_slope": _array((*_TREND_DIMS, "draw"), "nats", "slope of a control draw"),
    "control_slope_mean": _array(_TREND_DIMS, "nats", "mean over control draws of their slope"),
    "control_slope_sd": _array(_TREND_DIMS, "nats", "standard deviation of their slopes"),
    "p_value": _array(_TREND_DIMS, "1", "p of the slope against those of the draws, two-sided"),
    "q_value": _array(_TREND_DIMS, "1", "lowest FDR at which the slope is found, in its family"),
    "dilemma_count": ArraySpec(
        dims=_TREND_DIMS, dtype="int64", units="dilemmas", long_name="dilemmas behind the cell"
    ),
}


def find_dose(attrs: Mapping[str, Any]) -> float | None:
    """The dose of an evaluation with these attributes; None if its intervention has none."""
    intervention = attrs.get("intervention", DEFAULT_INTERVENTION)
    if intervention == ZEROED:
        return 0.0
    dose = attrs.get("settings", {}).get("dose") if intervention == SCALED else None
    return None if dose is None else float(dose)
