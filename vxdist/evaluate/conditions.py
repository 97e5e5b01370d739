"""The conditions of an evaluation, and the neurons that each of them ablates.

L: layer, N: neuron, V: value, C: condition, G: language.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vxdist.stats.matching import LanguageNeurons, draw_control
from vxstore.evaluation import ConditionLabels

Bools = NDArray[np.bool_]


def make_conditions(values: Sequence[str], controls: int) -> tuple[ConditionLabels, ...]:
    """Intact, then each value's mask, then each value's control draws."""
    intact = [ConditionLabels(name="intact", kind="intact", mask="", draw=-1)]
    masks = [ConditionLabels(name=v, kind="mask", mask=v, draw=-1) for v in values]
    draws = [
        ConditionLabels(name=f"{v} control {n}", kind="control", mask=v, draw=n)
        for v in values
        for n in range(controls)
    ]
    return (*intact, *masks, *draws)


def mask_neurons(
    conditions: Sequence[ConditionLabels],
    values: Sequence[str],
    scores: Sequence[LanguageNeurons],
    *,
    pool: int,
    seed: int,
) -> Bools:
    """Ablated neurons, (condition, layer, neuron, language); `values` label the scores' V.

    A draw depends on the seed, its value, its number and its language only.
    """
    shape_LN = scores[0].activity_LN.shape
    masked_CLNG = np.zeros((len(conditions), *shape_LN, len(scores)), dtype=bool)
    for c, condition in enumerate(conditions):
        if condition.kind == "intact":
            continue
        v = list(values).index(condition.mask)
        for g, language in enumerate(scores):
            target_LN = language.selected_LNV[..., v]
            if condition.kind == "control":
                rng = np.random.default_rng([seed, v, condition.draw, g])
                target_LN = draw_control(language, target_LN, pool=pool, rng=rng)
            masked_CLNG[c, ..., g] = target_LN
    return masked_CLNG
