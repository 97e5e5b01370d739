"""Verifying the parts of a store, and that its root is what they combine to.

P: part, L: layer, N: neuron (or expert, of routed counts), V: value, G: language.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import zarr
from numpy.typing import NDArray

from vxstore.check.findings import RERECORD, RESTORE, RETOTAL, Report
from vxstore.errors import StoreError
from vxstore.experts import ROUTED
from vxstore.finalise import (
    Parts,
    empty_block,
    layer_blocks,
    read_block,
    read_cells,
    read_scalars,
)
from vxstore.io import arrays
from vxstore.read import Store
from vxstore.recorded import Recorded, law_of, read_planned, recorded_arrays


def check_parts(
    path: str, store: Store, report: Report, advance: Callable[[int, int], object]
) -> None:
    """Verify `/record`, and that `/` is what its parts combine to."""
    root = arrays.open_group(path, whole=True)
    record = arrays.open_group(path, "record")
    sealed_P = read_scalars(arrays.get_array(record, "sealed"))
    report.parts, report.sealed = sealed_P.size, int((sealed_P == 1).sum())
    try:
        cell_P = read_cells(path, root, record)
        recorded = recorded_arrays(store.attrs, record)
        planned = read_planned(record)
        _check_laws(root, recorded)
    except StoreError as error:
        report.add("record", str(error), RESTORE)
        return
    scalars = {n: read_scalars(arrays.get_array(record, n)) for n in ("token_count", "story_count")}
    for part, sealed in enumerate(sealed_P):
        if sealed < 0:
            report.add("record/sealed", "its chunk is damaged", RERECORD, part)
        elif not sealed and store.complete:
            report.add("record/sealed", "not sealed in a complete store", RERECORD, part)
        for name, count_P in scalars.items():
            if sealed == 1 and count_P[part] < 0:
                report.add(f"record/{name}", "sealed, but lost or damaged", RERECORD, part)
    _check_planned(scalars, planned, sealed_P, report)
    parts = Parts(
        cell_P=cell_P,
        token_count_P=scalars["token_count"],
        story_count_P=scalars["story_count"],
        attrs=store.attrs,
        routed=recorded[ROUTED].array if ROUTED in recorded else None,
    )
    skip = {part for part, sealed in enumerate(sealed_P) if sealed != 1} | set(report.bad_parts)
    total = store.attrs.get("planned_token_count")
    if not skip and total not in (None, int(parts.token_count_P.sum())):
        report.add("record/token_count", f"its sum is not the {total} planned", RESTORE)
    if store.complete:
        _check_totals(root, parts, skip, report)
    blocks = [
        (source, layers)
        for name, source in recorded.items()
        for layers in layer_blocks(source.array, arrays.get_array(root, name))
    ]
    for done, (source, layers) in enumerate(blocks):
        _check_block(path, parts, source, root if store.complete else None, layers, skip, report)
        advance(done + 1, len(blocks))


def _check_planned(
    scalars: Mapping[str, NDArray[np.int64]],
    planned: Mapping[str, Sequence[int]],
    sealed_P: NDArray[np.int64],
    report: Report,
) -> None:
    """Parts whose counts are not those planned: another run, of other texts, sealed them."""
    for name, planned_P in planned.items():
        for part, (found, expected) in enumerate(zip(scalars[name], planned_P, strict=True)):
            if sealed_P[part] == 1 and found >= 0 and found != expected:
                what = f"sealed with {found}, and {expected} were planned"
                report.add(f"record/{name}", what, RERECORD, part)


def _check_laws(root: zarr.Group, recorded: Mapping[str, Recorded]) -> None:
    """Raise StoreError unless each root array is said to obey the law of the recorded one."""
    for name, source in recorded.items():
        if name not in root or law_of(name, arrays.get_array(root, name)) != source.law:
            raise StoreError(f"{name} is missing, or its attributes are not those in record")


def _check_totals(root: zarr.Group, parts: Parts, skip: set[int], report: Report) -> None:
    for name in ("token_count", "story_count"):
        array = arrays.get_array(root, name)
        try:
            found_VG = np.asarray(array[...])
        except StoreError as error:
            report.add(name, str(error), RETOTAL)
            continue
        if not skip and not np.array_equal(
            found_VG, parts.sum(getattr(parts, f"{name}_P"), array.shape)
        ):
            report.add(name, "is not the sum of its parts", RETOTAL)


def _check_block(
    path: str,
    parts: Parts,
    source: Recorded,
    root: zarr.Group | None,
    layers: slice,
    skip: set[int],
    report: Report,
) -> None:
    """Some layers of one array by neuron or expert: each part's, and the root's."""
    name = source.name
    sound, total_LNVG = not skip, None
    for part, found_LN in read_block(path, parts, source, layers, skip=skip):
        if isinstance(found_LN, StoreError):
            known = any(f.part == part and f.array == f"record/{name}" for f in report.findings)
            if not known:
                report.add(f"record/{name}", "sealed, but lost or damaged", RERECORD, part)
            sound = False
        elif root is not None:
            if total_LNVG is None:
                total_LNVG = empty_block(source, arrays.get_array(root, name), layers)
            source.law.merge(total_LNVG[:, :, *parts.cell_P[part]], found_LN)
    if root is None:
        return
    where = f"layers {layers.start} to {layers.stop - 1}"
    try:
        found_LNVG = np.asarray(arrays.get_array(root, name)[layers])
    except (StoreError, RuntimeError, ValueError) as error:
        report.add(name, f"{where}: {error}", RETOTAL)
        return
    if sound and total_LNVG is not None and not np.array_equal(found_LNVG, total_LNVG):
        report.add(name, f"{where}: not the {source.law.combine} of its parts", RETOTAL)
