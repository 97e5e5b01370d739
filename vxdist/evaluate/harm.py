"""The harm that the masks of an evaluation do, where an evaluation of the same masks measured it.

M: mask, G: language.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxdist.stats.verdict import Harm
from vxstore.errors import StoreError
from vxstore.outcome import is_neutral
from vxstore.read import Store

OWN = ("name", "scores", "masks", "values", "controls", "control_pool", "seed")
"""Settings that may differ between an evaluation and that of its harm."""


def is_harm_of(harm: Mapping[str, Any], of: Mapping[str, Any]) -> bool:
    """Whether an evaluation of neutral passages, by its attributes, ablated the neurons that
    another one did, in the same way."""
    keys = ("selection_digest", "intervention")
    if not is_neutral(harm) or any(harm.get(key) != of.get(key) for key in keys):
        return False
    there, here = harm.get("settings", {}), of.get("settings", {})
    shared = (set(there) & set(here)) - set(OWN)
    return all(there[key] == here[key] for key in shared)


def find_harm(store: Store, of: Mapping[str, Any]) -> tuple[str, Harm] | None:
    """The evaluation in the store that measured the harm of the masks of another one, which has
    the attributes `of`, and that harm; None if there is none with effects. Of several the last."""
    found = None
    for name in store.names("evaluation"):
        if is_harm_of(store.evaluation(name).attrs, of):
            try:
                effect = store.effect(name).load()
            except StoreError:
                continue
            if "families" in effect.attrs:
                found = name, _read(effect)
    return found


def _read(effect: Any) -> Harm:
    def numbers(name: str) -> NDArray[np.float64]:
        array = effect[name].transpose("mask", "value", "language").values
        return np.asarray(array[:, 0], dtype=np.float64)

    return Harm(
        masks=[str(mask) for mask in effect["mask"].values],
        languages=[str(language) for language in effect["language"].values],
        shift_MG=numbers("mean_shift"),
        p_MG=numbers("p_value"),
        rank_MG=numbers("control_rank"),
    )


def align(harm: Harm, masks: Sequence[str], languages: Sequence[str]) -> Harm:
    """The same for these masks and languages in order; NaN where it was not measured."""

    def place(number_MG: NDArray[np.float64]) -> NDArray[np.float64]:
        found = np.full((len(masks), len(languages)), np.nan)
        for m, mask in enumerate(masks):
            for g, language in enumerate(languages):
                if mask in harm.masks and language in harm.languages:
                    at = harm.masks.index(mask), harm.languages.index(language)
                    found[m, g] = number_MG[at]
        return found

    return Harm(
        masks=list(masks),
        languages=list(languages),
        shift_MG=place(harm.shift_MG),
        p_MG=place(harm.p_MG),
        rank_MG=place(harm.rank_MG),
    )
