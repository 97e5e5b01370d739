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
from vxstore.experts import ROUTED, by_neuron

BLOCK_BYTES = 1 << 28
"""Active counts read at a time, at most, unless a single layer of all parts is more."""
TILE_NUMBERS = 1 << 19
"""Numbers of a tile, parts times neurons."""


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
    chunk_bytes = max(1, 4 * parts * neurons * chunk_layers)
    step = chunk_layers * max(1, BLOCK_BYTES // chunk_bytes)
    return [slice(n, min(n + step, num_layers)) for n in range(0, num_layers, step)]


def read_tiles(record: xr.Dataset, parts: Sequence[LanguageParts], layers: slice) -> Iterator[Tile]:
    """The counts of some layers, tile by tile."""
    active: dict[str, NDArray[Any]] = {}
    given: dict[str, NDArray[Any]] = {}
    for of in parts:
        some = record.isel(part=of.part_S, layer=layers)
        active[of.language] = _flat(some.active_count)
        if ROUTED in record:
            routed_SLE = some[ROUTED].transpose("part", "layer", "routed_expert").values
            neurons = record.sizes["neuron"]
            routed_SLN = np.stack([by_neuron(routed_LE, neurons) for routed_LE in routed_SLE])
            given[of.language] = routed_SLN.reshape(len(routed_SLN), -1)
        else:
            given[of.language] = some.token_count.values[:, None]
    num_parts = max(len(counts) for counts in active.values())
    num_neurons = next(iter(active.values())).shape[1]
    step = max(64, TILE_NUMBERS // num_parts)
    first = layers.start * record.sizes["neuron"]
    for n in range(0, num_neurons, step):
        at = slice(n, min(n + step, num_neurons))
        yield Tile(
            neuron_N=np.arange(first + at.start, first + at.stop),
            active_NS={name: _tile(counts, at) for name, counts in active.items()},
            given_NS={name: _tile(counts, at) for name, counts in given.items()},
        )


def _flat(count: xr.DataArray) -> NDArray[Any]:
    count_SLN = count.transpose("part", "layer", "neuron").values
    return np.asarray(count_SLN.reshape(len(count_SLN), -1))


def _tile(count_SN: NDArray[Any], at: slice) -> NDArray[np.float64]:
    """Some neurons, as float64 and with the neuron first; (1, S) of counts that all share."""
    some_SN = count_SN if count_SN.shape[1] == 1 else count_SN[:, at]
    return np.ascontiguousarray(some_SN.T, dtype=np.float64)
