"""VAPE: the entropy, over values, of a neuron's activation probabilities.

After ValueExploration (arXiv 2504.04994), which takes the score from LAPE (arXiv 2402.16438).
L: layer, N: neuron, V: value.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class VapeSettings:
    """What decides a selection; `precision` is the number type of probabilities and entropy."""

    filter_quantile: float
    top_fraction: float
    activation_quantile: float
    min_active_tokens: int
    precision: str


@dataclass(frozen=True, kw_only=True)
class Selection:
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
        """Neurons that belong to at least one value."""
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
    return np.where(total_LN1[..., 0] > 0, -term_LNV.sum(axis=-1), np.nan).astype(
        probability_LNV.dtype
    )


def select(
    probability_LNV: Floats,
    alive_LN: NDArray[np.bool_],
    *,
    filter_quantile: float,
    top_fraction: float,
    activation_quantile: float,
) -> Selection:
    """Select the `top_fraction` of all neurons with the lowest entropy, and say whose they are.

    Only living neurons whose largest probability over values exceeds the `filter_quantile` of all
    probabilities take part. A selected neuron belongs to each value whose probability exceeds the
    `activation_quantile` of all probabilities, so it may belong to several, or to none. Equal
    entropies are taken in the order of layer and neuron.

    A neuron is unrouted if its probability for some value is NaN: no token of the value was routed
    to its expert. It takes no part, and "all probabilities" are those of the others.
    """
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
    count = min(round(ranked.size * top_fraction), int(passed_LN.sum()))
    chosen = np.argsort(ranked, kind="stable")[:count]
    chosen_LN = np.isin(np.arange(ranked.size), chosen).reshape(alive_LN.shape)
    return Selection(
        entropy_LN=entropy_LN,
        passed_filter_LN=passed_LN,
        selected_LNV=chosen_LN[..., None] & (probability_LNV > activation_threshold),
        filter_threshold=filter_threshold,
        activation_threshold=activation_threshold,
        entropy_cut=float(ranked[chosen[-1]]) if count else float("nan"),
        dead_count=int(dead_LN.sum()),
        unrouted_count=int(unrouted_LN.sum()),
    )
