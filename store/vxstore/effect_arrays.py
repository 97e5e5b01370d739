"""The arrays of evaluation/NAME/effect, those of earlier versions among them."""

import dataclasses
from collections.abc import Mapping

from vxstore.schema import ArraySpec

_EFFECT_DIMS = ("mask", "value", "language")


def _of_cell(units: str, long_name: str, dtype: str = "float64") -> ArraySpec:
    """A number for each mask, value and language."""
    return ArraySpec(dims=_EFFECT_DIMS, dtype=dtype, units=units, long_name=long_name)


def _of_mask(units: str, long_name: str, dtype: str = "float64") -> ArraySpec:
    """A number for each mask and language."""
    return ArraySpec(dims=("mask", "language"), dtype=dtype, units=units, long_name=long_name)


def _of_draw(dtype: str, units: str, long_name: str) -> ArraySpec:
    """A number for each mask, value, language and control draw."""
    return ArraySpec(dims=(*_EFFECT_DIMS, "draw"), dtype=dtype, units=units, long_name=long_name)


EFFECT: Mapping[str, ArraySpec] = {
    "mean_shift": _of_cell(
        "nats", "mean change, over dilemmas, of what the outcome measures when the mask is on"
    ),
    "shift_low": _of_cell("nats", "lower end of the interval of the mean shift, over dilemmas"),
    "shift_high": _of_cell("nats", "upper end of the interval of the mean shift, over dilemmas"),
    "flip_rate": _of_cell(
        "1", "share of dilemmas whose preferred option, over both orders, changes"
    ),
    "flip_low": _of_cell("1", "lower end of the interval of the flip rate"),
    "flip_high": _of_cell("1", "upper end of the interval of the flip rate"),
    "control_rank": _of_cell(
        "1", "share of control draws whose mean shift is below the mask's; ties count half"
    ),
    "control_mean": _of_cell("nats", "mean over control draws of their mean shift"),
    "control_sd": _of_cell("nats", "standard deviation over control draws of their mean shift"),
    "se_total": _of_cell(
        "nats", "standard error, over dilemmas and sets, of the mean shift less the draws' mean"
    ),
    "p_value": _of_cell("1", "p of the mean shift against those of the control draws, two-sided"),
    "q_value": _of_cell("1", "lowest FDR at which the effect is found, in its family of cells"),
    "specific_shift": _of_cell(
        "nats", "mean shift, less the mask's mean shift on other values' dilemmas"
    ),
    "p_specific": _of_cell("1", "p of the specific shift against those of the control draws"),
    "q_specific": _of_cell("1", "lowest FDR at which the specific shift is found"),
    "control_shift": _of_draw("float64", "nats", "mean shift of a control draw"),
    "dilemma_count": _of_cell("dilemmas", "dilemmas behind the cell", "int64"),
    "masked_count": _of_mask("neurons", "neurons that the mask ablates", "int64"),
}
HARM: Mapping[str, ArraySpec] = {
    "harm_shift": _of_mask(
        "nats per token",
        "mean divergence of the ablated model from the intact one on neutral passages",
    ),
    "harm_p": _of_mask("1", "p of that divergence against those of the control draws, one-sided"),
    "nll_shift": _of_cell(
        "nats per token", "mean change of the negative log-likelihood of a token"
    ),
}
"""Arrays of an effect group where the harm of the masks is known (`harm_shift`, `harm_p`), or
measured (`nll_shift`)."""
ATTRIBUTED_EFFECT: Mapping[str, ArraySpec] = {
    "p_attributed": dataclasses.replace(
        _of_cell("1", "p of the mean shift among matched sets that an attribution predicts"),
        attributes={"p_source": "attribution"},
    ),
    "warrant_r": _of_cell("1", "correlation of predicted and measured shifts of the control draws"),
    "warrant_slope": _of_cell("1", "slope of their measured on their predicted shifts"),
}
"""Arrays that effects have besides, if the store has an attribution of the same questions."""
EARLIER_EFFECT: Mapping[str, ArraySpec] = {
    "passes": _of_cell(
        "1", "the interval excludes zero, and the shift is outside all control draws", "bool"
    ),
    "placebo_passes": _of_draw(
        "bool", "1", "the control draw, in its mask's place, passes the same tests"
    ),
}
"""Arrays that effects of earlier versions have, which gave no p."""
