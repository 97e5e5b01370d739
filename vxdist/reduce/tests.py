"""The tests of a score: made block by block, then judged together, and written into its group.

S: part, L: layer, N: neuron, P: cluster, V: value, G: language, R: pair of languages.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from vxdist.reduce.blocks import Block, Tile, layer_steps
from vxdist.reduce.clusters import Compared, Pair
from vxdist.reduce.language_parts import STANCES, LanguageParts, positions
from vxdist.reduce.language_tests import LanguageTests, Looked, Rates
from vxdist.reduce.languages import interaction
from vxdist.reduce.testing import BY_VALUE, CLAIMS, TESTS
from vxdist.stats.multiplicity import bh_q
from vxstore.blocks import Blocks
from vxstore.schema import POOLED

Floats = NDArray[np.float64]
Arrays = Mapping[str, zarr.Array[Any]]


class Tests:
    """All tests of the languages of a store, written into `arrays` of a score's group.

    `languages` has those that are tested, by their position among all labels; `blocks` are those of
    each layer, None where layers are alike.
    """

    def __init__(
        self,
        record: xr.Dataset,
        parts: Sequence[LanguageParts],
        languages: Mapping[int, LanguageTests],
        pairs: Sequence[Pair],
        arrays: Arrays,
        blocks: Blocks | None = None,
    ) -> None:
        self._record, self._parts, self._blocks = record, parts, blocks
        self._languages, self._arrays = languages, arrays
        shape_LNVG = arrays["p_value"].shape
        self._shape_LNG = (shape_LNVG[0], shape_LNVG[1], shape_LNVG[3])
        self._omnibus_LNG = np.full(self._shape_LNG, np.nan, dtype=np.float32)
        self._rival_LNG = np.full(self._shape_LNG, -1, dtype=np.int32)
        self._pairs = pairs
        shape_LNVR = (*shape_LNVG[:3], len(pairs))
        self.interaction_LNVR = np.full(shape_LNVR, np.nan, dtype=np.float32)

    def run(self, threads: int | None, advance: Callable[[int], object]) -> None:
        """Test every neuron, and conclude. `advance` is called with the layers just done."""
        threads = threads or len(os.sched_getaffinity(0))
        # Each thread multiplies by itself: those of a BLAS would wait for one another.
        chunk_layers = self._arrays["p_value"].chunks[0]
        with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
            for layers in layer_steps(self._record, chunk_layers):
                for chunk, tiles in self._read(layers, chunk_layers, threads):
                    self._take(chunk, _map(pool, self._look, tiles, threads))
                    advance(chunk.stop - chunk.start)
        self._conclude()

    def _read(
        self, layers: slice, chunk_layers: int, threads: int
    ) -> Iterator[tuple[slice, Iterator[Tile]]]:
        """The tiles of a block, by chunk. Its counts are freed before another block is read."""
        block = Block(self._record, self._parts, layers, self._blocks)
        for first in range(layers.start, layers.stop, chunk_layers):
            chunk = slice(first, min(first + chunk_layers, layers.stop))
            yield chunk, block.tiles(chunk, threads)

    def _take(self, layers: slice, results: Iterator[Any]) -> None:
        """Take in the tests of all neurons of some layers, and write their p."""
        num_neurons = (layers.stop - layers.start) * self._shape_LNG[1]
        written = {
            name: np.full((num_neurons, *self._arrays[name].shape[2:]), np.nan, dtype=np.float32)
            for name, spec in TESTS.items()
            if spec.dims == BY_VALUE
        }
        omnibus_NG = self._omnibus_LNG[layers].reshape(-1, self._shape_LNG[2])
        rival_NG = self._rival_LNG[layers].reshape(-1, self._shape_LNG[2])
        interaction_LNVR = self.interaction_LNVR[layers]
        interaction_NVR = interaction_LNVR.reshape(num_neurons, *interaction_LNVR.shape[2:])
        begun = layers.start * self._shape_LNG[1]
        for tile, looked, t_NVs in results:
            at = slice(int(tile.neuron_N[0]) - begun, int(tile.neuron_N[-1]) - begun + 1)
            for r, t_NV in enumerate(t_NVs):
                interaction_NVR[at, :, r] = t_NV
            for g, found in looked.items():
                self._languages[g].add(found, tile.neuron_N)
                omnibus_NG[at, g] = found.arrays["q_omnibus"]
                rival_NG[at, g] = found.arrays["rival"]
                for name, array_NVG in written.items():
                    if name in found.arrays:  # what is left is concluded later
                        array_NVG[at, :, g] = found.arrays[name]
        for name, array_NVG in written.items():
            target = self._arrays[name]
            target[layers] = array_NVG.reshape(-1, *target.shape[1:])

    def _look(self, tile: Tile) -> tuple[Tile, dict[int, Looked], list[NDArray[np.float32]]]:
        """Test a tile in every language, pooled, and between languages."""
        rates = {of.language: _rates(of, tile) for of in self._parts}
        found: dict[int, Looked] = {}
        for g, tests in self._languages.items():
            name = tests.compared.language
            if name != POOLED:
                found[g] = tests.look(rates[name], tile.neuron_N)
        looked = {self._languages[g].compared.language: one for g, one in found.items()}
        for g, tests in self._languages.items():
            if tests.compared.language == POOLED:
                pooled = _pool(tests.compared, self._parts, rates, looked)
                found[g] = tests.look(pooled, tile.neuron_N)
        t_NVs = [
            interaction(pair, found[pair.first].scored, found[pair.second].scored)
            for pair in self._pairs
        ]
        return tile, found, t_NVs

    def _conclude(self) -> None:
        """From p to q, each language and level by itself. But for level 1, p is where q will be."""
        for level, _, name in CLAIMS:
            source = "p_value" if level == 1 else name
            for g, tests in self._languages.items():
                p_LNV = read_language(self._arrays[source], g)
                write_language(self._arrays[name], g, _judge(tests, level, p_LNV))
        for g in self._languages:
            self._omnibus_LNG[..., g] = bh_q(self._omnibus_LNG[..., g])
        write_layers(self._arrays["q_omnibus"], self._omnibus_LNG)
        write_layers(self._arrays["rival"], self._rival_LNG)


def _map(
    pool: ThreadPoolExecutor, look: Callable[[Tile], Any], tiles: Iterator[Tile], at_once: int
) -> Iterator[Any]:
    """Results in order, of no more than `at_once` tiles in memory at a time."""
    while some := list(itertools.islice(tiles, at_once)):
        yield from pool.map(look, some)


def read_language(array: zarr.Array[Any], g: int) -> NDArray[np.float32]:
    """One language of an array, a chunk of layers at a time."""
    found = np.empty(array.shape[:-1], dtype=array.dtype)
    for layers in _chunks(array):
        found[layers] = np.asarray(array[layers])[..., g]
    return found


def write_language(array: zarr.Array[Any], g: int, data_LNV: NDArray[Any]) -> None:
    """Replace one language of an array that is written already."""
    for layers in _chunks(array):
        block = np.array(array[layers])
        block[..., g] = data_LNV[layers]
        array[layers] = block


def write_layers(array: zarr.Array[Any], data: NDArray[Any]) -> None:
    """Write all of an array, whole chunks of layers at a time."""
    for layers in _chunks(array):
        array[layers] = data[layers]


def _chunks(array: zarr.Array[Any]) -> Iterator[slice]:
    step = array.chunks[0]
    for n in range(0, array.shape[0], step):
        yield slice(n, min(n + step, array.shape[0]))


def _judge(tests: LanguageTests, level: int, p: NDArray[np.float32]) -> NDArray[np.float32]:
    """q of a level; where its null check failed, the p of the largest statistic instead."""
    tally = tests.tallies.get(level)
    made = int(np.count_nonzero(~np.isnan(p)))
    if tally is None or tally.summary(made, tests.settings.fdr)["calibrated"]:
        return bh_q(p)
    return tally.familywise(p.astype(np.float64)).astype(np.float32)


def _rates(of: LanguageParts, tile: Tile) -> Rates:
    active_NS, given_NS = tile.active_NS[of.language], tile.given_NS[of.language]
    both = of.tellings.both(STANCES)
    return Rates(
        x_NP=of.tellings.rates(active_NS, given_NS),
        difference_NP=of.tellings.differences(active_NS, given_NS, STANCES) if both.size else None,
        active_NP=of.tellings.sums(active_NS),
        given_NP=of.tellings.sums(given_NS),
        alive_N=active_NS.sum(axis=1) > 0,
    )


def _pool(
    compared: Compared,
    parts: Sequence[LanguageParts],
    rates: Mapping[str, Rates],
    looked: Mapping[str, Looked],
) -> Rates:
    """Languages together: sums of the scores that a neuron has in each, of clusters in all."""
    at = {of.language: of.positions(compared.keys) for of in parts}
    x_NP = sum(_plain(looked[of.language].scored)[:, at[of.language]] for of in parts)
    difference_NP: Any = None
    stance_keys = [compared.keys[p] for p in compared.stance_P.tolist()]
    if compared.stance is not None:
        for of in parts:
            scored = looked[of.language].stance_scored
            assert scored is not None, "pooled clusters are told in both stances in each language"
            plain_NP = _plain(scored)[:, positions(of.told_in_both(), stance_keys)]
            difference_NP = plain_NP if difference_NP is None else difference_NP + plain_NP
    return Rates(
        x_NP=np.asarray(x_NP),
        difference_NP=difference_NP,
        active_NP=_total([rates[n].active_NP.T[p].T for n, p in at.items()]),
        given_NP=_total([rates[n].given_NP.T[p].T for n, p in at.items()]),
        alive_N=np.any([rates[n].alive_N for n in at], axis=0),
    )


def _plain(scored: Any) -> Floats:
    """Scores before adjustment; NaN where the neuron is not known."""
    return np.where(scored.known_N[:, None], scored.plain_NP, np.nan)


def _total(arrays: Sequence[Floats]) -> Floats:
    return np.asarray(np.sum(np.broadcast_arrays(*arrays), axis=0))
