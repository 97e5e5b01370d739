"""Numbers that rank neurons and selections, read some layers at a time; probabilities beside them.

L: layer, N: neuron, V: value (1 long where all values share one ranking), G: language, K: one of
the neurons found.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxstore.declared import SELECTED, Ranking, require_labels
from vxstore.query.bounds import require_memory
from vxstore.query.lookup import Score, open_root, reading
from vxstore.quotients import quotient
from vxstore.text import listing

BLOCK_BYTES = 128 << 20
"""Aim for the size of the layers of all arrays in memory; half the bound is for one layer."""
COLUMNS = (
    "language", "value", "layer", "neuron", "expert", "unit", "token_count", "routed_count",
    "active_count", "probability", "mean_activation", "mean_other_probability", "value_count",
    "values", "selected", "rank", "ranked_count", "level", "claim",
)  # fmt: skip
"""Columns of the tables of queries, beside those called as an array of the score."""

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]


def column(array: str) -> str:
    """The column that holds an array of a score: called as the array is, unless that is taken."""
    return f"score_{array}" if array in COLUMNS else array


def layer_blocks(score: Score, *names: str) -> Iterator[tuple[int, xr.Dataset]]:
    """These arrays of a score, as many layers at a time as `BLOCK_BYTES` hold; first layer, block.

    Raises StoreError if a chunk is damaged, or one layer is too much.
    """
    layer = sum(score.data[name].nbytes for name in names) // max(1, score.data.sizes["layer"])
    require_memory(
        score.store.path, f"one layer of {listing(names)}", 2 * layer, "read them with xarray"
    )
    step = max(1, BLOCK_BYTES // max(1, layer))
    for first in range(0, score.data.sizes["layer"], step):
        with reading(score.store, listing(names, "or")):
            block = score.data[list(names)].isel(layer=slice(first, first + step)).load()
        yield first, block


def numbers(block: xr.Dataset, ranking: Ranking) -> Floats:
    """The numbers that rank, (language, value, layer, neuron)."""
    array = block[ranking.array]
    if not ranking.by_value:
        array = array.expand_dims("value")
    return np.asarray(array.transpose("language", "value", "layer", "neuron").values, np.float64)


def took_part(block: xr.Dataset, ranking: Ranking) -> Bools:
    """The neurons that were ranked, (language, value, layer, neuron)."""
    ranked_GVLN = np.isfinite(numbers(block, ranking))
    if ranking.among is None:
        return ranked_GVLN
    among = block[ranking.among].transpose("language", "layer", "neuron")
    return np.asarray(ranked_GVLN & among.values[:, None])


def selections(block: xr.Dataset) -> Bools:
    """The neurons that are selected, (language, value, layer, neuron)."""
    selected = block[SELECTED].transpose("language", "value", "layer", "neuron")
    return np.asarray(selected.values)


def read_probabilities(
    score: Score,
    languages: Sequence[str],
    language_K: Integers,
    layer_K: Integers,
    neuron_K: Integers,
) -> Floats:
    """Activation probabilities of neurons, (neuron found, value), from the counts of the root.

    `language_K` are positions in `languages`; values are those of the score. NaN where a neuron's
    expert was given no token. Raises StoreError if the score is not one of these counts.
    """
    root, *_ = open_root(score.store)
    probability_KV = np.empty((len(layer_K), len(score.values)))
    with reading(score.store, f"scores/{score.name}"):
        require_labels(score.data, root)
    for layer in np.unique(layer_K):
        with reading(score.store, "active_count, token_count or routed_count"):
            share_NVG = quotient(root, "active_count", int(layer), score.values, languages)
        at_K = layer_K == layer
        probability_KV[at_K] = share_NVG[neuron_K[at_K], :, language_K[at_K]]
    return probability_KV


def apart(probability_KV: Floats, value_K: Integers) -> tuple[Floats, Floats]:
    """Of each row, the probability of its value and the mean of the others; NaN if none."""
    rows, num_values = probability_KV.shape
    is_value_KV = np.arange(num_values) == value_K[:, None]
    value_probability_K = probability_KV[is_value_KV]
    if num_values == 1:
        return value_probability_K, np.full(rows, np.nan)
    others_KV = probability_KV[~is_value_KV].reshape(rows, num_values - 1)
    return value_probability_K, others_KV.mean(axis=1)
