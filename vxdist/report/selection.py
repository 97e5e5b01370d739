"""What the scores selected, as plain arrays: a hundredth of the neurons, not all of them.

L: layer, V: value, S: selected neuron.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxstore.experts import ROUTED
from vxstore.schema import POOLED

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TopNeuron:
    """A selected neuron as one value sees it; `units` of each expert, 0 where there are none."""

    layer: int
    neuron: int
    units: int
    entropy: float
    probability: float
    others: float
    value_count: int

    @property
    def name(self) -> str:
        """As in L12/N345, or with experts as in L12/E3/U45."""
        if not self.units:
            return f"L{self.layer}/N{self.neuron}"
        expert, unit = divmod(self.neuron, self.units)
        return f"L{self.layer}/E{expert}/U{unit}"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The neurons selected in one language, or in all pooled.

    With experts: `units` of each (else 0), how many neurons had an expert that saw no token of
    some value, and, of a selected neuron's expert, how many it saw of the value it saw fewest of.
    """

    language: str
    num_layers: int
    layer_S: NDArray[np.int64]
    neuron_S: NDArray[np.int64]
    entropy_S: Floats
    probability_SV: Floats
    belongs_SV: NDArray[np.bool_]
    dead_count: int
    thresholds: dict[str, Any]
    units: int = 0
    unrouted_count: int = 0
    fewest_routed_S: NDArray[np.int64] | None = None

    @property
    def count_LV(self) -> NDArray[np.int64]:
        """Selected neurons of each layer and value."""
        count_LV = np.zeros((self.num_layers, self.belongs_SV.shape[1]), dtype=np.int64)
        np.add.at(count_LV, self.layer_S, self.belongs_SV)
        return count_LV

    @property
    def entropy_share(self) -> float:
        """The largest entropy selected over the largest possible, ln V; NaN if undefined."""
        most = math.log(self.belongs_SV.shape[1])
        return self.entropy_range[1] / most if most else math.nan

    @property
    def entropy_range(self) -> tuple[float, float]:
        """The smallest and the largest entropy selected; NaN if nothing was."""
        if not self.entropy_S.size:
            return math.nan, math.nan
        return float(self.entropy_S.min()), float(self.entropy_S.max())

    @property
    def values_per_neuron(self) -> float:
        """Mean number of values that a selected neuron belongs to."""
        return _mean(self.belongs_SV.sum(axis=1).astype(np.float64))

    @property
    def jaccard(self) -> float:
        """Mean over pairs of values of the Jaccard overlap; pairs without neurons are left out."""
        belongs = self.belongs_SV.astype(np.int64)
        both_VV = belongs.T @ belongs
        size_V = np.diagonal(both_VV)
        either_VV = size_V[:, None] + size_V - both_VV
        pairs = np.triu(either_VV > 0, k=1)
        return _mean(both_VV[pairs] / either_VV[pairs])

    @property
    def own_and_others(self) -> tuple[float, float]:
        """Mean probability for a neuron's own value, and for all others."""
        others_SV = _others(self.probability_SV)
        return _mean(self.probability_SV[self.belongs_SV]), _mean(others_SV[self.belongs_SV])

    def top(self, value: int, most: int) -> list[TopNeuron]:
        """The value's selected neurons of lowest entropy; ties in the order of layer and neuron."""
        mine = np.flatnonzero(self.belongs_SV[:, value])
        order = mine[np.argsort(self.entropy_S[mine], kind="stable")][:most]
        others_SV = _others(self.probability_SV)
        return [
            TopNeuron(
                layer=int(self.layer_S[s]),
                neuron=int(self.neuron_S[s]),
                units=self.units,
                entropy=float(self.entropy_S[s]),
                probability=float(self.probability_SV[s, value]),
                others=float(others_SV[s, value]),
                value_count=int(self.belongs_SV[s].sum()),
            )
            for s in order
        ]


def _mean(numbers: Floats) -> float:
    return float(numbers.mean()) if numbers.size else math.nan


def _others(probability_SV: Floats) -> Floats:
    """Mean probability over the other values; NaN where there is one value only."""
    others = probability_SV.shape[1] - 1
    if not others:
        return np.full_like(probability_SV, math.nan)
    total_S1 = probability_SV.sum(axis=1, keepdims=True)
    return np.asarray((total_S1 - probability_SV) / others, dtype=np.float64)


def read_selections(scores: xr.Dataset, root: xr.Dataset) -> tuple[Selection, ...]:
    """One selection for each language of a score, in its order; `root` holds the counts."""
    languages = [str(label) for label in scores["language"].values]
    order = ("layer", "neuron", "value", "language")
    belongs_LNVG = scores["selected"].transpose(*order).values
    entropy_LNG = scores["entropy"].transpose("layer", "neuron", "language").values
    at = [np.nonzero(belongs_LNVG[..., g].any(axis=-1)) for g in range(len(languages))]
    probabilities = _probabilities(scores, at)
    thresholds = {language: {} for language in languages} | scores.attrs.get("thresholds", {})
    unrouted = [int(thresholds[language].get("unrouted_count", 0)) for language in languages]
    units = scores.sizes["neuron"] // root.sizes["routed_expert"] if ROUTED in root else 0
    return tuple(
        Selection(
            language=language,
            num_layers=scores.sizes["layer"],
            layer_S=at[g][0].astype(np.int64),
            neuron_S=at[g][1].astype(np.int64),
            entropy_S=entropy_LNG[(*at[g], g)],
            probability_SV=probabilities[g],
            belongs_SV=belongs_LNVG[at[g][0], at[g][1], :, g],
            dead_count=int(np.isnan(entropy_LNG[..., g]).sum()) - unrouted[g],
            thresholds=dict(thresholds[language]),
            units=units,
            unrouted_count=unrouted[g],
            fewest_routed_S=_fewest_routed(root, language, at[g], units) if units else None,
        )
        for g, language in enumerate(languages)
    )


def _fewest_routed(
    root: xr.Dataset, language: str, at: tuple[NDArray[np.intp], ...], units: int
) -> NDArray[np.int64]:
    """Tokens that the experts of these neurons saw of the value they saw fewest of."""
    routed = root[ROUTED]
    routed = routed.sum("language") if language == POOLED else routed.sel(language=language)
    fewest_LE = routed.min("value").transpose("layer", "routed_expert").values
    return np.asarray(fewest_LE[at[0], at[1] // units], dtype=np.int64)


def _probabilities(
    scores: xr.Dataset, at: list[tuple[NDArray[np.intp], ...]]
) -> list[NDArray[np.float64]]:
    """Probabilities of the selected neurons, (S, V) per language, reading a layer at a time."""
    found = [np.empty((len(layer_S), scores.sizes["value"])) for layer_S, _ in at]
    for layer in range(scores.sizes["layer"]):
        block = scores["activation_probability"].isel(layer=layer)
        block_NVG = block.transpose("neuron", "value", "language").values
        for g, (layer_S, neuron_S) in enumerate(at):
            here = layer_S == layer
            found[g][here] = block_NVG[neuron_S[here], :, g]
    return found
