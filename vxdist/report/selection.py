"""The neurons that a score selected in one language, as plain arrays.

L: layer, V: value, K: one neuron selected for one value, S: one neuron selected for any value.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxstore.blocks import Blocks

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class TopNeuron:
    """A selected neuron as one value sees it; `units` of each expert, 0 if there are no experts."""

    layer: int
    neuron: int
    units: int
    blocks: Blocks | None
    number: float
    probability: float
    others: float
    value_count: int
    level: int
    """The highest level of claim that it has for the value; 0 is being listed."""

    @property
    def name(self) -> str:
        """L12/N345; with experts L12/E3/U45; where layers differ L12/B1/E3/U45 or L12/B0/U45."""
        if self.blocks is not None:
            place = self.blocks.place(self.layer, self.neuron)
            shown = "/".join(f"{name[0].upper()}{n}" for name, n in place.items() if n >= 0)
            return f"L{self.layer}/{shown}"
        if not self.units:
            return f"L{self.layer}/N{self.neuron}"
        expert, unit = divmod(self.neuron, self.units)
        return f"L{self.layer}/E{expert}/U{unit}"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The neurons selected in one language, or in all languages pooled.

    The arrays have one entry for each neuron and value it was selected for, in the order of layer
    and neuron: the number that ranks it, its activation probability for the value, the mean of
    that over the other values, and the highest level of claim that it has. `ranked_count` neurons
    were ranked, `unscored_count` have no number.

    `blocks` are those of each layer where layers differ. With experts: the `units` of each if all
    layers are alike (else 0), and for each neuron the fewest tokens of one value
    that were routed to its expert.
    """

    language: str
    num_layers: int
    num_values: int
    layer_K: Integers
    neuron_K: Integers
    value_K: Integers
    number_K: Floats
    probability_K: Floats
    others_K: Floats
    ascending: bool
    ranked_count: int
    unscored_count: int
    thresholds: Mapping[str, Any]
    level_K: Integers
    units: int = 0
    blocks: Blocks | None = None
    fewest_routed_K: Integers | None = None

    @cached_property
    def neurons_S2(self) -> Integers:
        """Layer and neuron of each selected neuron, once each."""
        return self._distinct[0]

    @cached_property
    def belongs_SV(self) -> NDArray[np.bool_]:
        """Which values each selected neuron belongs to."""
        belongs_SV = np.zeros((len(self.neurons_S2), self.num_values), dtype=bool)
        belongs_SV[self._distinct[1], self.value_K] = True
        return belongs_SV

    @cached_property
    def count_LV(self) -> Integers:
        """Number of neurons selected in each layer for each value."""
        count_LV = np.zeros((self.num_layers, self.num_values), dtype=np.int64)
        np.add.at(count_LV, (self.layer_K, self.value_K), 1)
        return count_LV

    @cached_property
    def count_L(self) -> Integers:
        """Number of neurons selected in each layer, each neuron once."""
        return np.bincount(self.neurons_S2[:, 0], minlength=self.num_layers)

    @property
    def fewest_routed_S(self) -> Integers | None:
        """Of each selected neuron's expert, the fewest tokens of one value that it saw."""
        if self.fewest_routed_K is None:
            return None
        fewest_S = np.zeros(len(self.neurons_S2), dtype=np.int64)
        fewest_S[self._distinct[1]] = self.fewest_routed_K
        return fewest_S

    @property
    def values_per_neuron(self) -> float:
        """Mean number of values that a selected neuron belongs to."""
        return _mean(self.belongs_SV.sum(axis=1).astype(np.float64))

    @property
    def jaccard(self) -> float:
        """Mean over pairs of values of the Jaccard overlap; pairs without neurons are left out."""
        belongs_SV = self.belongs_SV.astype(np.int64)
        both_VV = belongs_SV.T @ belongs_SV
        size_V = np.diagonal(both_VV)
        either_VV = size_V[:, None] + size_V - both_VV
        pairs = np.triu(either_VV > 0, k=1)
        return _mean(both_VV[pairs] / either_VV[pairs])

    @property
    def own_and_others(self) -> tuple[float, float]:
        """Mean probability for the values that a neuron belongs to, and for all others."""
        return _mean(self.probability_K), _mean(self.others_K)

    def top(self, value: int, most: int) -> list[TopNeuron]:
        """The value's neurons that rank first; ties in the order of layer and neuron.

        As `vxstore.query.top`, which would read the store again for every value and language.
        """
        of_value = np.flatnonzero(self.value_K == value)
        sign = 1 if self.ascending else -1
        order = of_value[np.argsort(sign * self.number_K[of_value], kind="stable")][:most]
        return [
            TopNeuron(
                layer=int(self.layer_K[k]),
                neuron=int(self.neuron_K[k]),
                units=self.units,
                blocks=self.blocks,
                number=float(self.number_K[k]),
                probability=float(self.probability_K[k]),
                others=float(self.others_K[k]),
                value_count=int(self._value_count_K[k]),
                level=int(self.level_K[k]),
            )
            for k in order
        ]

    @cached_property
    def _value_count_K(self) -> Integers:
        return np.asarray(self.belongs_SV.sum(axis=1)[self._distinct[1]], dtype=np.int64)

    @cached_property
    def _distinct(self) -> tuple[Integers, Integers]:
        """Layer and neuron of each selected neuron; and which of them each entry is."""
        pairs_K2 = np.stack([self.layer_K, self.neuron_K], axis=1).reshape(-1, 2)
        found, at = np.unique(pairs_K2, axis=0, return_inverse=True)
        return found, at.reshape(-1)


def _mean(numbers: Floats) -> float:
    """Mean of the numbers that are known."""
    known = numbers[~np.isnan(numbers)]
    return float(known.mean()) if known.size else math.nan
