"""Reading the record: some layers of all parts at a time, by language, in tiles of neurons.

S: part, L: layer, N: neuron, E: expert.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxdist.reduce.language_parts import LanguageParts
from vxstore.blocks import Blocks
from vxstore.experts import ROUTED, by_neuron

BLOCK_BYTES = 1 << 28
"""Active counts held at a time, at most, unless a single layer of all parts is more."""
TILE_NUMBERS = 1 << 20
"""Numbers of the tiles that all threads hold, parts times neurons."""
PARTS_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Tile:
    """Some neurons of a block of layers: numbered over all layers, and their counts by language.

    `given_NS`: tokens given; its first dimension is 1 where all neurons are given the same.
    """

    neuron_N: NDArray[np.int64]
    active_NS: Mapping[str, NDArray[np.float64]]
    given_NS: Mapping[str, NDArray[np.float64]]


def layer_steps(record: xr.Dataset, chunk_layers: int) -> list[slice]:
    """Slices of the layers, each of whole chunks of `chunk_layers`, as many as memory allows."""
    parts, num_layers, neurons = (record.sizes[dim] for dim in ("part", "layer", "neuron"))
    item = _count_type(record).itemsize
    chunk_bytes = max(1, item * parts * neurons * chunk_layers)
    step = chunk_layers * max(1, BLOCK_BYTES // chunk_bytes)
    return [slice(n, min(n + step, num_layers)) for n in range(0, num_layers, step)]


class Block:
    """The counts of some layers, all parts, in memory."""

    def __init__(
        self,
        record: xr.Dataset,
        parts: Sequence[LanguageParts],
        layers: slice,
        blocks: Blocks | None = None,
    ) -> None:
        self._first, self._neurons = layers.start, record.sizes["neuron"]
        self._active = _read_active(record, parts, layers)
        self._given = {of.language: _read_given(record, of, layers, blocks) for of in parts}

    def tiles(self, layers: slice, threads: int) -> Iterator[Tile]:
        """Some of the layers, in tiles for so many threads."""
        num_parts = max(len(counts) for counts in self._active.values())
        step = max(64, TILE_NUMBERS // num_parts // threads)
        before, end = self._first * self._neurons, layers.stop * self._neurons
        for first in range(layers.start * self._neurons, end, step):
            last = min(first + step, end)
            at = slice(first - before, last - before)
            yield Tile(
                neuron_N=np.arange(first, last),
                active_NS={name: _tile(counts, at) for name, counts in self._active.items()},
                given_NS={name: _tile(counts, at) for name, counts in self._given.items()},
            )


def _count_type(record: xr.Dataset) -> np.dtype[Any]:
    """The smallest type that holds the counts of any part."""
    return np.min_scalar_type(int(record.token_count.max()))


def _read_active(
    record: xr.Dataset, parts: Sequence[LanguageParts], layers: slice
) -> dict[str, NDArray[Any]]:
    """Active counts by language, (part, neuron of all these layers).

    Neighbouring parts are read together and dealt out: a list of parts takes zarr four times as
    long as a slice.
    """
    neurons, dtype = record.sizes["neuron"] * (layers.stop - layers.start), _count_type(record)
    active = {of.language: np.empty((len(of.part_S), neurons), dtype=dtype) for of in parts}
    for first in range(0, record.sizes["part"], PARTS_AT_ONCE):
        some = record.active_count.isel(part=slice(first, first + PARTS_AT_ONCE), layer=layers)
        count_SLN = some.transpose("part", "layer", "neuron").values
        for of in parts:
            start, stop = np.searchsorted(of.part_S, [first, first + PARTS_AT_ONCE])
            for at in range(start, stop):
                active[of.language][at] = count_SLN[of.part_S[at] - first].reshape(-1)
    return active


def _read_given(
    record: xr.Dataset, of: LanguageParts, layers: slice, blocks: Blocks | None
) -> NDArray[Any]:
    """Tokens given, (part, neuron); (part, 1) where all neurons of a part are given the same."""
    some = record.isel(part=of.part_S, layer=layers)
    token_S = some.token_count.values
    routed_SLE: Any = [None] * len(of.part_S)
    if ROUTED in record:
        routed_SLE = some[ROUTED].transpose("part", "layer", "routed_expert").values
    if blocks is not None:
        each = zip(routed_SLE, token_S, strict=True)
        given_SLN = np.stack([blocks.given(routed_LE, count, layers) for routed_LE, count in each])
    elif ROUTED in record:
        neurons = record.sizes["neuron"]
        given_SLN = np.stack([by_neuron(routed_LE, neurons) for routed_LE in routed_SLE])
    else:
        return np.asarray(token_S[:, None])
    return given_SLN.reshape(len(given_SLN), -1)


def _tile(count_SN: NDArray[Any], at: slice) -> NDArray[np.float64]:
    """Some neurons, as float64, (N, S); (1, S) of counts that all share.

    In memory parts come first, as they are added up to clusters.
    """
    some_SN = count_SN if count_SN.shape[1] == 1 else count_SN[:, at]
    return np.ascontiguousarray(some_SN, dtype=np.float64).T
