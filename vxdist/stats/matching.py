"""Matched controls: random neurons that stand for others of their layer and activity.

L: layer, N: neuron, V: value.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vxdist.errors import UserError

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LanguageScores:
    """What masking needs of one language's scores.

    `activity_LN` is the share of tokens on which a neuron is active; NaN where it is not known.
    """

    selected_LNV: Bools
    activity_LN: NDArray[np.float64]


def draw_control(
    scores: LanguageScores, target_LN: Bools, *, pool: int, rng: np.random.Generator
) -> Bools:
    """As many neurons of each layer as `target_LN` has, as active, and selected for no value.

    Each neuron of the target is stood for by one of the `pool` unused neurons of its layer whose
    activity is nearest to its own; one of unknown activity stands for none. Raises UserError if a
    layer has too few, or the activity of one of the target is not known.
    """
    unknown_LN: Bools = np.isnan(scores.activity_LN)
    free_LN: Bools = ~np.any(scores.selected_LNV, axis=-1) & ~unknown_LN
    for layer, neuron in np.argwhere(target_LN & unknown_LN)[:1]:
        raise UserError(
            f"evaluate.controls: nothing is known of how active neuron {neuron} of layer {layer} "
            "is, so no other can stand for it; leave it out of the mask file or set controls 0"
        )
    drawn_LN = np.zeros_like(target_LN)
    for layer, target_N in enumerate(target_LN):
        wanted = rng.permutation(np.flatnonzero(target_N))
        left = np.flatnonzero(free_LN[layer])
        if len(wanted) > len(left):
            raise UserError(
                f"evaluate.controls: layer {layer} has {len(left)} neurons that are not selected, "
                f"too few to stand for {len(wanted)}; lower reduce.top_fraction or set controls 0"
            )
        activity_N = scores.activity_LN[layer]
        for neuron in wanted:
            distance = np.abs(activity_N[left] - activity_N[neuron])
            nearest = np.argsort(distance, kind="stable")[:pool]
            pick = int(rng.choice(nearest))
            drawn_LN[layer, left[pick]] = True
            left = np.delete(left, pick)
    return drawn_LN
