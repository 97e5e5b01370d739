"""Where the selected neurons lie, layer by layer.

L: layer, N: neuron, V: value, G: language.
"""

import numpy as np
import pandas as pd

from vxstore.query.lookup import open_scores, reading, recorded, require_known
from vxstore.read import Store


def layers(store: Store, *, language: str | None = None, score: str = "vape") -> pd.DataFrame:
    """How many neurons are selected in each layer, for each value; layers of none included.

    `language` is a recorded language or `pooled`; None is every recorded one. Columns language,
    layer, value, selected_count (neurons of the layer that belong to the value) and
    distinct_count (neurons of the layer that belong to any value; the same in all rows of a
    layer, and less than their sum where neurons belong to several).

    Raises StoreError if the store is not complete, or naming the known ones if there is no such
    score or language.
    """
    scores, values, languages = open_scores(store, score)
    if language is not None:
        require_known(store, "language", language, languages)
    wanted = recorded(languages) if language is None else [language]
    with reading(store, "selected"):
        selected = scores.selected.isel(language=[languages.index(name) for name in wanted]).load()
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
