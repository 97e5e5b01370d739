"""Control draws: random neurons matched to those of a mask by layer, count and activity.

L: layer, N: neuron, V: value.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vxdist.errors import UserError

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LanguageNeurons:
    """All neurons of the model, as one language sees them.

    `selected_LNV`: whether a neuron belongs to the mask of a value. `activity_LN`: share of the
    language's tokens on which it is active; NaN where it is not known.
    """

    selected_LNV: Bools
    activity_LN: Floats


def draw_control(
    neurons: LanguageNeurons, target_LN: Bools, *, pool: int, rng: np.random.Generator
) -> Bools:
    """As many neurons of each layer as `target_LN` has, similarly active, of no value's mask.

    Each neuron of the target is matched by one of the `pool` neurons of its layer, not drawn yet,
    whose activity is nearest to its own; one of unknown activity matches none. Raises UserError if
    a layer has too few, or the activity of one of the target is not known.
    """
    unknown_LN: Bools = np.isnan(neurons.activity_LN)
    free_LN: Bools = ~np.any(neurons.selected_LNV, axis=-1) & ~unknown_LN
    for layer, neuron in np.argwhere(target_LN & unknown_LN)[:1]:
        raise UserError(
            f"evaluate.controls: nothing is known of how active neuron {neuron} of layer {layer} "
            "is, so it has no match; leave it out of the mask file or set controls 0"
        )
    drawn_LN = np.zeros_like(target_LN)
    for layer, target_N in enumerate(target_LN):
        wanted = rng.permutation(np.flatnonzero(target_N))
        left = np.flatnonzero(free_LN[layer])
        if len(wanted) > len(left):
            raise UserError(
                f"evaluate.controls: layer {layer} has {len(left)} neurons that are not selected, "
                f"too few to match {len(wanted)}; lower reduce.top_fraction or set controls 0"
            )
        activity_N = neurons.activity_LN[layer]
        for neuron in wanted:
            distance = np.abs(activity_N[left] - activity_N[neuron])
            nearest = np.argsort(distance, kind="stable")[:pool]
            pick = int(rng.choice(nearest))
            drawn_LN[layer, left[pick]] = True
            left = np.delete(left, pick)
    return drawn_LN
