"""Groups that a stage fills bit by bit, sealing each: how far one is, and removing an empty one."""

from typing import Any

from vxstore.io import arrays, lock
from vxstore.io.metadata import FILE
from vxstore.io.storage import find_storage


def begun_attrs(path: str, group: str) -> dict[str, Any]:
    """Attributes of a group if it was begun, perhaps not finished; else empty."""
    if find_storage(path).size(f"{group}/{FILE}") is None:
        return {}
    attrs = arrays.plain_attrs(arrays.open_group(path, group))
    return attrs if attrs.get("created") else {}


def discard_unsealed(path: str, group: str) -> bool:
    """Remove a group if it was begun and nothing of it is sealed; returns whether it was."""
    if not begun_attrs(path, group):
        return False
    if arrays.read_array(arrays.open_group(path, group), "sealed").any():
        return False
    lock.require_own(path)
    find_storage(path).remove(group)
    return True
