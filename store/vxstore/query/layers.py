"""How the selected neurons are spread over the layers.

L: layer, N: neuron, V: value, G: language.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vxstore.claims import selected_with_claim
from vxstore.declared import SELECTED
from vxstore.query.lookup import open_score, require_known
from vxstore.query.ranking import layer_blocks, selections
from vxstore.read import Store


def layers(store: Store, *, language: str | None = None, score: str | None = None) -> pd.DataFrame:
    """How many neurons are selected in each layer for each value; layers without any included.

    `language` is a recorded language or `pooled`; None is every recorded one. `score` None is
    `vxstore.query.default_score`. Columns language, layer, value, selected_count (neurons of the
    layer that belong to the value) and distinct_count (neurons of the layer that belong to any
    value; the same in all rows of a layer, and less than their sum where neurons belong to
    several). If the score is tested, also claimed_count and distinct_claimed_count: of these, those
    that have a claim (level 1 or above) for the value.

    Raises StoreError if the store is not complete, or, naming the known ones, if there is no such
    score or language.
    """
    found = open_score(store, score)
    if language is not None:
        require_known(store, "language", language, found.languages)
    wanted = found.recorded if language is None else [language]
    language_G = [found.languages.index(name) for name in wanted]
    claims = found.claims
    counts: dict[str, list[NDArray[Any]]] = {}
    for _, whole in layer_blocks(found, SELECTED, *claims.arrays):
        block = whole.isel(language=language_G)
        chosen = {"selected_count": selections(block)}
        if claims.claims:
            chosen["claimed_count"] = selected_with_claim(block, claims)
        for name, chosen_GVLN in chosen.items():
            count_GLV = chosen_GVLN.sum(axis=3).transpose(0, 2, 1)
            distinct_GL1 = chosen_GVLN.any(axis=1).sum(axis=2)[..., None]
            counts.setdefault(name, []).append(count_GLV)
            distinct = f"distinct_{name.removeprefix('selected_')}"
            counts.setdefault(distinct, []).append(np.broadcast_to(distinct_GL1, count_GLV.shape))
    count_GLV = {name: np.concatenate(blocks, axis=1) for name, blocks in counts.items()}
    shape = count_GLV["selected_count"].shape
    g, layer, v = (index.reshape(-1) for index in np.indices(shape))
    return pd.DataFrame(
        {
            "language": np.array(wanted, dtype=object)[g],
            "layer": layer,
            "value": np.array(found.values, dtype=object)[v],
            **{name: of_GLV.reshape(-1) for name, of_GLV in count_GLV.items()},
        }
    )
