"""Combining all parts into the root. Reads each chunk once; nothing is divided.

P: part, L: layer, N: neuron (or expert, of routed counts), V: value, G: language.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from vxstore.begun import seals
from vxstore.blocks import is_padded, read_blocks
from vxstore.errors import StoreError
from vxstore.experts import ROUTED, by_neuron, count_experts
from vxstore.io import arrays, lock
from vxstore.io.metadata import STATE_COMPLETE, commit
from vxstore.io.storage import find_storage
from vxstore.names import names_on_disk
from vxstore.read import read_root_attrs
from vxstore.recorded import Recorded, read_planned, recorded_arrays
from vxstore.routing import wrong_totals
from vxstore.statistics import recorded_names

DAMAGE = (StoreError, ValueError, RuntimeError, OSError)
"""What reading a damaged chunk may raise."""


def finalise(path: str) -> None:
    """Sum all parts into the root, mark the store complete, and consolidate its metadata.

    Done already, it does nothing. Raises StoreError if a part is not sealed, or what it sealed is
    lost or damaged.
    """
    sum_layers(path)
    complete(path)


def sum_layers(
    path: str,
    *,
    rank: int = 0,
    world_size: int = 1,
    advance: Callable[[int], object] = lambda _: None,
) -> None:
    """Combine this rank's layers of every array by neuron, and by expert, into the root.

    `advance` is called with the number of layers done. Raises StoreError if a part is not
    sealed, lost or damaged.
    """
    if read_root_attrs(path, "", "record")["state"] == STATE_COMPLETE:
        return
    parts = read_parts(path)
    for source, target, blocks in _shares(path, rank, world_size):
        for layers in blocks:
            target[layers] = sum_block(path, parts, source, target, layers)
            advance(layers.stop - layers.start)


def count_layers(path: str, *, rank: int = 0, world_size: int = 1) -> int:
    """Layers that `sum_layers` will sum on a rank, over all arrays."""
    shares = _shares(path, rank, world_size)
    return sum(layers.stop - layers.start for _, _, blocks in shares for layers in blocks)


def _shares(
    path: str, rank: int, world_size: int
) -> Iterator[tuple[Recorded, zarr.Array[Any], list[slice]]]:
    """(recorded array, its total in the root, layers that this rank combines)."""
    root, record = arrays.open_group(path, mode="r+"), arrays.open_group(path, "record")
    for name, source in recorded_arrays(arrays.plain_attrs(root), record).items():
        target = arrays.get_array(root, name)
        yield source, target, layer_blocks(source.array, target)[rank::world_size]


def complete(path: str) -> None:
    """Sum the counts that are one a part, and mark the store complete: all layers are summed.

    Raises StoreError if the parts do not hold the tokens planned.
    """
    attrs = read_root_attrs(path, "", "record")
    if attrs["state"] == STATE_COMPLETE:
        return
    parts = read_parts(path)
    total, planned = int(parts.token_count_P.sum()), attrs.get("planned_token_count")
    if planned not in (None, total):
        fix = (
            f"run `vxstore check {path} --repair`, then `vxdist locate`"
            if read_planned(arrays.open_group(path, "record"))
            else "record it again"
        )
        raise StoreError(
            f"{path}: its parts hold {total} tokens, and {planned} were planned; it is damaged, "
            f"so {fix}"
        )
    root = arrays.open_group(path, mode="r+")
    for name, count_P in (
        ("token_count", parts.token_count_P),
        ("story_count", parts.story_count_P),
    ):
        target = arrays.get_array(root, name)
        target[...] = parts.sum(count_P, target.shape)
    vouched = seals(arrays.open_group(path, "record"))
    commit(path, {**vouched, "state": STATE_COMPLETE})


def forget_sums(path: str) -> None:
    """Empty the root's arrays, so that they read as never written until all parts are summed again.

    In stores of formats 1 and 2 the old sums stay: their fill values are all -1, and -1 / -1 looks
    like a probability.
    """
    attrs = read_root_attrs(path)
    if attrs["format_version"] >= 3:
        routed = (ROUTED,) if count_experts(attrs) else ()
        for name in (*recorded_names(attrs), *routed, "token_count", "story_count"):
            lock.require_own(path)
            find_storage(path).remove(f"{name}/c")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Numbers that are one a part, all sealed; `cell_P` is its (value, language), by number.

    `attrs` are the root's. `routed`, if given, is the array of routed counts: the tokens that
    neurons were given.
    """

    cell_P: Sequence[tuple[int, int]]
    token_count_P: NDArray[np.int64]
    story_count_P: NDArray[np.int64]
    attrs: Mapping[str, Any]
    routed: zarr.Array[Any] | None = None

    @property
    def bounded(self) -> bool:
        """Whether tokens are counted, so that a neuron is active on no more than there are."""
        return bool(self.attrs.get("denominator", "tokens") == "tokens")

    def sum(self, count_P: NDArray[np.int64], shape: Sequence[int]) -> NDArray[np.int64]:
        """Sum by (value, language)."""
        total_VG = np.zeros(shape, dtype=np.int64)
        for cell, count in zip(self.cell_P, count_P, strict=True):
            total_VG[cell] += count
        return total_VG


