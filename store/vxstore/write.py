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
    check_routed,
    describe_experts,
    record_arrays,
    root_arrays,
    write_labels,
)
from vxstore.identity import holds_store
from vxstore.io import arrays, lock
from vxstore.io.metadata import commit, utc_now
from vxstore.names import names_on_disk
from vxstore.read import STATE_CREATING, STATE_RECORDING, read_root_attrs
from vxstore.schema import (
    FORMAT_NAME,
    FORMAT_VERSION,
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
    """What one part adds. L: layer, N: neuron, E: expert; counts in tokens.

    Sums may be unknown (None); `routed_count_LE` is None if the model has no experts.
    """

    active_count_LN: NDArray[np.integer[Any]]
    activation_sum_LN: NDArray[np.floating[Any]] | None
    activation_square_sum_LN: NDArray[np.floating[Any]] | None
    token_count: int
    story_count: int
    routed_count_LE: NDArray[np.integer[Any]] | None = None


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

    `attrs` (JSON values) join the root's attributes; of those, `statistics` names the arrays by
    neuron that are recorded (default: all), and `experts_per_token` how many experts of a layer
    each token is routed to. `num_experts` is of each layer, 0 of a dense model. A creation cut
    short is begun anew by the next one. Raises StoreError if something else already lies at
    `path`, ValueError if neurons cannot be shared out evenly over the experts.
    """
    _refuse_occupied(path)
    attrs = {**attrs, **describe_experts(num_experts, num_neurons, attrs)}
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
    for name, spec in root_arrays(attrs).items():
        full = tuple(shape[dim] for dim in spec.dims)
        chunks = layered_chunks(spec.dims, full, 8) if "layer" in spec.dims else full
        arrays.create_array(root, name, spec, full, chunks=chunks)
    _write_numbers(root, ("layer", "neuron"), shape)
    arrays.write_coordinate(root, "value", values)
    arrays.write_coordinate(root, "language", languages)

    about = {"format": FORMAT_NAME, "format_version": FORMAT_VERSION, "created": utc_now()}
    commit(path, {**about, **attrs, "state": STATE_RECORDING})


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
        attrs = read_root_attrs(path, "record")
        self._attrs = attrs
        self._run = lock.current_run(path)
        self._specs = record_arrays(attrs)
        record = arrays.open_group(path, "record", mode="r+")
        self._arrays = {name: arrays.get_array(record, name) for name in self._specs}

    def sealed(self) -> NDArray[np.bool_]:
        """Which parts are recorded whole; shape (part,)."""
        return np.asarray(self._arrays["sealed"][:]).astype(bool)

    def write_part(self, part: int, counts: PartCounts) -> None:
        """Check one part's counts, write them as whole shards and, last, seal it.

        Raises ValueError, before anything is written, if a count is out of bounds or a sum is
        not finite; StoreError if another run has taken the store over, or the part is sealed.
        """
        _check_counts(part, counts, self._attrs)
        lock.require(self.path, self._run)
        if self._arrays["sealed"][part]:
            raise StoreError(
                f"{self.path}: part {part} is sealed already; two runs write one store"
            )
        data = {
            "active_count": counts.active_count_LN,
            "activation_sum": counts.activation_sum_LN,
            "activation_square_sum": counts.activation_square_sum_LN,
            "routed_count": counts.routed_count_LE,
            "token_count": np.asarray(counts.token_count),
            "story_count": np.asarray(counts.story_count),
        }
        for name, values in data.items():
            if name in self._arrays:
                assert values is not None, f"part {part}: the store records {name}"
                arrays.write_region(
                    self._arrays[name], part, values.astype(self._specs[name].dtype)
                )
        arrays.write_region(self._arrays["sealed"], part, np.asarray(True))

    def unseal(self, part: int) -> None:
        """Have a part recorded again: what it holds means nothing from now on."""
        arrays.write_region(self._arrays["sealed"], part, np.asarray(False))
        # Its counts, divided by its tokens, must not look like a probability either.
        arrays.write_region(self._arrays["token_count"], part, np.asarray(-1, dtype="int64"))
        if self._attrs["format_version"] >= 3:
            arrays.forget_region(self._arrays["active_count"], part)


def _check_counts(part: int, counts: PartCounts, attrs: Mapping[str, Any]) -> None:
    """Law 1 of the store: 0 <= active count <= token count; sums are finite."""
    bounded = attrs.get("denominator", "tokens") == "tokens"
    least, most = int(counts.active_count_LN.min()), int(counts.active_count_LN.max())
    if least < 0 or (bounded and most > counts.token_count):
        raise ValueError(
            f"part {part}: active counts from {least} to {most} do not lie within 0 and its "
            f"{counts.token_count} tokens"
        )
    if max(most, counts.token_count) > np.iinfo(np.int32).max:
        raise ValueError(f"part {part}: {counts.token_count} tokens are more than int32 holds")
    check_routed(part, counts.routed_count_LE, counts.active_count_LN, counts.token_count, attrs)
    for name in ("activation_sum_LN", "activation_square_sum_LN"):
        sum_LN = getattr(counts, name)
        if sum_LN is None:
            continue
        finite_LN = np.isfinite(sum_LN.astype(np.float32))
        if not finite_LN.all():
            layer = int(np.argmin(finite_LN.all(axis=1)))
            raise ValueError(f"part {part}: {name} is not finite in layer {layer}")
