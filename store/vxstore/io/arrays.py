"""The few ways vxstore makes, fills and reads Zarr arrays: checksummed, labelled, chunk-aligned."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.array_spec import ArrayConfigLike
from zarr.core.sync import sync

from vxstore.errors import DAMAGE, StoreError
from vxstore.io.clean import CleanStore, zarr_store
from vxstore.io.guard import guarded
from vxstore.io.metadata import read_group, read_root
from vxstore.schema import COORDINATES, LAWS, ArraySpec, layered_chunks

WRITE_ALL: ArrayConfigLike = {"write_empty_chunks": True}
LOST_BY = {"neuron": -(2**31), "routed_expert": -(2**30)}
"""What missing counts read as, by dimension; those with neither read as -1."""


def compressors() -> list[ZstdCodec | Crc32cCodec]:
    """Default zstd does not notice flipped bits: it sums the content here, crc32c every byte."""
    return [ZstdCodec(level=3, checksum=True), Crc32cCodec()]


def create_array(
    group: zarr.Group,
    name: str,
    spec: ArraySpec,
    shape: tuple[int, ...],
    *,
    chunks: tuple[int, ...],
    shards: tuple[int, ...] | None = None,
) -> zarr.Array[Any]:
    """Create an empty, checksummed array.

    A chunk that was never written, or is lost, reads as a number below zero or NaN (false for
    bool), which no count or sum can be; so damage never looks like a zero.
    """
    return group.create_array(
        name,
        shape=shape,
        dtype=spec.dtype,
        chunks=chunks,
        shards=shards,
        compressors=compressors(),
        dimension_names=spec.dims,
        attributes={
            "units": spec.units,
            "long_name": spec.long_name,
            **_laws(spec),
            **spec.attributes,
            **_run_of(group),
        },
        fill_value=fill_value(spec),
        config=WRITE_ALL,
        overwrite=True,
    )


def _laws(spec: ArraySpec) -> dict[str, Any]:
    declared = {name: getattr(spec, name) for name in LAWS}
    return {name: law for name, law in declared.items() if law is not None}


def _run_of(group: zarr.Group) -> dict[str, Any]:
    """The run that a derived group is of, which its arrays carry too: see `check_run`."""
    run = group.attrs.get("run")
    return {} if run is None else {"run": run}


def fill_value(spec: ArraySpec) -> int | float | bool | str:
    """What a missing chunk of an array reads as, which no count and no sum can be.

    Counts by neuron, by expert and of all tokens have different ones, so that their quotients are
    not between 0 and 1: -1 / -1 would look like a probability of 1.
    """
    if spec.dtype == "string":
        return ""
    kind = np.dtype(spec.dtype).kind
    if kind != "i":
        return float("nan") if kind == "f" else False
    return next((number for dim, number in LOST_BY.items() if dim in spec.dims), -1)


def create_whole(
    group: zarr.Group, name: str, spec: ArraySpec, shape: tuple[int, ...]
) -> zarr.Array[Any]:
    """Create an empty array of one chunk or, with a dimension `layer`, of whole layers a chunk."""
    chunks = shape
    if "layer" in spec.dims and len(shape) > 1:
        chunks = layered_chunks(spec.dims, shape, np.dtype(spec.dtype).itemsize)
    return create_array(group, name, spec, shape, chunks=chunks)


def write_array(group: zarr.Group, name: str, spec: ArraySpec, data: NDArray[Any]) -> None:
    """Create an array and write all of `data`; arrays with a `layer` hold whole layers a chunk."""
    data = np.asarray(data, dtype=spec.dtype)
    create_whole(group, name, spec, data.shape)[...] = data


def write_coordinate(
    group: zarr.Group,
    name: str,
    labels: Sequence[str] | range | NDArray[np.int64],
    *,
    dim: str | None = None,
) -> None:
    """Write labels along `dim` (default: `name`); strings become Zarr `string`, numbers int64."""
    is_index = isinstance(labels, range | np.ndarray)
    array = group.create_array(
        name,
        shape=(len(labels),),
        dtype="int64" if is_index else "string",
        chunks=(max(1, len(labels)),),
        compressors=compressors(),
        dimension_names=(dim or name,),
        attributes={"long_name": COORDINATES.get(name, name), **_run_of(group)},
        fill_value=-1 if is_index else "",
        config=WRITE_ALL,
        overwrite=True,
    )
    array[:] = np.asarray(labels) if is_index else np.array(labels, dtype=object)


def write_region(array: zarr.Array[Any], index: int, data: NDArray[Any]) -> str:
    """Write entry `index` of the first dimension, which must be one shard; returns its digest.

    Zarr loses data without a word when two writers share a chunk, hence the assertions.
    """
    shard = array.shards or array.chunks
    assert shard[0] == 1, f"{array.path}: one entry must be whole shards, not 1/{shard[0]} of one"
    assert data.shape == array.shape[1:], f"{array.path}: {data.shape} is not {array.shape[1:]}"
    assert data.dtype == array.dtype, f"{array.path}: {data.dtype} is not {array.dtype}"
    if array.shards is not None:
        # zarr reads a shard before it replaces it, and what a kill left may be unreadable.
        forget_region(array, index)
    array[index : index + 1] = data[None]
    return written(array)[f"{array.path}/{entry_key(array, index)}"]


def write_string(array: zarr.Array[Any], index: int, text: str) -> None:
    """Write entry `index` of an array of strings with one a chunk."""
    assert array.chunks == (1,), f"{array.path}: chunks of {array.chunks}"
    array[index : index + 1] = np.array([text], dtype=object)


def read_strings(array: zarr.Array[Any]) -> list[str]:
    """All entries of an array of strings; those that are lost or damaged are empty."""

    def read(index: int) -> str:
        try:
            return str(array[index])
        except (StoreError, *DAMAGE):
            return ""

    try:
        return [str(text) for text in np.asarray(array[...])]
    except (StoreError, *DAMAGE):
        return [read(index) for index in range(array.shape[0])]


def forget_region(array: zarr.Array[Any], index: int) -> None:
    """Have entry `index` of the first dimension, which must be one shard, read as never written."""
    sync((array.store_path / entry_key(array, index)).delete())


def entry_key(array: zarr.Array[Any], index: int) -> str:
    """Key of the chunk that holds entry `index` of the first dimension, which must be one shard."""
    return "/".join(("c", str(index), *("0" for _ in array.shape[1:])))


def written(of: zarr.Group | zarr.Array[Any]) -> Mapping[str, str]:
    """The digest of each chunk, by its key in the store, that was written through the group (or
    array), or through any other made from the same one."""
    store = of.store_path.store
    assert isinstance(store, CleanStore), "not opened by vxstore"
    return store.written


def open_group(
    path: str, name: str = "", *, mode: Literal["r", "r+"] = "r", whole: bool = False
) -> zarr.Group:
    """Open one group by its own metadata, verified; the consolidated copy may be behind.

    Raises StoreError if the root's, or the group's, or those of an array in it are damaged.
    """
    read_group(path, name, read_root(path))
    store = zarr_store(path, read_only=mode == "r", whole=whole)
    with guarded():
        return zarr.open_group(store, path=name, mode=mode, zarr_format=3, use_consolidated=False)


def read_array(group: zarr.Group, name: str) -> NDArray[Any]:
    """All of one array."""
    return np.asarray(get_array(group, name)[...])


def get_array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """One array of a group, not read yet."""
    with guarded():
        array = group[name]
    assert isinstance(array, zarr.Array), f"{name} is not an array"
    return array.with_config(WRITE_ALL)


def plain_attrs(group: zarr.Group) -> dict[str, Any]:
    """Attributes as an ordinary dictionary."""
    attrs: Mapping[str, Any] = group.attrs.asdict()
    return dict(attrs)