def read_parts(path: str) -> Parts:
    """What the parts are. Raises StoreError if one is not sealed, or is damaged."""
    root, record = arrays.open_group(path, whole=True), arrays.open_group(path, "record")
    missing = int((~arrays.read_array(record, "sealed").astype(bool)).sum())
    if missing:
        raise StoreError(f"{path}: {missing} parts are not recorded; run `vxdist locate` again")
    scalars = {}
    for name in ("token_count", "story_count"):
        scalars[name] = read_scalars(arrays.get_array(record, name))
        if (scalars[name] < 0).any():
            raise lost(path, int(np.argmax(scalars[name] < 0)), name)
    return Parts(
        cell_P=read_cells(path, root, record),
        token_count_P=scalars["token_count"],
        story_count_P=scalars["story_count"],
        attrs=arrays.plain_attrs(root),
    )


def read_cells(path: str, root: zarr.Group, record: zarr.Group) -> list[tuple[int, int]]:
    """Value and language of each part, by number. Raises StoreError if a label is unknown."""
    index = {
        name: {label: n for n, label in enumerate(arrays.read_array(root, name))}
        for name in ("value", "language")
    }
    on_disk = names_on_disk("record", arrays.plain_attrs(root)["format_version"])
    labels = [arrays.read_array(record, on_disk.get(name, name)) for name in index]
    try:
        return [(index["value"][v], index["language"][g]) for v, g in zip(*labels, strict=True)]
    except KeyError as error:
        raise StoreError(f"{path}/record: the label {error} of a part is damaged") from error


def read_scalars(array: zarr.Array[Any]) -> NDArray[np.int64]:
    """One number a part; -1 where it is lost or damaged."""
    try:
        return np.asarray(array[...]).astype(np.int64)
    except StoreError:
        return np.array([_read_scalar(array, part) for part in range(array.shape[0])])


def _read_scalar(array: zarr.Array[Any], part: int) -> int:
    try:
        return int(np.asarray(array[part]))
    except StoreError:
        return -1


def layer_blocks(source: zarr.Array[Any], target: zarr.Array[Any]) -> list[slice]:
    """Layers to sum together: whole chunks of both arrays."""
    num_layers = target.shape[0]
    step = int(np.lcm(source.chunks[1], target.chunks[0]))
    return [slice(n, min(n + step, num_layers)) for n in range(0, num_layers, step)]


def sum_block(
    path: str, parts: Parts, source: Recorded, target: zarr.Array[Any], layers: slice
) -> NDArray[Any]:
    """Combine (part, layer, neuron) into (layer, neuron, value, language), for some layers."""
    total_LNVG = empty_block(source, target, layers)
    for part, found_LN in read_block(path, parts, source, layers):
        if isinstance(found_LN, StoreError):
            raise found_LN
        source.law.merge(total_LNVG[:, :, *parts.cell_P[part]], found_LN)
    return total_LNVG


def empty_block(source: Recorded, target: zarr.Array[Any], layers: slice) -> NDArray[Any]:
    """What some layers of a root array hold before any part is combined into them."""
    shape = (layers.stop - layers.start, *target.shape[1:])
    return np.full(shape, source.law.empty, dtype=target.dtype)


def read_block(
    path: str,
    parts: Parts,
    source: Recorded,
    layers: slice,
    *,
    skip: Container[int] = (),
) -> Iterator[tuple[int, NDArray[Any] | StoreError]]:
    """Some layers of each part, in order; in place of a damaged part's, what to say of it."""
    for part in range(len(parts.cell_P)):
        if part in skip:
            continue
        try:
            found_LN = np.asarray(source.array[part, layers])
        except DAMAGE as error:
            damage = lost(path, part, source.name)
            damage.__cause__ = error
            yield part, damage
            continue
        sound = _is_sound(parts, part, source, layers, found_LN)
        yield part, found_LN if sound else lost(path, part, source.name)


def _is_sound(
    parts: Parts, part: int, source: Recorded, layers: slice, found_LN: NDArray[Any]
) -> bool:
    """Whether it obeys its law; lost chunks, which read as -1 or NaN, do not."""
    tokens = int(parts.token_count_P[part])
    if source.name == ROUTED:
        if wrong_totals(parts.attrs, found_LN, tokens, layers).any():
            return False
        return bool(source.law.holds(found_LN, tokens).all())
    if not parts.bounded:
        return bool(source.law.holds(found_LN).all())
    blocks = read_blocks(parts.attrs)
    if blocks is not None and not is_padded(blocks, found_LN, source.law.empty, layers):
        return False
    routed_LE = None
    if parts.routed is not None and source.law.asks_for_tokens:
        try:
            routed_LE = np.asarray(parts.routed[part, layers])
        except DAMAGE:
            routed_LE = None  # is reported as an array of its own
    exact = routed_LE is not None or not count_experts(parts.attrs)
    given_LN: NDArray[Any] | int = tokens
    if blocks is not None and exact:
        given_LN = blocks.given(routed_LE, tokens, layers)
    elif routed_LE is not None:
        given_LN = by_neuron(routed_LE, found_LN.shape[1])
    return bool(source.law.holds(found_LN, given_LN, exact=exact).all())


def lost(path: str, part: int, name: str) -> StoreError:
    """What to say of a sealed part that cannot be read."""
    return StoreError(
        f"{path}: part {part} is sealed, but its {name} is lost or damaged; run `vxstore check "
        f"{path} --repair`, then `vxdist locate` to record it again"
    )
