"""Writing a store: create it whole and empty, fill parts, and seal them.

Sums and counts travel; nothing is divided here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from vxstore.errors import StoreError
from vxstore.experts import (
    ROUTED,
    by_neuron,
    check_routed,
    columns,
    describe_experts,
    write_labels,
)
from vxstore.identity import holds_store
from vxstore.io import arrays, lock
from vxstore.io.metadata import commit, utc_now
from vxstore.names import names_on_disk
from vxstore.read import STATE_CREATING, STATE_RECORDING, read_root_attrs
from vxstore.recorded import Recorded, record_arrays, recorded_arrays, root_arrays
from vxstore.schema import (
    FORMAT_NAME,
    FORMAT_VERSION,
    ArraySpec,
    layered_chunks,
    record_chunks,
)

OF_PART = ("value", "language", "stance")
"""Labels along `part`."""


@dataclass(frozen=True, kw_only=True)
class PartLabels:
    """What all stories of one part share."""

    value: str
    language: str
    stance: str


@dataclass(frozen=True, kw_only=True)
class PartCounts:
    """What one part adds. L: layer, N: neuron, E: expert."""

    statistics: Mapping[str, NDArray[Any]]
    """By name, each (layer, neuron); at least those that the store records."""
    token_count: int
    story_count: int
    routed_count_LE: NDArray[np.integer[Any]] | None = None
    """Tokens given to each expert; None if the model has none."""


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
) -> None:
    """Create an empty store at `path`, with every array of `/` and `/record` in place.

    `attrs` (JSON values) join the root's attributes; of those, `statistics` names the statistics
    that are recorded (default: `vxstore.statistics.DEFAULT`), and `experts_per_token` how many
    experts of a layer each token is routed to. `num_experts` is of each layer, 0 of a dense model.
    A creation cut short is begun again. Raises StoreError if something else already
    lies at `path`, ValueError if neurons cannot be shared out evenly over the experts, or if a
    statistic is not known.
    """
    _refuse_occupied(path)
    attrs = {**attrs, **describe_experts(num_experts, num_neurons, attrs)}
    specs = root_arrays(attrs)
    shape = {
        "part": len(parts),
        "layer": num_layers,
        "neuron": num_neurons,
        "routed_expert": num_experts,
        "value": len(values),
        "language": len(languages),
    }
    store = arrays.zarr_store(path, read_only=False)
    root = zarr.open_group(store, mode="w", zarr_format=3, attributes={"state": STATE_CREATING})
    _create_record(root, shape, parts, attrs)
    _create_root(root, shape, values, languages, specs)
    about = {"format": FORMAT_NAME, "format_version": FORMAT_VERSION, "created": utc_now()}
    commit(path, {**about, **attrs, "state": STATE_RECORDING})


def _create_root(
    root: zarr.Group,
    shape: Mapping[str, int],
    values: Sequence[str],
    languages: Sequence[str],
    specs: Mapping[str, ArraySpec],
) -> None:
    for name, spec in specs.items():
        full = tuple(shape[dim] for dim in spec.dims)
        item = np.dtype(spec.dtype).itemsize
        chunks = layered_chunks(spec.dims, full, item) if "layer" in spec.dims else full
        arrays.create_array(root, name, spec, full, chunks=chunks)
    _write_numbers(root, ("layer", "neuron"), shape)
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
    of_neuron = _write_numbers(record, ("part", "layer", "neuron"), shape)
    on_disk = names_on_disk("record", FORMAT_VERSION)
    names = {label: on_disk.get(label, label) for label in OF_PART}
    for label, name in names.items():
        arrays.write_coordinate(record, name, [getattr(p, label) for p in parts], dim="part")
    record.update_attributes({"coordinates": " ".join((*names.values(), *of_neuron))})


def _write_numbers(
    group: zarr.Group, dims: Sequence[str], shape: Mapping[str, int]
) -> tuple[str, ...]:
    """Coordinates of whole numbers; returns the names of those that are not dimensions."""
    if shape["routed_expert"]:
        dims = (*dims, "routed_expert")
    for dim in dims:
        arrays.write_coordinate(group, dim, range(shape[dim]))
    return write_labels(group, shape["neuron"], shape["routed_expert"])


def _refuse_occupied(path: str) -> None:
    if holds_store(path):
        raise StoreError(f"{path} already holds a store; choose another, or remove it")


class Recorder:
    """Fills and seals parts of a store that `create` made. Safe from many processes at once,
    as long as no two work on the same part: parts share no chunk."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._attrs = read_root_attrs(path, "record")
        self._run = lock.current_run(path)
        record = arrays.open_group(path, "record", mode="r+")
        self._recorded = recorded_arrays(self._attrs, record)
        self._scalars = {
            name: arrays.get_array(record, name) for name in ("token_count", "story_count")
        }
        self._sealed = arrays.get_array(record, "sealed")

    def sealed(self) -> NDArray[np.bool_]:
        """Which parts are recorded whole; shape (part,)."""
        return np.asarray(self._sealed[:]).astype(bool)

    def write_part(self, part: int, counts: PartCounts) -> None:
        """Check one part's counts, write them as whole shards and, last, seal it.

        Raises ValueError, before anything is written, if a number is missing or breaks the law of
        its statistic; StoreError if another run has taken the store over, or the part is sealed.
        """
        data = _check_counts(part, counts, self._recorded, self._attrs)
        lock.require(self.path, self._run)
        if self._sealed[part]:
            raise StoreError(
                f"{self.path}: part {part} is sealed already; two runs write one store"
            )
        for name, values in data.items():
            array = self._recorded[name].array
            arrays.write_region(array, part, values.astype(array.dtype))
        for name, array in self._scalars.items():
            arrays.write_region(array, part, np.asarray(getattr(counts, name), dtype=array.dtype))
        arrays.write_region(self._sealed, part, np.asarray(True))

    def unseal(self, part: int) -> None:
        """Have a part recorded again: what it holds means nothing from now on.

        Nor does it look as if it did: no quotient of its counts is a probability any more, except
        those by `routed_count` in stores of format 2.
        """
        arrays.write_region(self._sealed, part, np.asarray(False))
        arrays.write_region(self._scalars["token_count"], part, np.asarray(-1, dtype="int64"))
        if self._attrs["format_version"] >= 3:
            arrays.forget_region(self._recorded["active_count"].array, part)


