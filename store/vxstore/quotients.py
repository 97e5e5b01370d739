"""Counts divided by the tokens that neurons were given: activation probabilities and means.

N: neuron, V: value, G: language.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxstore.errors import StoreError
from vxstore.experts import share, tokens_given
from vxstore.schema import POOLED

COUNT_DIMS = ("layer", "neuron", "value", "language")


def quotient(
    root: xr.Dataset, name: str, layer: int, values: Sequence[str], languages: Sequence[str]
) -> NDArray[np.float64]:
    """The count `name` of an opened root / tokens given, of one layer: (neuron, value, language).

    Values and languages are those asked for, in their order; `pooled` is the quotient of the sums
    over all languages. NaN where a neuron was given no token. Raises StoreError if the root has no
    such count, value or language.
    """
    if name not in root.data_vars or set(root[name].dims) != set(COUNT_DIMS):
        raise StoreError(f"there is no count {name[:40]!r} by layer, neuron, value and language")
    value_V = np.array([_find(root, "value", value) for value in values])
    count_NVG = root[name].isel(layer=layer).transpose(*COUNT_DIMS[1:]).values
    given_NVG = tokens_given(root, slice(layer, layer + 1))[0]
    counts = [
        _of_language(root, both_NVG[:, value_V], language)
        for both_NVG in (count_NVG, given_NVG)
        for language in languages
    ]
    half = len(languages)
    return share(np.stack(counts[:half], axis=-1), np.stack(counts[half:], axis=-1))


def _of_language(root: xr.Dataset, count_NVG: NDArray[Any], language: str) -> NDArray[Any]:
    if language == POOLED:
        return np.asarray(count_NVG.sum(axis=-1))
    return np.asarray(count_NVG[..., _find(root, "language", language)])


def _find(root: xr.Dataset, dim: str, label: str) -> int:
    known = [str(other) for other in root.indexes[dim]]
    if label not in known:
        raise StoreError(f"the counts have no {dim} {label!r}; there are {', '.join(known)}")
    return known.index(label)
