"""How large an array of a store may be that questions read by blocks."""

import math

import xarray as xr

from vxstore.errors import StoreError
from vxstore.io.guard import LARGEST_CHUNK

MOST_LAYERS = 10_000


def check_sizes(what: str, dataset: xr.Dataset) -> None:
    """What is read at once must fit: an array by layer one layer at a time, another whole."""
    if dataset.sizes.get("layer", 0) > MOST_LAYERS:
        raise StoreError(f"{what}: {dataset.sizes['layer']:,} layers, expected {MOST_LAYERS:,}")
    for name, array in dataset.data_vars.items():
        steps = [dataset.sizes[dim] for dim in ("layer", "part") if dim in array.dims]
        if array.nbytes // max(1, math.prod(steps)) > LARGEST_CHUNK:
            raise StoreError(
                f"{what}: {name} of {dict(array.sizes)} cannot be read by blocks of at most "
                f"{LARGEST_CHUNK:,} bytes"
            )
