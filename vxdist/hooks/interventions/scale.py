"""Scaling: an ablated neuron's activation is multiplied by a dose.

Dose 0 is zero ablation, to the bit; dose 1 would be the intact model. Evaluations that differ in
the dose only make a dose curve (`vxstore doses`).
"""

from dataclasses import dataclass

import numpy as np

from vxdist.errors import UserError
from vxdist.hooks.interventions import Affine, Recorded

LARGEST = 10.0


@dataclass(kw_only=True)
class ScaleSettings:
    """Scaling the activations of ablated neurons."""

    dose: float = 0.5
    """What activations are multiplied by, from 0 (as zero) to 10; not 1, which changes nothing."""


class Scale:
    """h -> dose * h."""

    Settings = ScaleSettings
    needs = ()

    def __init__(self, settings: ScaleSettings) -> None:
        """Raises UserError if the dose is out of range, or 1: that is the intact model, which every
        evaluation measures anyway."""
        self.settings, dose = settings, settings.dose
        if not 0 <= dose <= LARGEST:
            raise UserError(f"evaluate.scale.dose: found {dose}, expected a number from 0 to 10")
        if dose == 1:
            raise UserError(
                "evaluate.scale.dose: 1 leaves the model intact, which every evaluation measures "
                "and every dose curve holds; choose another dose, such as 0.5"
            )

    def affine(self, recorded: Recorded, value: str, language: str) -> Affine:
        """The same for every value and language."""
        shape_LN = recorded.shape_LN
        return Affine(
            scale_LN=np.full(shape_LN, self.settings.dose, dtype=np.float32),
            shift_LN=np.zeros(shape_LN, dtype=np.float32),
        )
