"""The selected neurons of a score as a mask file."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxstore.blocks import read_blocks
from vxstore.declared import SELECTED
from vxstore.experts import count_experts
from vxstore.mask_file import MASK_FORMAT, MASK_VERSION
from vxstore.query.bounds import require_memory, require_rows
from vxstore.query.lookup import open_score, pick, reading
from vxstore.read import Store


def mask(
    store: Store,
    *,
    values: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
    score: str | None = None,
) -> dict[str, Any]:
    """The selected neurons of a score as the content of a mask file: plain JSON values.

    None is all values, every recorded language, and `vxstore.query.default_score`. Raises
    StoreError if the store is not complete, or, naming the known ones, if there is no such score,
    value or language.
    """
    found = open_score(store, score)
    values = pick(store, "value", values, found.values, found.values)
    languages = pick(store, "language", languages, found.languages, found.recorded)
    size = found.data[SELECTED].nbytes
    require_memory(store.path, SELECTED, size, "export .csv, or fewer values")
    with reading(store, SELECTED):
        selected = found.data[SELECTED].load().sel(value=values, language=languages)
    require_rows(store.path, int(selected.sum()))
    num_experts, blocks = count_experts(store.attrs), read_blocks(store.attrs)
    selected_VGLN = selected.transpose("value", "language", "layer", "neuron").values
    return {
        "format": MASK_FORMAT,
        "format_version": MASK_VERSION,
        "model": store.attrs.get("model"),
        "model_fingerprint": store.attrs.get("model_fingerprint") or "",
        "layers": found.data.sizes["layer"],
        "neurons": found.data.sizes["neuron"],
        "score": found.name,
        **({"experts": num_experts} if num_experts and blocks is None else {}),
        **({} if blocks is None else {"blocks": blocks.described()}),
        "masks": {
            value: {
                language: _neurons_by_layer(selected_VGLN[v, g])
                for g, language in enumerate(languages)
            }
            for v, value in enumerate(values)
        },
    }


def _neurons_by_layer(selected_LN: NDArray[np.bool_]) -> dict[str, list[int]]:
    return {
        str(layer): np.flatnonzero(selected_N).tolist()
        for layer, selected_N in enumerate(selected_LN)
        if selected_N.any()
    }
