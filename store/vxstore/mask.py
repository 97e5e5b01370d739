"""Mask files: which neurons to switch off for each value and language, for any software to read.

A mask file is one JSON object:

    format             "vxdist-mask"
    format_version     1; a reader refuses a higher one, and ignores keys it does not know
    model              name of the model the neurons are of
    model_fingerprint  SHA-256 of its weights, as in the store; "" if not known
    layers, neurons    how many decoder layers the model has, and neurons each of them
    score              name of the score that selected the neurons
    experts            experts of each layer, if the model has any: neuron n is unit n % U of
                       expert n // U, of U = neurons / experts units each
    masks              {value: {language: {layer: [neuron, ...]}}}

`layer` is a decimal string without leading zeros; layers and neurons count from 0. Neurons stand
in ascending order, each once; a layer of which none is selected is left out, a value or language
of which none is selected holds {}. A value or language that is not there at all has no mask.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vxstore.experts import count_experts
from vxstore.lookup import open_scores, pick, reading, recorded
from vxstore.read import Store

MASK_FORMAT = "vxdist-mask"
MASK_VERSION = 1


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
