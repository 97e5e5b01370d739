"""Writing a derived group (a score, the effects of an evaluation): begun, filled, then finished."""

from collections.abc import Mapping, Sequence
from typing import Any

import zarr
from numpy.typing import NDArray

from vxstore.io import arrays
from vxstore.io.metadata import FILE, commit
from vxstore.io.storage import find_storage
from vxstore.schema import ArraySpec


def write_group(
    path: str,
    name: str,
    specs: Mapping[str, ArraySpec],
    data: Mapping[str, NDArray[Any]],
    coordinates: Mapping[str, Sequence[str] | range],
    attrs: Mapping[str, Any],
) -> None:
    """Write a derived group (effects) whole; `complete` is set last, then vouched for."""
    group = begin_group(path, name, coordinates)
    for array_name, values in data.items():
        arrays.write_array(group, array_name, specs[array_name], values)
    finish_group(path, group, attrs)


def begin_group(
    path: str, name: str, coordinates: Mapping[str, Sequence[str] | range]
) -> zarr.Group:
    """A derived group, empty but for its labels; what was there is no longer vouched for."""
    storage = find_storage(path)
    if storage.size(f"{name}/{FILE}") is not None:
        commit(path, {}, without=[name])
    storage.remove(name)
    group = arrays.open_group(path, mode="r+").require_group(name)
    group.update_attributes({"complete": False})
    for dim, labels in coordinates.items():
        arrays.write_coordinate(group, dim, labels)
    return group


def finish_group(path: str, group: zarr.Group, attrs: Mapping[str, Any]) -> None:
    """Mark a derived group complete, and vouch for it."""
    group.update_attributes({**attrs, "complete": True})
    commit(path, {})
