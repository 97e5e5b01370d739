"""Zero ablation, as in the paper: an ablated neuron's activation is zero."""

import numpy as np

from vxdist.hooks.interventions import Affine, Recorded


class Zero:
    """h -> 0."""

    settings = None
    needs = ()

    def affine(self, recorded: Recorded, value: str, language: str) -> Affine:
        """The same for every value and language."""
        zero_LN = np.zeros(recorded.shape_LN, dtype=np.float32)
        return Affine(scale_LN=zero_LN, shift_LN=zero_LN)
