"""Writing a store: create it whole and empty, fill parts, and seal them.

Sums and counts travel; nothing is divided here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from vxstore.blocks import Block, describe_blocks, read_blocks
from vxstore.cluster_labels import check_clusters, write_clusters
from vxstore.errors import StoreError
from vxstore.experts import describe_experts, write_labels
from vxstore.identity import holds_store
from vxstore.io import arrays, lock
from vxstore.io.clean import zarr_store
from vxstore.io.digests import DATA, digest_arrays, write_seal
from vxstore.io.metadata import commit, utc_now
from vxstore.names import names_on_disk
from vxstore.part_counts import PartCounts, check_counts, check_planned
from vxstore.read import STATE_CREATING, STATE_RECORDING, read_root_attrs
from vxstore.recorded import (
    PLANNED,
    read_planned,
    record_arrays,
    recorded_arrays,
    root_arrays,
)
from vxstore.schema import (
    ALIKE_VERSION,
    BLOCKS_VERSION,
    FORMAT_NAME,
    SEAL,
    ArraySpec,
    layered_chunks,
    record_chunks,
)

__all__ = ["PartCounts", "PartLabels", "Recorder", "create"]

OF_PART = ("value", "language", "stance")
"""Labels along `part`."""


@dataclass(frozen=True, kw_only=True)
class PartLabels:
    """What all stories of one part share, and how much is planned to be recorded of it.

    Without `token_count` and `story_count` any part may hold any number.
    """

    value: str
    language: str
    stance: str
    cluster: int | None = None
    """Number of its dilemmas within the value, from 0: all tellings of one are in parts of one
    number. Written only if all parts have one."""
    setting: str = ""
    """The setting of its stories; written only if all parts have one."""
    token_count: int | None = None
    story_count: int | None = None


def create(
    path: str,
    *,
    num_layers: int,
    num_neurons: int,
    values: Sequence[str],
    languages: Sequence[str],
    parts: Sequence[PartLabels],
    attrs: Mapping[str, Any],
    num_experts: int = 0,
    blocks: Sequence[Sequence[Block]] | None = None,
) -> None:
    """Create an empty store at `path`, with every array of `/` and `/record` in place.

    `attrs` (JSON values) join the root's attributes; of those, `statistics` names the statistics
    that are recorded (default: `vxstore.statistics.DEFAULT`), and `experts_per_token` how many
    experts of a layer each token is routed to. `num_experts` is of each layer, 0 of a dense model.
    Where layers differ or have several blocks, `blocks` are those of each layer, instead.
    A creation cut short is begun again. Raises StoreError if something else already
    lies at `path`, ValueError if neurons cannot be shared out evenly over the experts, the blocks
    are not of so many layers and neurons, or all alike, a
    statistic is not known, or the number of a cluster is below 0 or more than int32 holds.
    """
    _refuse_occupied(path)
    check_clusters([part.cluster for part in parts])
    if blocks is None:
        attrs = {**attrs, **describe_experts(num_experts, num_neurons, attrs)}
    else:
        attrs = {**attrs, **describe_blocks(blocks)}
        num_experts = _check_shape(attrs, num_layers, num_neurons, num_experts)
    specs = root_arrays(attrs)
    shape = {
        "part": len(parts),
        "layer": num_layers,
        "neuron": num_neurons,
        "routed_expert": num_experts,
        "value": len(values),
        "language": len(languages),
    }
    store = zarr_store(path, read_only=False)
    root = zarr.open_group(store, mode="w", zarr_format=3, attributes={"state": STATE_CREATING})
    _create_record(root, shape, parts, attrs)
    _create_root(root, shape, values, languages, specs, attrs)
    version = ALIKE_VERSION if blocks is None else BLOCKS_VERSION
    about = {"format": FORMAT_NAME, "format_version": version, "created": utc_now()}
    vouched = {DATA: digest_arrays(arrays.written(root), "")}
    commit(path, {**about, **attrs, **vouched, "state": STATE_RECORDING})


def _check_shape(
    attrs: Mapping[str, Any], num_layers: int, num_neurons: int, num_experts: int
) -> int:
    """Routed experts of the layer that has most. Raises ValueError if the numbers differ."""
    blocks = read_blocks(attrs)
    assert blocks is not None
    found, expected = (num_layers, num_neurons), (len(blocks.layers), blocks.num_neurons)
    if found != expected or num_experts or attrs.get("denominator", "tokens") != "tokens":
        raise ValueError(
            f"{found} layers and neurons, expected {expected} of the blocks, and tokens counted; "
            "num_experts is of layers that are alike"
        )
    return blocks.num_experts


def _create_root(
    root: zarr.Group,
    shape: Mapping[str, int],
    values: Sequence[str],
    languages: Sequence[str],
    specs: Mapping[str, ArraySpec],
    attrs: Mapping[str, Any],
) -> None:
    for name, spec in specs.items():
        full = tuple(shape[dim] for dim in spec.dims)
        item = np.dtype(spec.dtype).itemsize
        chunks = layered_chunks(spec.dims, full, item) if "layer" in spec.dims else full
        arrays.create_array(root, name, spec, full, chunks=chunks)
    _write_numbers(root, ("layer", "neuron"), shape, attrs)
    arrays.write_coordinate(root, "value", values)
    arrays.write_coordinate(root, "language", languages)


def _create_record(
    root: zarr.Group,
    shape: Mapping[str, int],
    parts: Sequence[PartLabels],
    attrs: Mapping[str, Any],
) -> None:
    record = root.create_group("record")
    for name, spec in record_arrays(attrs).items():
        full = tuple(shape[dim] for dim in spec.dims)
        shards, chunks = record_chunks(spec, full)
        sharded = shards if len(full) > 1 else None
        arrays.create_array(record, name, spec, full, chunks=chunks, shards=sharded)
    of_neuron = _write_numbers(record, ("part", "layer", "neuron"), shape, attrs)
    on_disk = names_on_disk("record", BLOCKS_VERSION)
    of_part = (*OF_PART, *(("setting",) if parts and all(p.setting for p in parts) else ()))
    names = {label: on_disk.get(label, label) for label in of_part}
    for label, name in names.items():
        arrays.write_coordinate(record, name, [getattr(p, label) for p in parts], dim="part")
    write_clusters(record, [p.cluster for p in parts])
    planned = {
        attribute: [getattr(part, name) for part in parts] for name, attribute in PLANNED.items()
    }
    known = {name: counts for name, counts in planned.items() if None not in counts}
    coordinates = {"coordinates": " ".join((*names.values(), *of_neuron))}
    vouched = {DATA: digest_arrays(arrays.written(record), "record")}
    record.update_attributes({**coordinates, **known, **vouched})


def _write_numbers(
    group: zarr.Group, dims: Sequence[str], shape: Mapping[str, int], attrs: Mapping[str, Any]
) -> tuple[str, ...]:
    """Coordinates of whole numbers; returns the names of those that are not dimensions."""
    if shape["routed_expert"]:
        dims = (*dims, "routed_expert")
    for dim in dims:
        arrays.write_coordinate(group, dim, range(shape[dim]))
    return write_labels(group, shape["neuron"], attrs)


def _refuse_occupied(path: str) -> None:
    if holds_store(path):
        raise StoreError(f"{path} already holds a store; choose another, or remove it")


class Recorder:
    """Fills and seals parts of a store that `create` made. Safe from many processes at once,
    as long as no two work on the same part: parts share no chunk."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._attrs = read_root_attrs(path, "record")
        self._run = lock.own_run(path)
        record = arrays.open_group(path, "record", mode="r+")
        self._recorded = recorded_arrays(self._attrs, record)
        self._planned = read_planned(record)
        self._scalars = {
            name: arrays.get_array(record, name) for name in ("token_count", "story_count")
        }
        self._sealed = arrays.get_array(record, "sealed")
        # Not there in a store that an earlier version began.
        self._seal = arrays.get_array(record, SEAL) if SEAL in record else None

    def sealed(self) -> NDArray[np.bool_]:
        """Which parts are recorded whole; shape (part,)."""
        return np.asarray(self._sealed[:]).astype(bool)

    def write_part(self, part: int, counts: PartCounts) -> None:
        """Check one part's counts, write them as whole shards and, last, seal it.

        Raises ValueError, before anything is written, if a number is missing, breaks the law of
        its statistic or is not the planned one; StoreError if another run has taken the store over,
        or the part is sealed.
        """
        data = check_counts(part, counts, self._recorded, self._attrs)
        check_planned(part, counts, self._planned)
        lock.require(self.path, self._run)
        if self._sealed[part]:
            raise StoreError(
                f"{self.path}: part {part} is sealed already; two runs write one store"
            )
        chunks = {}
        for name, values in data.items():
            array = self._recorded[name].array
            chunks[name] = arrays.write_region(array, part, values.astype(array.dtype))
        for name, array in self._scalars.items():
            count = np.asarray(getattr(counts, name), dtype=array.dtype)
            chunks[name] = arrays.write_region(array, part, count)
        if self._seal is not None:
            arrays.write_string(self._seal, part, write_seal("part", part, chunks))
        arrays.write_region(self._sealed, part, np.asarray(True))

    def unseal(self, part: int) -> None:
        """Have a part recorded again: what it holds means nothing from now on.

        Nor does it look as if it did: no quotient of its counts is a probability any more, except
        those by `routed_count` in stores of format 2.
        """
        # The seal last: if this is broken off, the part is found to be damaged once more.
        if self._seal is not None:
            arrays.write_string(self._seal, part, "")
        if self._attrs["format_version"] >= 3:
            arrays.forget_region(self._recorded["active_count"].array, part)
        arrays.write_region(self._scalars["token_count"], part, np.asarray(-1, dtype="int64"))
        arrays.write_region(self._sealed, part, np.asarray(False))
