"""Summing all parts into the root. Reads each chunk once; nothing is divided."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from vxstore import zarrio
from vxstore.errors import StoreError
from vxstore.read import STATE_COMPLETE


def finalise(path: str) -> None:
    """Sum all parts into the root, mark the store complete, and consolidate its metadata.

    Done already, it does nothing. Raises StoreError if a part is not sealed, or what it sealed is
    lost or damaged.
    """
    root = zarrio.open_group(path, mode="r+")
    if root.attrs["state"] == STATE_COMPLETE:
        zarrio.consolidate_if_needed(path)
        return
    record = zarrio.open_group(path, "record")
    missing = int((~zarrio.read_array(record, "sealed").astype(bool)).sum())
    if missing:
        raise StoreError(f"{path}: {missing} parts are not recorded; run `vxdist locate` again")
    labels = {name: list(zarrio.read_array(root, name)) for name in ("value", "language")}
    cell_of_part = [
        (labels["value"].index(value), labels["language"].index(language))
        for value, language in zip(
            zarrio.read_array(record, "value"), zarrio.read_array(record, "language"), strict=True
        )
    ]
    scalars = {n: _read_scalars(path, record, n) for n in ("token_count", "story_count")}
    token_count_P = scalars["token_count"]
    planned = root.attrs.get("planned_token_count")
    if planned is not None and planned != token_count_P.sum():
        raise StoreError(
            f"{path}: its parts hold {token_count_P.sum()} tokens, and {planned} were planned; it "
            "is damaged, so record it anew"
        )
    for name, count_P in scalars.items():
        total_VG = np.zeros(zarrio.get_array(root, name).shape, dtype=np.int64)
        for cell, count in zip(cell_of_part, count_P, strict=True):
            total_VG[cell] += count
        zarrio.get_array(root, name)[...] = total_VG
    for name in ("active_count", "activation_sum", "activation_square_sum"):
        source = zarrio.get_array(record, name)
        _sum_layers(path, source, zarrio.get_array(root, name), cell_of_part, token_count_P)
    root.update_attributes({"state": STATE_COMPLETE})
    zarrio.consolidate(path)


def _read_scalars(path: str, record: zarr.Group, name: str) -> NDArray[np.int64]:
    """One number a part, none of them lost."""
    count_P = zarrio.read_array(record, name).astype(np.int64)
    if (count_P < 0).any():
        raise _lost(path, int(np.argmax(count_P < 0)), name)
    return count_P


def _sum_layers(
    path: str,
    source: zarr.Array[Any],
    target: zarr.Array[Any],
    cell_of_part: Sequence[tuple[int, int]],
    token_count_P: NDArray[np.int64],
) -> None:
    """Sum (part, layer, neuron) into (layer, neuron, value, language), some layers at a time."""
    num_layers = target.shape[0]
    step = int(np.lcm(source.chunks[1], target.chunks[0]))
    for first in range(0, num_layers, step):
        layers = slice(first, min(first + step, num_layers))
        total_LNVG = np.zeros((layers.stop - first, *target.shape[1:]), dtype=target.dtype)
        for part, (value, language) in enumerate(cell_of_part):
            try:
                found_LN = np.asarray(source[part, layers])
            except (ValueError, RuntimeError, OSError) as error:
                raise _lost(path, part, source.basename) from error
            # Lost chunks read as -1 or NaN.
            sound = found_LN <= token_count_P[part] if source.dtype.kind == "i" else True
            if not (np.isfinite(found_LN) & sound).all() or (
                source.basename != "activation_sum" and found_LN.min() < 0
            ):
                raise _lost(path, part, source.basename)
            total_LNVG[:, :, value, language] += found_LN
        target[layers] = total_LNVG


def _lost(path: str, part: int, name: str) -> StoreError:
    return StoreError(
        f"{path}: part {part} is sealed, but its {name} is lost or damaged; remove "
        f"{path}/record/sealed/c/{part} and run `vxdist locate` again to record it anew"
    )
