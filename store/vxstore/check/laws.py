"""Verifying the laws that the arrays of a derived group obey, some layers at a time.

N: neuron, V: value, G: language.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxstore.declared import SELECTED, Laws, Ranking
from vxstore.errors import StoreError
from vxstore.quotients import COUNT_DIMS, quotient

TOLERANCE = 1e-6
"""Rounding that is no breach: of a bound, relative to it where it is above 1."""


def broken_laws(
    block: xr.Dataset, laws: Mapping[str, Laws], where: str = ""
) -> Iterator[tuple[str, str]]:
    """Arrays of a loaded block that break a law, and how; `where` opens what is said.

    `quotient_of` is left to `broken_quotients`. Raises StoreError if a law does not fit its array.
    """
    for name, law in laws.items():
        array = block[name]
        if array.dtype.kind not in "iufb":
            raise StoreError(f"{name}: found {array.dtype}, expected numbers to check the laws of")
        number = array.values
        if law.finite and not np.isfinite(number).all():
            yield name, f"{where}not finite"
        for bound, sign, what in ((law.valid_min, -1, "below"), (law.valid_max, 1, "above")):
            if bound is not None and _exceeds(sign * number, sign * bound):
                yield name, f"{where}{what} {bound:g}"
        if law.subset_of is not None and _is_outside(block, name, law.subset_of):
            yield name, f"{where}true where {law.subset_of} is false"


def _exceeds(number: NDArray[Any], bound: float) -> bool:
    return bool((number > bound + TOLERANCE * max(1.0, abs(bound))).any())


def _is_outside(block: xr.Dataset, name: str, superset: str) -> bool:
    """Whether a bool array holds anywhere that another does not."""
    if superset not in block.data_vars:
        raise StoreError(f"{name}: subset_of: there is no array {superset[:40]!r}")
    inner, outer = block[name], block[superset]
    if {inner.dtype.kind, outer.dtype.kind} != {"b"} or not set(outer.dims) <= set(inner.dims):
        raise StoreError(
            f"{name}: cannot be a subset of {superset}: expected bool arrays, and no "
            "dimension of the second that the first lacks"
        )
    any_inner = inner.any([dim for dim in inner.dims if dim not in outer.dims])
    return bool((any_inner & ~outer.transpose(*any_inner.dims)).any())


def broken_quotients(
    root: xr.Dataset, block: xr.Dataset, laws: Mapping[str, Laws], layer: int
) -> Iterator[tuple[str, str]]:
    """Arrays of one layer of a score that are not the quotients of counts that they declare to be.

    Raises StoreError if there is no such count, or an array has other dimensions.
    """
    values, languages = ([str(name) for name in block.indexes[d]] for d in ("value", "language"))
    for name, law in laws.items():
        if law.quotient_of is None:
            continue
        found = block[name]
        if set(found.dims) != set(COUNT_DIMS[1:]):
            raise StoreError(f"{name}: quotient_of: expected an array by {', '.join(COUNT_DIMS)}")
        expected_NVG = quotient(root, law.quotient_of, layer, values, languages)
        found_NVG = found.transpose(*COUNT_DIMS[1:]).values
        # Sums of activations may cancel, counts cannot.
        is_count = root[law.quotient_of].dtype.kind in "iu"
        largest = np.abs(expected_NVG[np.isfinite(expected_NVG)]).max(initial=0.0)
        slack = 0.0 if is_count else 1e-9 * float(largest)
        if not np.allclose(found_NVG, expected_NVG, rtol=1e-5, atol=slack, equal_nan=True):
            yield name, f"layer {layer} is not that of the counts"


def broken_ranking(block: xr.Dataset, ranking: Ranking, where: str) -> Iterator[tuple[str, str]]:
    """The ranking array of a loaded block, if it is not finite for a neuron that is selected."""
    number, selected = block[ranking.array], block[SELECTED]
    chosen = selected if ranking.by_value else selected.any("value")
    if bool((chosen & ~np.isfinite(number)).any()):
        yield ranking.array, f"{where}not finite where a neuron is selected"
