"""VAPE: the entropy, over values, of a neuron's activation probabilities.

After ValueExploration (arXiv 2504.04994), which takes the score from LAPE (arXiv 2402.16438).
L: layer, N: neuron, V: value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vxdist.errors import UserError
from vxdist.reduce.counts import LanguageCounts
from vxdist.reduce.selectors import Selection
from vxstore.schema import ArraySpec
from vxstore.text import plural

Floats = NDArray[np.float64]


@dataclass(kw_only=True)
class VapeSettings:
    """VAPE: selecting neurons by the entropy of their activation probabilities over values."""

    filter_quantile: float = 0.95
    """A neuron's largest probability over values must exceed this quantile of all probabilities."""
    top_fraction: float = 0.01
    """Fraction of all neurons to select: those with the lowest entropy."""
    activation_quantile: float = 0.95
    """A selected neuron belongs to the values whose probability exceeds this quantile of all."""
    min_active_tokens: int = 1
    """Neurons active on fewer tokens than this, over all values, are dropped as dead."""


class Vape:
    """The paper's selector. See `select` for the rule."""

    Settings = VapeSettings
    needs = ("active_count",)
    rule = "vape"
    ranked_by = "entropy"
    ascending = True
    ranked_among = "passed_filter"
    fixed: ClassVar[Mapping[str, Any]] = {"precision": "float64"}
    """What a setting of earlier versions always is now; scores that hold it are the same."""
    arrays: ClassVar[Mapping[str, ArraySpec]] = {
        "activation_probability": ArraySpec(
            dims=("layer", "neuron", "value", "language"),
            dtype="float64",
            units="1",
            long_name="share of the value's tokens on which the neuron is active",
        ),
        "entropy": ArraySpec(
            dims=("layer", "neuron", "language"),
            dtype="float64",
            units="nats",
            long_name="entropy over values of the normalised activation probabilities; NaN if dead",
        ),
        "passed_filter": ArraySpec(
            dims=("layer", "neuron", "language"),
            dtype="bool",
            units="1",
            long_name="the largest activation probability over values passes the filter",
        ),
    }

    def __init__(self, settings: VapeSettings) -> None:
        self.settings = settings

    def check(self) -> None:
        """Raise UserError if a setting is out of range."""
        for key in ("filter_quantile", "top_fraction", "activation_quantile"):
            number = getattr(self.settings, key)
            if not 0 < number < 1:
                raise UserError(f"reduce.vape.{key}: found {number}, expected between 0 and 1")
        if (least := self.settings.min_active_tokens) < 0:
            raise UserError(f"reduce.vape.min_active_tokens: found {least}, expected at least 0")

    def select(self, counts: LanguageCounts) -> Selection:
        """Score and select. Holds the probabilities of the language in memory."""
        settings, shape_LN = self.settings, counts.shape_LN
        probability_LNV = np.empty((*shape_LN, len(counts.values)), dtype=np.float64)
        alive_LN = np.empty(shape_LN, dtype=bool)
        for layers in counts.blocks():
            active_LN = counts.total("active_count", layers).sum(axis=-1)
            alive_LN[layers] = active_LN >= max(1, settings.min_active_tokens)
            probability_LNV[layers] = counts.probability(layers)
        found = select(
            probability_LNV,
            alive_LN,
            counts.exists(),
            filter_quantile=settings.filter_quantile,
            top_fraction=settings.top_fraction,
            activation_quantile=settings.activation_quantile,
        )
        return Selection(
            selected_LNV=found.selected_LNV,
            arrays={
                # Computed again as it is written: three languages of a 70B model are too much.
                "activation_probability": counts.probability,
                "entropy": found.entropy_LN,
                "passed_filter": found.passed_filter_LN,
            },
            thresholds=_thresholds(found, counts),
        )

    def describe(self, thresholds: Mapping[str, float | int | None]) -> str:
        """How many neurons were selected, and how specific they are."""
        cut = (thresholds["entropy_cut"] or float("nan")) / (thresholds["entropy_maximum"] or 1)
        unrouted = thresholds.get("unrouted_count")
        selected, dead = (int(thresholds[k] or 0) for k in ("selected_count", "dead_count"))
        return (
            f"{plural(selected, 'neuron')} selected, entropy cut at {cut:.3%} of its maximum, "
            f"{plural(dead, 'dead neuron')} dropped"
            + (f", and {unrouted} whose expert saw no token of some value" if unrouted else "")
        )


def _thresholds(found: "VapeSelection", counts: LanguageCounts) -> dict[str, float | int | None]:
    """None for a threshold that nothing decided; `unrouted_count` only where there are experts."""
    none_known = found.unrouted_count == counts.num_neurons
    unrouted = {"unrouted_count": found.unrouted_count} if counts.num_experts else {}
    return {
        "filter_threshold": None if none_known else found.filter_threshold,
        "activation_threshold": None if none_known else found.activation_threshold,
        "entropy_cut": found.entropy_cut if found.selected_count else None,
        "entropy_maximum": float(np.log(len(counts.values))),
        "dead_count": found.dead_count,
        **unrouted,
        "passed_count": int(found.passed_filter_LN.sum()),
        "selected_count": found.selected_count,
    }


