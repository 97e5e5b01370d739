"""Writing a derived group (a score, the effects of an evaluation): begun, filled, then finished."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import zarr
from numpy.typing import NDArray

from vxstore.begun import remove_group
from vxstore.experts import write_labels
from vxstore.io import arrays, lock
from vxstore.io.digests import DATA, REVISION, digest_arrays
from vxstore.io.metadata import FILE, commit, next_revision
from vxstore.io.one_run import RUN
from vxstore.io.storage import find_storage
from vxstore.names import names_on_disk
from vxstore.read import read_root_attrs
from vxstore.schema import ArraySpec


def write_group(
    path: str,
    name: str,
    specs: Mapping[str, ArraySpec],
    data: Mapping[str, NDArray[Any]],
    coordinates: Mapping[str, Sequence[str] | range],
    attrs: Mapping[str, Any],
) -> None:
    """Write a derived group (effects) whole; `complete` is set last, then vouched for.

    Dimensions have the names that they have in memory.
    """
    group = begin_group(path, name, coordinates)
    for array_name, values in data.items():
        group.write_array(array_name, specs[array_name], values)
    group.finish(attrs)


def begin_group(
    path: str, name: str, coordinates: Mapping[str, Sequence[str] | range]
) -> "DerivedGroup":
    """A derived group, empty but for its labels; what was there is no longer vouched for.

    In a store with experts, a group with the coordinate `neuron` gets `expert` and `unit` too.
    """
    root_attrs = read_root_attrs(path)
    if find_storage(path).size(f"{name}/{FILE}") is not None:
        commit(path, {}, without=[name])
    remove_group(path, name)
    group = arrays.open_group(path, mode="r+").require_group(name)
    group.update_attributes({"complete": False, **lock.describe_run(path)})
    on_disk = names_on_disk(name, root_attrs["format_version"])
    for dim, labels in coordinates.items():
        arrays.write_coordinate(group, on_disk.get(dim, dim), labels)
    neurons = len(coordinates.get("neuron", ()))
    of_neuron = write_labels(group, neurons, root_attrs) if neurons else ()
    return DerivedGroup(path, group, on_disk, of_neuron)


class DerivedGroup:
    """A derived group that `begin_group` made. Dimensions have the names they have in memory."""

    def __init__(
        self, path: str, group: zarr.Group, on_disk: Mapping[str, str], of_neuron: Sequence[str]
    ) -> None:
        self._path, self._group = path, group
        self._on_disk, self._of_neuron = on_disk, of_neuron

    def create_array(self, name: str, spec: ArraySpec, shape: tuple[int, ...]) -> zarr.Array[Any]:
        """Create an empty array; its chunks hold whole layers, if it has any."""
        return arrays.create_whole(self._group, name, self._placed(spec), shape)

    def write_array(self, name: str, spec: ArraySpec, data: NDArray[Any]) -> None:
        """Write all of an array."""
        arrays.write_array(self._group, name, self._placed(spec), data)

    def finish(self, attrs: Mapping[str, Any]) -> None:
        """Mark the group complete, and vouch for it."""
        if self._of_neuron:
            attrs = {**attrs, "coordinates": " ".join(self._of_neuron)}
        attrs = {key: of for key, of in attrs.items() if key != RUN}  # perhaps copied from another
        vouched = {
            DATA: digest_arrays(arrays.written(self._group), self._group.path),
            REVISION: next_revision(self._path),
        }
        self._group.update_attributes({**attrs, **vouched, "complete": True})
        commit(self._path, {})

    def _placed(self, spec: ArraySpec) -> ArraySpec:
        dims = tuple(self._on_disk.get(dim, dim) for dim in spec.dims)
        return dataclasses.replace(spec, dims=dims)
