"""Synthetic records whose truth is known: overdispersed, correlated counts, with or without value
neurons.

P: part, C: cluster, N: neuron, V: value, K: topic.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ALIGNED, VIOLATING = 0, 1


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """Counts of parts, their labels, and what is to be found in them.

    `value_P` and `stance_P` are indices; (value, cluster) names a dilemma cluster. `truth_NV`:
    which neurons were made to be specific to which value.
    """

    active_count_PN: Ints
    token_count_P: Ints
    value_P: Ints
    stance_P: Ints
    cluster_P: Ints
    truth_NV: Bools

    @property
    def values(self) -> int:
        """Number of values."""
        return int(self.truth_NV.shape[1])

    @property
    def dilemma_P(self) -> Ints:
        """A number for each part that parts of one cluster share, and no others."""
        return np.asarray(self.value_P * (self.cluster_P.max() + 1) + self.cluster_P)


def overdispersed(
    rng: np.random.Generator,
    *,
    neurons: int = 1000,
    values: int = 6,
    clusters: int = 12,
    tokens: int = 300,
    topics: int = 20,
    planted: int = 0,
    delta: float = 0.0,
) -> Synthetic:
    """One part a cluster, `clusters` a value, whose rates vary more than binomially and together.

    The parts' latent topics have nothing to do with their values; `planted` neurons have a logit
    that is `delta` higher in the clusters of one value each.
    """
    value_C, cluster_C = _clusters(values, clusters)
    eta_CN = rng.normal(-0.5, 1.6, neurons) + _deviations(rng, value_C.size, neurons, topics)
    truth_NV = _choose(rng, np.arange(neurons), planted, neurons, values)
    eta_CN += delta * truth_NV.T[value_C]
    return _count(
        rng,
        eta_CN,
        tokens,
        value_P=value_C,
        stance_P=np.zeros_like(value_C),
        cluster_P=cluster_C,
        truth_NV=truth_NV,
    )


def topic_only(
    rng: np.random.Generator,
    *,
    neurons: int = 1500,
    values: int = 12,
    clusters: int = 24,
    tokens: int = 300,
    sd: float = 0.3,
    fraction: float = 1.0,
    heavy: bool = False,
) -> Synthetic:
    """Values that differ as topics do: random effects of values, on a `fraction` of the neurons.

    Effects are normal with `sd` logits, or, if `heavy`, t with 4 degrees of freedom and that sd.
    There is no value neuron, yet every affected one differs between values.
    """
    value_C, cluster_C = _clusters(values, clusters)
    shape = (values, neurons)
    effect_VN = rng.standard_t(4, shape) / np.sqrt(2) if heavy else rng.normal(size=shape)
    effect_VN *= sd * (rng.random(neurons) < fraction)
    noise_CN = 0.4 * rng.normal(size=(value_C.size, neurons))
    eta_CN = rng.normal(-0.5, 1.3, neurons) + effect_VN[value_C] + noise_CN
    return _count(
        rng,
        eta_CN,
        tokens,
        value_P=value_C,
        stance_P=np.zeros_like(value_C),
        cluster_P=cluster_C,
        truth_NV=np.zeros((neurons, values), dtype=bool),
    )


def twins(
    rng: np.random.Generator,
    *,
    neurons: int = 1000,
    values: int = 6,
    clusters: int = 12,
    tokens: int = 1000,
    topics: int = 20,
    correlation: float = 0.9,
    alone: float = 0.0,
    planted: int = 0,
    delta: float = 0.0,
) -> Synthetic:
    """Two tellings of each cluster, aligned and violating, whose logits have that correlation.

    A fraction `alone` of the clusters of each value lacks the violating one. `planted` neurons have
    a logit that is `delta` higher in the aligned telling than in its twin, in one value each.
    """
    value_C, cluster_C = _clusters(values, clusters)
    mean_N = rng.normal(-0.5, 1.6, neurons)
    shared_CN, *own_SCN = (_deviations(rng, value_C.size, neurons, topics) for _ in range(3))
    truth_NV = _choose(rng, np.arange(neurons), planted, neurons, values)
    lean_CN = delta / 2 * truth_NV.T[value_C]
    common_CN = mean_N + np.sqrt(correlation) * shared_CN
    own_weight = np.sqrt(1 - correlation)
    eta_SCN = [common_CN + own_weight * own_CN for own_CN in own_SCN]
    told_C = np.flatnonzero(cluster_C >= round(alone * clusters))
    return _count(
        rng,
        np.concatenate([eta_SCN[ALIGNED] + lean_CN, (eta_SCN[VIOLATING] - lean_CN)[told_C]]),
        tokens,
        value_P=np.concatenate([value_C, value_C[told_C]]),
        stance_P=np.repeat([ALIGNED, VIOLATING], [value_C.size, told_C.size]),
        cluster_P=np.concatenate([cluster_C, cluster_C[told_C]]),
        truth_NV=truth_NV,
    )


def thin_upward(
    record: Synthetic,
    rng: np.random.Generator,
    *,
    planted: int,
    delta: float,
    low: float = 0.02,
    high: float = 0.9,
    stance: int | None = None,
) -> Synthetic:
    """Any record, with `planted` of its neurons made specific to one value each, or, if a `stance`
    is given, to that stance on the value.

    Each inactive token of the value's parts becomes active with the probability that raises the
    logit of the neuron's pooled rate by `delta`. Planted are neurons of a rate between `low` and
    `high`. What there was to find before is not in the truth: shuffle first (`shuffle_values`).
    """
    active_PN = record.active_count_PN.copy()
    rate_N = active_PN.sum(axis=0) / record.token_count_P.sum()
    able_N = np.flatnonzero((rate_N > low) & (rate_N < high))
    truth_NV = _choose(rng, able_N, planted, rate_N.size, record.values)
    for neuron, value in np.argwhere(truth_NV):
        of_stance_P = True if stance is None else record.stance_P == stance
        of_value_P = np.flatnonzero((record.value_P == value) & of_stance_P)
        rate = rate_N[neuron]
        raised = _sigmoid(np.log(rate / (1 - rate)) + delta)
        inactive_P = record.token_count_P[of_value_P] - active_PN[of_value_P, neuron]
        active_PN[of_value_P, neuron] += rng.binomial(inactive_P, (raised - rate) / (1 - rate))
    return replace(record, active_count_PN=active_PN, truth_NV=truth_NV)


def shuffle_values(record: Synthetic, rng: np.random.Generator) -> Synthetic:
    """The record with the values of whole clusters exchanged, among clusters with equal stances.

    So nothing is specific to a value any more, and what parts of a cluster share stays.
    """
    dilemmas_C, first_C, cluster_P = np.unique(
        record.dilemma_P, return_index=True, return_inverse=True
    )
    stances_C = np.zeros(dilemmas_C.size, dtype=np.int64)
    np.bitwise_or.at(stances_C, cluster_P, 1 << record.stance_P)
    value_C = record.value_P[first_C].copy()
    for stances in np.unique(stances_C):
        alike_C = np.flatnonzero(stances_C == stances)
        value_C[alike_C] = value_C[rng.permutation(alike_C)]
    number_C = np.zeros_like(value_C)
    for value in range(record.values):
        of_value_C = value_C == value
        number_C[of_value_C] = np.arange(of_value_C.sum())
    return replace(
        record,
        value_P=value_C[cluster_P],
        cluster_P=number_C[cluster_P],
        truth_NV=np.zeros_like(record.truth_NV),
    )


def _clusters(values: int, clusters: int) -> tuple[Ints, Ints]:
    """Value and number of every cluster."""
    return np.repeat(np.arange(values), clusters), np.tile(np.arange(clusters), values)


def _deviations(rng: np.random.Generator, parts: int, neurons: int, topics: int) -> Floats:
    """How logits vary between parts: by latent topics, and heavy-tailed noise of sd .35."""
    topic_PK = rng.normal(size=(parts, topics))
    loading_KN = rng.normal(size=(topics, neurons)) * 0.5 / np.sqrt(topics)
    noise_PN = 0.35 * rng.standard_t(6, size=(parts, neurons)) / np.sqrt(1.5)
    return np.asarray(topic_PK @ loading_KN + noise_PN)


def _choose(
    rng: np.random.Generator, able_N: Ints, planted: int, neurons: int, values: int
) -> Bools:
    """A truth (N, V) with `planted` of the able neurons, each of one value."""
    truth_NV = np.zeros((neurons, values), dtype=bool)
    chosen = rng.choice(able_N, planted, replace=False) if planted else np.empty(0, np.int64)
    truth_NV[chosen, rng.integers(0, values, planted)] = True
    return truth_NV


def _count(
    rng: np.random.Generator,
    eta_PN: Floats,
    tokens: int,
    *,
    value_P: Ints,
    stance_P: Ints,
    cluster_P: Ints,
    truth_NV: Bools,
) -> Synthetic:
    """Draw the counts of parts of about `tokens` tokens."""
    token_P = rng.integers(round(tokens * 0.8), round(tokens * 1.2), len(eta_PN))
    return Synthetic(
        active_count_PN=rng.binomial(token_P[:, None], _sigmoid(eta_PN)),
        token_count_P=token_P,
        value_P=value_P,
        stance_P=stance_P,
        cluster_P=cluster_P,
        truth_NV=truth_NV,
    )


def _sigmoid(logit: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logit)))
