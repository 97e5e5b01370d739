"""Which neurons each condition switches off: none, a value's, or as many like them at random.

L: layer, N: neuron, V: value.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxdist.errors import UserError
from vxstore.conditions import ConditionLabels
from vxstore.experts import count_experts
from vxstore.read import Store

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class LanguageScores:
    """What masking needs of one language's scores.

    `activity_LN` is the share of tokens on which a neuron is active; NaN where it is not known.
    """

    selected_LNV: Bools
    activity_LN: NDArray[np.float64]


def read_activity(store: Store, scores: xr.Dataset, language: str) -> NDArray[np.float64]:
    """Share of tokens on which neurons are active, (layer, neuron): the mean over values.

    With experts that is not the activation probability, which is of the tokens routed to the
    expert: what stands for a neuron is to be active as often, however often its expert is chosen.
    """
    if not count_experts(store.attrs):
        probability = scores.activation_probability.sel(language=language)
        return np.asarray(probability.mean("value").values)
    root = store.root().sel(language=language)
    layers = (root.isel(layer=layer) for layer in range(root.sizes["layer"]))
    return np.stack([(of.active_count / of.token_count).mean("value").values for of in layers])


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
    scores: Sequence[LanguageScores],
    *,
    pool: int,
    seed: int,
) -> Bools:
    """Neurons off, (condition, layer, neuron, language); `values` label the scores' V.

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
