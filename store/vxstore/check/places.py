"""Verifying the places of neurons where layers differ: what the root says of its blocks decides."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from vxstore.blocks import PLACES, read_blocks
from vxstore.errors import DAMAGE, StoreError
from vxstore.read import Store


def bad_places(store: Store, dataset: xr.Dataset) -> Iterator[str]:
    """Coordinates by layer and neuron of an opened group that are missing, damaged or wrong."""
    blocks = read_blocks(store.attrs)
    if blocks is None:
        return
    bad: set[str] = set()
    for layer in range(len(blocks.layers)):
        for name, expected_LN in blocks.places(slice(layer, layer + 1)).items():
            try:
                found_N = dataset[name].isel(layer=layer).values
            except (KeyError, StoreError, *DAMAGE):
                bad.add(name)
                continue
            if not np.array_equal(found_N, expected_LN[0]):
                bad.add(name)
    yield from sorted(bad & set(PLACES))
