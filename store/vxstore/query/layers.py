"""How the selected neurons are spread over the layers.

L: layer, N: neuron, V: value, G: language.
"""

import numpy as np
import pandas as pd

from vxstore.declared import SELECTED
from vxstore.query.lookup import open_score, reading, require_known
from vxstore.read import Store


def layers(store: Store, *, language: str | None = None, score: str | None = None) -> pd.DataFrame:
    """How many neurons are selected in each layer for each value; layers without any included.

    `language` is a recorded language or `pooled`; None is every recorded one. `score` None is
    `vxstore.query.default_score`. Columns language, layer, value, selected_count (neurons of the
    layer that belong to the value) and distinct_count (neurons of the layer that belong to any
    value; the same in all rows of a layer, and less than their sum where neurons belong to
    several).

    Raises StoreError if the store is not complete, or, naming the known ones, if there is no such
    score or language.
    """
    found = open_score(store, score)
    if language is not None:
        require_known(store, "language", language, found.languages)
    wanted = found.recorded if language is None else [language]
    values = found.values
    with reading(store, SELECTED):
        language_G = [found.languages.index(name) for name in wanted]
        selected = found.data[SELECTED].isel(language=language_G).load()
    selected_GLNV = selected.transpose("language", "layer", "neuron", "value").values
    num_layers = selected_GLNV.shape[1]
    of_value_GLV = selected_GLNV.sum(axis=2)
    distinct_GL = selected_GLNV.any(axis=3).sum(axis=2)
    return pd.DataFrame(
        {
            "language": np.repeat(np.array(wanted, dtype=object), num_layers * len(values)),
            "layer": np.tile(np.repeat(np.arange(num_layers), len(values)), len(wanted)),
            "value": np.tile(np.array(values, dtype=object), len(wanted) * num_layers),
            "selected_count": of_value_GLV.reshape(-1),
            "distinct_count": np.repeat(distinct_GL.reshape(-1), len(values)),
        }
    )
