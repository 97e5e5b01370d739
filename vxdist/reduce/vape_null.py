"""What VAPE would list if the labels of the dilemmas were shuffled, or with half of the dilemmas.

The thresholds are those of the real list: they hardly depend on the labels.

N: neuron, P: cluster, V: value, C: labeling, K: one assignment or neuron of the list.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxdist.reduce.selectors import Selection
from vxdist.reduce.selectors.vape import entropy
from vxdist.reduce.testing import known
from vxdist.stats.labelings import Block, Labeling, Labelings
from vxdist.stats.stability import Leaders, jaccard, mean_jaccard, shares

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_VALUES = 40
"""Values that can be told apart in a code beside the number of a neuron."""
EXACT = 1 << 24
"""Whole numbers below this are exact in single precision."""
EDGES = np.concatenate([[0.0], np.logspace(-7, 0, 29)])
"""Edges of the histogram of 1 - entropy / maximum."""
DRAWN = 20
"""Shuffles behind the histogram."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """VAPE's list in one language, (neuron, value) as neuron x V + value, and what decided it."""

    filter_threshold: float
    activation_threshold: float
    entropy_cut: float
    most: int
    assignment_K: Integers

    @classmethod
    def of(cls, selection: Selection, num_values: int) -> "Listing | None":
        """The list that VAPE made; None if it is empty."""
        cut = selection.thresholds["entropy_cut"]
        codes_K = np.flatnonzero(selection.selected_LNV.ravel())
        if cut is None or not codes_K.size:
            return None
        return cls(
            filter_threshold=float(selection.thresholds["filter_threshold"] or 0),
            activation_threshold=float(selection.thresholds["activation_threshold"] or 0),
            entropy_cut=float(cut),
            most=len(np.unique(codes_K // num_values)),
            assignment_K=codes_K,
        )


@dataclass(frozen=True, kw_only=True)
class VapeTile:
    """What a block of neurons adds: by labeling, numbers below the cut, and who comes first."""

    below_C: Integers
    bars_BC: Integers
    number_C1N: NDArray[np.float32]
    code_C1N: Integers


class VapeNull:
    """VAPE under shuffled labels, and in halves of the dilemmas with real and shuffled labels."""

    def __init__(self, listing: Listing, shuffles: Labelings, halves: Labelings) -> None:
        design = shuffles.design
        own = Labeling(label_P=design.label_P, half_P=np.ones(design.num_clusters, dtype=bool))
        self._labelings = Labelings(design, [own, *shuffles.each, *halves.each])
        self._ends = np.cumsum([1, len(shuffles.each), len(halves.each) // 2])
        self._listing, self._design = listing, design
        number = len(self._labelings.each)
        self._leaders = Leaders(number, 1, listing.most)
        self._below_C = np.zeros(number, dtype=np.int64)
        self._bars_BC = np.zeros((len(EDGES) - 1, 1 + DRAWN), dtype=np.int64)

    def look(self, active_NP: Floats, given_NP: Floats, neuron_N: Integers) -> VapeTile:
        """What a block of neurons would be; `given_NP` may have a first dimension of 1."""
        rate_NP = active_NP / np.maximum(given_NP, 1)
        able_N = np.flatnonzero(rate_NP.max(axis=1) > self._listing.filter_threshold)
        active_PN, given_PN = active_NP.T[:, able_N], given_NP.T
        if len(given_NP) > 1:
            given_PN = given_PN[:, able_N]
        dtype = np.float32 if given_PN.sum(axis=0).max(initial=0) < EXACT else np.float64
        active_PN, given_PN = active_PN.astype(dtype), given_PN.astype(dtype)
        found = [self._look(active_PN, given_PN, of) for of in self._labelings.blocks]
        passed_CN = np.concatenate([one for one, _ in found])
        code_CN = np.concatenate([one for _, one in found])
        width = min(self._design.num_labels, MOST_VALUES)
        code_CN += neuron_N[able_N] << width
        drawn = passed_CN[: 1 + DRAWN]
        most = np.log(self._design.num_labels)
        bits = [np.histogram(1 - h[np.isfinite(h)] / most, EDGES)[0] for h in drawn]
        kept_N = np.isfinite(passed_CN).any(axis=0)
        return VapeTile(
            below_C=(passed_CN <= self._listing.entropy_cut).sum(axis=1),
            bars_BC=np.stack(bits, axis=1),
            # From the maximum down: near it float32 tells no two entropies from each other.
            number_C1N=(most - passed_CN[:, None, kept_N]).astype(np.float32),
            code_C1N=code_CN[:, None, kept_N],
        )

    def _look(
        self, active_PN: NDArray[Any], given_PN: NDArray[Any], block: Block
    ) -> tuple[Floats, Integers]:
        """Entropy, infinite where the filter is not passed, and values as bits; both (C, N)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            p_CVN = np.divide(block.sums(active_PN), block.sums(given_PN), dtype=np.float64)
        passed_CN = p_CVN.max(axis=1) > self._listing.filter_threshold
        p_KV = p_CVN.swapaxes(1, 2)[passed_CN]
        entropy_CN = np.full(passed_CN.shape, np.inf)
        entropy_CN[passed_CN] = entropy(p_KV)
        entropy_CN[np.isnan(entropy_CN)] = np.inf
        bits_V = 1 << np.arange(min(self._design.num_labels, MOST_VALUES))
        belongs_KV = p_KV[:, : len(bits_V)] > self._listing.activation_threshold
        code_CN = np.zeros(passed_CN.shape, dtype=np.int64)
        code_CN[passed_CN] = belongs_KV @ bits_V
        return entropy_CN, code_CN

    def add(self, tile: VapeTile) -> None:
        """Take in what a block of neurons adds."""
        self._below_C += tile.below_C
        self._bars_BC[:, : tile.bars_BC.shape[1]] += tile.bars_BC
        if tile.number_C1N.shape[-1]:
            self._leaders.add(tile.number_C1N, tile.code_C1N)

    def summary(self) -> dict[str, Any]:
        """What the null says of VAPE's list; see `store/FORMAT.md`."""
        one, shuffled_end, halves_end = self._ends
        below_B = self._below_C[one:shuffled_end]
        labels = self._design.num_labels
        first = self._leaders.first(np.array([self._listing.most]))
        width = min(labels, MOST_VALUES)
        neurons = [np.unique(of[0] >> width) for of in first]
        members = [_members(of[0], width, labels) for of in first]
        listed_K = np.unique(self._listing.assignment_K // labels)
        overlap = [jaccard(listed_K, one) for one in neurons[one:shuffled_end]]
        listed = len(listed_K)
        return {
            "listed": listed,
            "assignments": len(self._listing.assignment_K),
            "values_per_neuron": len(self._listing.assignment_K) / listed,
            "below_cut_mean": float(below_B.mean()),
            "below_cut_95": [float(n) for n in np.quantile(below_B, [0.05, 0.95])],
            "false_share": min(1.0, float(below_B.mean()) / listed),
            "noise_overlap": float(np.mean(overlap)),
            "shuffled_jaccard": known(mean_jaccard(neurons[one:shuffled_end])),
            "split_jaccard": known(mean_jaccard(neurons[shuffled_end:halves_end])),
            "split_jaccard_assignments": known(mean_jaccard(members[shuffled_end:halves_end])),
            "split_jaccard_shuffled": known(mean_jaccard(members[halves_end:])),
        }

    def histogram(self) -> dict[str, list[float]]:
        """1 - entropy / maximum of the neurons that pass the filter, observed and shuffled."""
        drawn = min(DRAWN, int(self._ends[1]) - 1)
        shuffled_B = self._bars_BC[:, 1 : 1 + drawn].mean(axis=1)
        return {
            "edges": EDGES.tolist(),
            "observed": self._bars_BC[:, 0].tolist(),
            "shuffled": shuffled_B.tolist(),
        }

    def stability(self) -> Mapping[int, float]:
        """By assignment (neuron x V + value), the share of halves in which it is listed."""
        _, start, end = self._ends
        labels = self._design.num_labels
        width = min(labels, MOST_VALUES)
        first = self._leaders.first(np.array([self._listing.most]))[start:end]
        return shares([_members(of[0], width, labels) for of in first]) if first else {}


def _members(code_K: Integers, width: int, labels: int) -> Integers:
    """Assignments of coded neurons, as neuron x V + value, in ascending order."""
    belongs_KV = (code_K[:, None] >> np.arange(width)) & 1
    at, value = np.nonzero(belongs_KV)
    return np.sort((code_K[at] >> width) * labels + value)
