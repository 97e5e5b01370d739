"""Which arrays a store records for every neuron and expert, and the law that each obeys."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import zarr

from vxstore.errors import StoreError
from vxstore.experts import ROUTED, ROUTED_RECORD, ROUTED_ROOT, count_experts
from vxstore.io import arrays
from vxstore.schema import RECORD, ROOT, ArraySpec, record_array, root_array
from vxstore.statistics import DEFAULT, STATISTICS, Law, Statistic, read_law, recorded_names

PLANNED = {"token_count": "planned_token_counts", "story_count": "planned_story_counts"}
"""Counts of one number a part, and the attribute of `/record` that says what they will be."""
ROUTED_LAW = Law(combine="sum", bound="tokens")


def root_arrays(attrs: Mapping[str, Any]) -> dict[str, ArraySpec]:
    """Arrays of the root of a new store whose root has these attributes.

    Raises ValueError if they name a statistic that is not in the table.
    """
    recorded = {row.name: root_array(row) for row in _rows(attrs)}
    others = {name: spec for name, spec in ROOT.items() if name not in DEFAULT}
    return recorded | others | dict(ROUTED_ROOT if count_experts(attrs) else {})


def record_arrays(attrs: Mapping[str, Any]) -> dict[str, ArraySpec]:
    """Arrays of `/record` of such a store. Raises ValueError as `root_arrays` does."""
    recorded = {row.name: record_array(row) for row in _rows(attrs)}
    others = {name: spec for name, spec in RECORD.items() if name not in DEFAULT}
    return recorded | others | dict(ROUTED_RECORD if count_experts(attrs) else {})


def _rows(attrs: Mapping[str, Any]) -> list[Statistic]:
    names = recorded_names(attrs)
    if unknown := [name for name in names if name not in STATISTICS]:
        raise ValueError(f"no statistic {unknown[0]!r}; there are {', '.join(STATISTICS)}")
    return [STATISTICS[name] for name in names]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """An array of `/record` whose layers are combined over parts into `/`, and the law of both."""

    name: str
    array: zarr.Array[Any]
    law: Law


def recorded_arrays(attrs: Mapping[str, Any], record: zarr.Group) -> dict[str, Recorded]:
    """All such arrays of a store, by name; `attrs` are its root's.

    Raises StoreError if one is missing, or is not of a kind that can be combined.
    """
    found = {}
    for name in (*recorded_names(attrs), *((ROUTED,) if count_experts(attrs) else ())):
        if name not in record:
            raise StoreError(f"record/{name} is missing, and the root says that it is recorded")
        array = arrays.get_array(record, name)
        law = law_of(name, array)
        dims = getattr(array.metadata, "dimension_names", None)
        along = ("part", "layer", "routed_expert" if name == ROUTED else "neuron")
        kinds = "f" if law.combine == "max" else "if"
        if tuple(dims or ()) != along or array.dtype.kind not in kinds:
            raise StoreError(
                f"record/{name}: found {array.dtype} by {dims}, expected numbers by {along}; its "
                "metadata are damaged"
            )
        found[name] = Recorded(name=name, array=array, law=law)
    return found


def law_of(name: str, array: zarr.Array[Any]) -> Law:
    """The law of an array by neuron or expert. Raises StoreError as `read_law` does."""
    return ROUTED_LAW if name == ROUTED else read_law(name, array.attrs)


def read_planned(record: zarr.Group) -> dict[str, list[int]]:
    """What is planned of each part, by the name of the count; nothing in stores that do not say.

    Raises StoreError if that is not one number for each part.
    """
    planned = {}
    for name, attribute in PLANNED.items():
        counts: Any = record.attrs.get(attribute)
        if counts is None:
            continue
        parts = arrays.get_array(record, name).shape[0]
        numbers = isinstance(counts, list) and all(type(n) is int and n >= 0 for n in counts)
        if not numbers or len(counts) != parts:
            raise StoreError(f"record: {attribute}: expected {parts} whole numbers, one a part")
        planned[name] = counts
    return planned
