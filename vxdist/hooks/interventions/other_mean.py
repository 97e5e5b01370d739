"""Another value's mean: an ablated neuron's activation is its mean over other values' stories.

What the neuron says of the mask's own value is taken away, and what it says elsewhere put in its
place. Means are taken from the store, over tokens; an expert's neurons have theirs over the tokens
routed to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vxdist.errors import UserError
from vxdist.hooks.interventions import Affine, Recorded

KEY = "evaluate.other_mean.value"


@dataclass(kw_only=True)
class OtherMeanSettings:
    """Replacing the activations of ablated neurons by their means over other values' stories."""

    value: str | None = None
    """Value whose stories the mean is over; null takes all values but the mask's."""


class OtherMean:
    """h -> mean of h over the stories of another value, or of all others."""

    Settings = OtherMeanSettings
    needs = ("activation_sum",)

    def __init__(self, settings: OtherMeanSettings) -> None:
        self.settings = settings

    def check(self, known: Sequence[str], masks: Sequence[str]) -> None:
        """Raise UserError if the value is not recorded, or is a mask's own; or if there is none
        but the mask's."""
        value = self.settings.value
        if value is None:
            if len(known) < 2:
                raise UserError(
                    f"evaluate.intervention: other_mean needs another value than the mask's, and "
                    f"{', '.join(known)} is all that is recorded; choose another, such as mean"
                )
            return
        if value not in known:
            raise UserError(
                f"{KEY}: found {value!r}, expected a value that is recorded: {', '.join(known)}"
            )
        if value in masks:
            raise UserError(
                f"{KEY}: {value} is one of the values to ablate, whose own mean is no other's; "
                "leave it out of evaluate.values, or leave this out to take all others"
            )

    def affine(self, recorded: Recorded, value: str, language: str) -> Affine:
        """For the mask of `value`. A neuron that was given no tokens there is set to zero."""
        other = self.settings.value
        others = tuple(v for v in recorded.values if v != value) if other is None else (other,)
        mean_LN = np.nan_to_num(recorded.mean_LN("activation_sum", others, language), nan=0.0)
        return Affine(
            scale_LN=np.zeros(recorded.shape_LN, dtype=np.float32),
            shift_LN=mean_LN.astype(np.float32),
        )
