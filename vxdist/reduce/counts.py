"""What a selector reads: the recorded statistics of one language, or of all of them pooled.

L: layer, N: neuron, V: value, G: language.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxdist.reduce.results import TestResults
from vxstore.blocks import read_blocks
from vxstore.experts import count_experts, share, tokens_given
from vxstore.read import Store
from vxstore.schema import POOLED, layered_chunks


@dataclass(frozen=True, kw_only=True)
class LanguageCounts:
    """Statistics of a complete store in `language`, read some layers at a time.

    `language` is one that was recorded, or `pooled`: the sums over all languages. `tests` are those
    of the language; None if it could not be tested.
    """

    store: Store
    root: xr.Dataset
    language: str
    tests: TestResults | None = None

    @property
    def values(self) -> list[str]:
        """Names of the values, in the order of V."""
        return [str(label) for label in self.root.value.values]

    @property
    def shape_LN(self) -> tuple[int, int]:
        """Number of layers, and of neurons in each."""
        return self.root.sizes["layer"], self.root.sizes["neuron"]

    @property
    def num_neurons(self) -> int:
        """Number of neurons of the model: those of narrower layers, not what pads them."""
        return int(self.exists().sum())

    def exists(self) -> NDArray[np.bool_]:
        """Which neurons there are, (layer, neuron); all where layers are alike."""
        blocks = read_blocks(self.store.attrs)
        return np.ones(self.shape_LN, dtype=bool) if blocks is None else blocks.exists()

    @property
    def num_experts(self) -> int:
        """Number of experts in each layer; 0 if the model is dense."""
        return count_experts(self.store.attrs)

    def blocks(self) -> Iterator[slice]:
        """Slices of the layers, as many at a time as a chunk of the counts holds."""
        dims = ("layer", "neuron", "value", "language")
        num_layers = self.root.sizes["layer"]
        step = layered_chunks(dims, tuple(self.root.sizes[dim] for dim in dims), 8)[0]
        return (slice(n, min(n + step, num_layers)) for n in range(0, num_layers, step))

    def total(self, statistic: str, layers: slice) -> NDArray[Any]:
        """A statistic of some layers, (layer, neuron, value), summed over tokens."""
        total_LNVG = self.root[statistic].isel(layer=layers)
        return self._pick(total_LNVG.transpose("layer", "neuron", "value", "language").values)

    def tokens(self, layers: slice) -> NDArray[np.int64]:
        """Tokens that neurons were given: of the value, or those routed to the neuron's expert.

        (layer, neuron, value); layer and neuron have length 1 in a dense model whose layers are
        alike. Neurons that do not exist were given none.
        """
        return self._pick(tokens_given(self.root, layers))

    def probability(self, layers: slice) -> NDArray[np.float64]:
        """Active tokens / tokens given, (layer, neuron, value); NaN where none were given."""
        active_LNV = self.total("active_count", layers).astype(np.float64)
        return share(active_LNV, self.tokens(layers).astype(np.float64))

    def _pick(self, count_LNVG: NDArray[Any]) -> NDArray[Any]:
        if self.language == POOLED:
            return np.asarray(count_LNVG.sum(axis=-1))
        names = [str(label) for label in self.root.language.values]
        return np.asarray(count_LNVG[..., names.index(self.language)])
