"""Steering: an ablated neuron's activation is pushed up, or down, by the same on every token.

The amount is counted in the neuron's own standard deviation over the tokens of the language. The
difference between its means for the mask's value and for others would be the other usual unit. But
that is close to nothing for the control draws, which belong to no value, so a mask would move more
than its draws because it is pushed harder. In standard deviations all are pushed equally hard.
"""

from dataclasses import dataclass

import numpy as np

from vxdist.errors import UserError
from vxdist.hooks.interventions import Affine, Recorded

LARGEST = 100.0


@dataclass(kw_only=True)
class AddSettings:
    """Adding to the activations of ablated neurons."""

    strength: float = 1.0
    """What is added, in standard deviations of each neuron over the tokens of the language; below
    0 pushes activations down."""


class Add:
    """h -> h + strength * (standard deviation of h)."""

    Settings = AddSettings
    needs = ("activation_sum", "activation_square_sum")

    def __init__(self, settings: AddSettings) -> None:
        """Raises UserError if the strength is out of range, or 0, which changes nothing."""
        self.settings, strength = settings, settings.strength
        if not 0 < abs(strength) <= LARGEST:
            raise UserError(
                f"evaluate.add.strength: found {strength}, expected a number from -100 to 100, "
                "other than 0"
            )

    def affine(self, recorded: Recorded, value: str, language: str) -> Affine:
        """The same for every value. A neuron that was given no tokens stays as it is."""
        mean_LN = recorded.mean_LN("activation_sum", None, language)
        square_LN = recorded.mean_LN("activation_square_sum", None, language)
        # Rounding may put a constant neuron's variance below 0.
        sd_LN = np.sqrt(np.maximum(np.nan_to_num(square_LN - mean_LN**2, nan=0.0), 0.0))
        return Affine(
            scale_LN=np.ones(recorded.shape_LN, dtype=np.float32),
            shift_LN=(self.settings.strength * sd_LN).astype(np.float32),
        )
