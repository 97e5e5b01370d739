"""Mean ablation: an ablated neuron's activation is its mean over the tokens of the language.

Unlike zero, the mean is a value that the rest of the model is used to. It is taken from the
store, over the stories of all values; an expert's neurons have theirs over the tokens routed to it.
"""

import numpy as np

from vxdist.hooks.interventions import Affine, Recorded


class Mean:
    """h -> mean of h."""

    settings = None
    needs = ("activation_sum",)

    def affine(self, recorded: Recorded, value: str, language: str) -> Affine:
        """The same for every value. A neuron that was given no tokens is set to zero."""
        mean_LN = np.nan_to_num(recorded.mean_LN("activation_sum", None, language), nan=0.0)
        return Affine(
            scale_LN=np.zeros(recorded.shape_LN, dtype=np.float32),
            shift_LN=mean_LN.astype(np.float32),
        )
