"""The selected neurons of a score as a mask file."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vxstore.experts import count_experts
from vxstore.mask_file import MASK_FORMAT, MASK_VERSION
from vxstore.query.lookup import open_scores, pick, reading, recorded
from vxstore.read import Store


def mask(
    store: Store,
    *,
    values: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
    score: str = "vape",
) -> dict[str, Any]:
    """The selected neurons of a score as the content of a mask file: plain JSON values.

    None is all values, and every recorded language. Raises StoreError if the store is not
    complete, or naming the known ones if there is no such score, value or language.
    """
    scores, known_values, known_languages = open_scores(store, score)
    values = pick(store, "value", values, known_values, known_values)
    languages = pick(store, "language", languages, known_languages, recorded(known_languages))
    with reading(store, "selected"):
        selected = scores.selected.load().sel(value=values, language=languages)
    num_experts = count_experts(store.attrs)
    selected_VGLN = selected.transpose("value", "language", "layer", "neuron").values
    return {
        "format": MASK_FORMAT,
        "format_version": MASK_VERSION,
        "model": store.attrs.get("model"),
        "model_fingerprint": store.attrs.get("model_fingerprint") or "",
        "layers": scores.sizes["layer"],
        "neurons": scores.sizes["neuron"],
        "score": score,
        **({"experts": num_experts} if num_experts else {}),
        "masks": {
            value: {
                language: {
                    str(layer): np.flatnonzero(selected_N).tolist()
                    for layer, selected_N in enumerate(selected_VGLN[v, g])
                    if selected_N.any()
                }
                for g, language in enumerate(languages)
            }
            for v, value in enumerate(values)
        },
    }
