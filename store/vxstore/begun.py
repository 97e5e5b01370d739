"""Groups that a stage fills bit by bit, sealing each: how far one is, and removing an empty one."""

from typing import Any

import zarr

from vxstore.io import arrays, lock
from vxstore.io.digests import SEALS, digest_seals
from vxstore.io.metadata import FILE
from vxstore.io.storage import find_storage
from vxstore.schema import SEAL


def begun_attrs(path: str, group: str) -> dict[str, Any]:
    """Attributes of a group if it was begun, perhaps not finished; else empty."""
    if find_storage(path).size(f"{group}/{FILE}") is None:
        return {}
    attrs = arrays.plain_attrs(arrays.open_group(path, group))
    return attrs if attrs.get("created") else {}


def start_group(path: str, name: str) -> zarr.Group:
    """A new group that a stage is to fill, which is begun once it has `created`.

    What a killed run left of one that was not begun is removed, or a third run would find arrays of
    two. Raises ValueError if the group was begun.
    """
    if begun_attrs(path, name):
        raise ValueError(f"{path}/{name} was begun already")
    remove_group(path, name)
    group = arrays.open_group(path, mode="r+").require_group(name)
    group.update_attributes({"complete": False, **lock.describe_run(path)})
    return group


def seals(group: zarr.Group) -> dict[str, str]:
    """The attribute that vouches for all seals of a group; none if an earlier version began it."""
    if SEAL not in group:
        return {}
    return {SEALS: digest_seals(arrays.read_strings(arrays.get_array(group, SEAL)))}


def discard_unsealed(path: str, group: str) -> bool:
    """Remove a group if it was begun and nothing of it is sealed; returns whether it was."""
    if not begun_attrs(path, group):
        return False
    if arrays.read_array(arrays.open_group(path, group), "sealed").any():
        return False
    remove_group(path, group)
    return True


def remove_group(path: str, group: str) -> None:
    """Remove a derived group, its zarr.json first: what a kill leaves is no group any more, and is
    never taken for one that is complete, but for some arrays."""
    lock.require_own(path)
    storage = find_storage(path)
    storage.remove(f"{group}/{FILE}")
    storage.remove(group)
