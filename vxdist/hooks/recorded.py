"""What the store says of the neurons to ablate: how active they are, and their means.

L: layer, N: neuron, V: value.
"""

import functools

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxdist.hooks.interventions import Recorded
from vxstore.blocks import read_blocks
from vxstore.experts import share, tokens_given
from vxstore.read import Store

Floats = NDArray[np.float64]


def read_activity(store: Store, language: str) -> Floats:
    """Share of tokens on which neurons are active, (layer, neuron): the mean over values.

    With experts that is not the activation probability, which is of the tokens routed to the
    expert: a control must be active as often, however often its expert is chosen. NaN of neurons
    that do not exist.
    """
    root = store.root().sel(language=language)
    layers = (root.isel(layer=layer) for layer in range(root.sizes["layer"]))
    share_LN = np.stack([(of.active_count / of.token_count).mean("value").values for of in layers])
    blocks = read_blocks(store.attrs)
    return share_LN if blocks is None else np.where(blocks.exists(), share_LN, np.nan)


def read_recorded(store: Store) -> Recorded:
    """Means of the store's statistics, for interventions; each is read when it is asked for."""
    root = store.root()

    @functools.cache
    def mean_LN(statistic: str, values: tuple[str, ...] | None, language: str) -> Floats:
        return np.concatenate(
            [
                _mean(root, statistic, values, language, slice(layer, layer + 1))
                for layer in range(root.sizes["layer"])
            ]
        )

    return Recorded(
        shape_LN=(root.sizes["layer"], root.sizes["neuron"]),
        values=tuple(str(label) for label in root.value.values),
        mean_LN=mean_LN,
    )


def _mean(
    root: xr.Dataset,
    statistic: str,
    values: tuple[str, ...] | None,
    language: str,
    layers: slice,
) -> Floats:
    """Mean over the tokens given to each neuron, (layer, neuron), of some layers."""
    dims = ("layer", "neuron", "value", "language")
    g = [str(label) for label in root.language.values].index(language)
    names = [str(label) for label in root.value.values]
    of_value = slice(None) if values is None else [names.index(value) for value in values]
    total_LNV = root[statistic].isel(layer=layers).transpose(*dims).values[..., g]
    given_LNV = tokens_given(root, layers)[..., g]
    total_LN = total_LNV[..., of_value].sum(axis=-1)
    return share(total_LN, given_LNV[..., of_value].sum(axis=-1).astype(np.float64))
