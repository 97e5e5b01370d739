"""Which parts tell the same dilemmas: the number of a part's dilemmas within their value.

On disk `/record/cluster` is an array like any other, and not named in the group attribute
`coordinates`: earlier versions take whole numbers named there for a running number. P: part.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr
import zarr

from vxstore.errors import StoreError
from vxstore.io import arrays
from vxstore.schema import ArraySpec

NAME = "cluster"
CLUSTER = ArraySpec(
    dims=("part",),
    dtype="int32",
    units="1",
    long_name="number of the part's dilemmas within its value: all tellings of one have the same",
)
MOST = int(np.iinfo(CLUSTER.dtype).max)


def check_clusters(cluster_P: Sequence[int | None]) -> None:
    """Raise ValueError if a number cannot be; None is a part that has none."""
    for part, number in enumerate(cluster_P):
        if number is not None and not 0 <= number <= MOST:
            raise ValueError(f"part {part}: cluster {number} is not from 0 to {MOST}")


def write_clusters(record: zarr.Group, cluster_P: Sequence[int | None]) -> None:
    """Write `cluster`, if every part has one."""
    known = [number for number in cluster_P if number is not None]
    if known and len(known) == len(cluster_P):
        arrays.write_array(record, NAME, CLUSTER, np.asarray(known))


def as_coordinate(what: str, record: xr.Dataset) -> xr.Dataset:
    """`/record`, opened, with `cluster` as a coordinate if there is one.

    Raises StoreError, naming `what`, if it cannot be.
    """
    if NAME not in record.data_vars:
        return record
    found = record[NAME]
    if found.dims != CLUSTER.dims or found.dtype != CLUSTER.dtype:
        raise StoreError(
            f"{what}: {NAME}: found {found.dtype} by {', '.join(map(str, found.dims))}, expected "
            f"{CLUSTER.dtype} by {', '.join(CLUSTER.dims)}; its metadata are damaged"
        )
    if (found.values < 0).any():
        part = int((found.values < 0).argmax())
        raise StoreError(
            f"{what}: {NAME}: found {int(found.values[part])} for part {part}, expected a number "
            "from 0; restore it from a copy"
        )
    return record.set_coords(NAME)
