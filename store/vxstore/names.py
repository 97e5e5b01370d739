"""Coordinates that have one name in memory, and another in a store."""

from collections.abc import Mapping

RENAMED: Mapping[str, Mapping[str, str]] = {
    "record": {"value": "part_value", "language": "part_language"},
    "scores": {"language": "scored_language"},
    "evaluation": {"value": "dilemma_value"},
    "effect": {"value": "dilemma_value"},
    "dose": {"value": "dilemma_value"},
    "languages": {"language": "compared_language"},
}
"""By kind of group, name in memory to name on disk.

xarray opens a hierarchy as one tree, in which a group inherits the coordinates of the groups above
it. So none of a group's own may have the name of one of the root's with other labels, or along
another dimension."""


def names_on_disk(group: str, version: int) -> Mapping[str, str]:
    """Coordinates (dimensions or not) of a group with another name on disk, by name in memory.

    `version` is the store's own: in stores of formats 1 and 2 there are none.
    """
    kind, *below = group.split("/")
    own = [name for name in below[1:] if name in RENAMED]
    return RENAMED.get(own[0] if own else kind, {}) if version >= 3 else {}