def _check_counts(
    part: int,
    counts: PartCounts,
    recorded: Mapping[str, Recorded],
    attrs: Mapping[str, Any],
) -> dict[str, NDArray[Any]]:
    """The arrays to write, by name. Raises ValueError if one is missing or breaks its law."""
    most = np.iinfo(np.int32).max
    if not 0 <= counts.token_count <= most:
        raise ValueError(
            f"part {part}: {counts.token_count} tokens are less than none, or more than int32 holds"
        )
    data = {name: counts.statistics[name] for name in recorded if name in counts.statistics}
    if missing := [name for name in recorded if name not in (*data, ROUTED)]:
        raise ValueError(f"part {part}: the store records {missing[0]}, and none is given")
    active_LN, routed_LE = data["active_count"], counts.routed_count_LE
    check_routed(part, routed_LE, active_LN.shape, counts.token_count, attrs)
    given_LN: NDArray[Any] | None = np.broadcast_to(counts.token_count, active_LN.shape)
    if routed_LE is not None:
        given_LN = by_neuron(routed_LE, active_LN.shape[1])
    elif attrs.get("denominator", "tokens") != "tokens":
        given_LN = None
    for name, found_LN in data.items():
        _check_law(part, recorded[name], found_LN, given_LN, attrs)
    return data if routed_LE is None else {**data, ROUTED: routed_LE}


def _check_law(
    part: int,
    recorded: Recorded,
    found_LN: NDArray[Any],
    given_LN: NDArray[Any] | None,
    attrs: Mapping[str, Any],
) -> None:
    """Raise ValueError, naming the first neuron, unless all numbers are possible."""
    law, dtype = recorded.law, recorded.array.dtype
    assert np.can_cast(found_LN.dtype, dtype, "same_kind"), f"{recorded.name}: {found_LN.dtype}"
    if dtype.kind == "i" and found_LN.max() > np.iinfo(dtype).max:
        raise ValueError(
            f"part {part}: {recorded.name} of {found_LN.max()} is more than {dtype} holds"
        )
    # As they will be read: float64 can be beyond float32.
    read_LN = found_LN.astype(dtype)
    sound_LN = law.holds(read_LN, given_LN)
    if sound_LN.all():
        return
    layer, neuron = (int(n) for n in np.argwhere(~sound_LN)[0])
    place = {"layer": layer, **(columns(attrs, found_LN.shape[1], neuron) or {"neuron": neuron})}
    given = "" if given_LN is None else f" (it was given {given_LN[layer, neuron]} tokens)"
    raise ValueError(
        f"part {part}: {', '.join(f'{dim} {n}' for dim, n in place.items())}: {recorded.name} is "
        f"{read_LN[layer, neuron]}, expected {law.expected}{given}"
    )