@dataclass(frozen=True, kw_only=True)
class VapeSelection:
    """The score of every neuron, the neurons selected, and the thresholds that decided.

    `entropy_LN` is in nats, NaN for dead and unrouted neurons. Thresholds are exceeded, not met, by
    what passes (NaN if all neurons are unrouted); `entropy_cut` is the largest entropy selected
    (NaN if nothing was). `dead_count` is without the unrouted.
    """

    entropy_LN: Floats
    passed_filter_LN: NDArray[np.bool_]
    selected_LNV: NDArray[np.bool_]
    filter_threshold: float
    activation_threshold: float
    entropy_cut: float
    dead_count: int
    unrouted_count: int

    @property
    def selected_count(self) -> int:
        """Number of neurons that belong to at least one value."""
        return int(self.selected_LNV.any(axis=-1).sum())


def quantile(values: Floats, q: float) -> float:
    """The `round(n*q)`-th smallest of n values, as LAPE's `kthvalue` takes it: no interpolation.

    NaN of none.
    """
    flat = values.reshape(-1)
    if not flat.size:
        return float("nan")
    k = min(max(round(flat.size * q), 1), flat.size)
    return float(np.partition(flat, k - 1)[k - 1])


def entropy(probability_LNV: Floats) -> Floats:
    """Entropy in nats of the probabilities normalised over values; NaN where all are zero, or one
    is NaN.

    H = -sum_v q_v ln q_v with q_v = p_v / sum_v p_v, and 0 ln 0 = 0.
    """
    total_LN1 = probability_LNV.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        share_LNV = probability_LNV / total_LN1
        term_LNV = np.where(share_LNV > 0, share_LNV * np.log(share_LNV), 0)
    # Not 0 for a dead neuron: an entropy of 0 would be the best of all scores.
    return np.where(total_LN1[..., 0] > 0, -term_LNV.sum(axis=-1), np.nan)


def select(
    probability_LNV: Floats,
    alive_LN: NDArray[np.bool_],
    exists_LN: NDArray[np.bool_] | None = None,
    *,
    filter_quantile: float,
    top_fraction: float,
    activation_quantile: float,
) -> VapeSelection:
    """Select the `top_fraction` of all neurons with the lowest entropy, and say whose they are.

    Only living neurons whose largest probability over values exceeds the `filter_quantile` of all
    probabilities take part. A selected neuron belongs to each value whose probability exceeds the
    `activation_quantile` of all probabilities, so it may belong to several, or to none. Equal
    entropies are taken in the order of layer and neuron.

    A neuron is unrouted if its probability for some value is NaN: no token of the value was routed
    to its expert. It takes no part, and "all probabilities" are those of the others. Nor does one
    that does not exist, of which all probabilities are NaN (`exists_LN` None: all do): it is none
    of "all neurons", and neither dead nor unrouted.
    """
    exists_LN = np.ones(alive_LN.shape, dtype=bool) if exists_LN is None else exists_LN
    unrouted_LN = np.isnan(probability_LNV).any(axis=-1)
    known = probability_LNV[~unrouted_LN] if unrouted_LN.any() else probability_LNV
    filter_threshold = quantile(known, filter_quantile)
    activation_threshold = quantile(known, activation_quantile)
    dead_LN = ~alive_LN & ~unrouted_LN
    alive_LN = alive_LN & ~unrouted_LN
    # Layer by layer: what is made on the way is several times as large as the probabilities.
    entropy_LN = np.stack([entropy(probability_NV) for probability_NV in probability_LNV])
    entropy_LN = np.where(alive_LN, entropy_LN, np.nan)
    passed_LN = alive_LN & (probability_LNV.max(axis=-1) > filter_threshold)

    ranked = np.where(passed_LN, entropy_LN, np.inf).reshape(-1)
    count = min(round(int(exists_LN.sum()) * top_fraction), int(passed_LN.sum()))
    chosen = np.argsort(ranked, kind="stable")[:count]
    chosen_LN = np.isin(np.arange(ranked.size), chosen).reshape(alive_LN.shape)
    return VapeSelection(
        entropy_LN=entropy_LN,
        passed_filter_LN=passed_LN,
        selected_LNV=chosen_LN[..., None] & (probability_LNV > activation_threshold),
        filter_threshold=filter_threshold,
        activation_threshold=activation_threshold,
        entropy_cut=float(ranked[chosen[-1]]) if count else float("nan"),
        dead_count=int(dead_LN.sum()),
        unrouted_count=int((unrouted_LN & exists_LN).sum()),
    )
