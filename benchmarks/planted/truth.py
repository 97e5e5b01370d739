"""What is true of a model: every neuron ablated, one by one, on all questions of the corpus.

What the road claims is compared with this; the road never sees it.

L: layer, N: neuron, V: value, D: dilemma, O: order, K: neuron of a batch, Q: question, T: token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special

from vxdist.asking.checks import make_outcome
from vxdist.asking.identity import choose_today
from vxdist.asking.prompting import Prompter
from vxdist.asking.questions import ask
from vxdist.config import Config
from vxdist.corpus import load_corpus
from vxdist.hooks.attach import watch
from vxdist.hooks.selftest import ready_hook_points
from vxdist.model.blocks import Block
from vxdist.model.load import describe_model, load_model, load_tokenizer
from vxdist.model.source import find_model
from vxdist.runtime.work import Batch, make_batch
from vxdist.stats.multiplicity import bh_q

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
LEAST_SHIFT = 0.1
"""Nats by which the own value's log-odds must fall; with so many exact numbers, next to nothing is
significant too."""
QUESTIONS_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Shifts of the log-odds by each neuron, and the (neuron, value) that are causal.

    `shift_LNV` is the mean over the value's dilemmas; `log_odds_D` of the intact model.
    """

    shift_LNV: Floats
    causal_LNV: Bools
    log_odds_D: Floats


@torch.inference_mode()
def find_truth(config: Config, fdr: float) -> Truth:
    """Ablate every neuron, and test its shift on each value's dilemmas against that on the others.

    Causal: it lowers the value's log-odds by `LEAST_SHIFT` or more, and further than it does those
    of other values, by a one-sided Welch t over dilemmas, q <= `fdr` over all (neuron, value).
    """
    source, corpus = find_model(config.model), load_corpus(config.corpus)
    outcome = make_outcome(config.evaluate)
    shape, tokenizer = describe_model(source), load_tokenizer(source)
    prompter = Prompter(tokenizer, config.evaluate, choose_today(config, {}))
    questions = ask(outcome, corpus.evaluation, prompter, source, shape)
    value_D = np.array([corpus.values.index(item.value) for item in corpus.evaluation])
    model = load_model(source, config.model)
    single = Singly(model, outcome, questions)
    log_odds_D = single.log_odds([None])[0]
    layers, neurons = single.hook_points.num_layers, single.hook_points.num_neurons
    every = [(layer, n) for layer in range(layers) for n in range(neurons)]
    at_once = max(1, QUESTIONS_AT_ONCE // len(questions))
    shift_KD = np.concatenate(
        [single.log_odds(every[n : n + at_once]) for n in range(0, len(every), at_once)]
    )
    shift_KD -= log_odds_D
    mean_KV, causal_KV = judge(shift_KD, value_D, len(corpus.values), fdr)
    of_layer = (layers, neurons, len(corpus.values))
    return Truth(
        shift_LNV=mean_KV.reshape(of_layer),
        causal_LNV=causal_KV.reshape(of_layer),
        log_odds_D=log_odds_D,
    )


def judge(
    shift_KD: Floats, value_D: NDArray[np.int64], values: int, fdr: float
) -> tuple[Floats, Bools]:
    """Mean shift on each value's dilemmas, and whether it is causal for the value, both (K, V)."""
    mean_KV = np.empty((len(shift_KD), values))
    p_KV = np.empty_like(mean_KV)
    for v in range(values):
        own_KD, other_KD = shift_KD[:, value_D == v], shift_KD[:, value_D != v]
        mean_KV[:, v] = own_KD.mean(axis=1)
        p_KV[:, v] = welch_p(own_KD, other_KD)
    q_KV = np.asarray(bh_q(p_KV.ravel())).reshape(p_KV.shape)
    return mean_KV, (mean_KV <= -LEAST_SHIFT) & (q_KV <= fdr)


def welch_p(own_KD: Floats, other_KD: Floats) -> Floats:
    """One-sided p (K,) that the first mean is lower by chance; 1 where nothing varies (Welch)."""
    parts = [of.var(axis=1, ddof=1) / of.shape[1] for of in (own_KD, other_KD)]
    total = parts[0] + parts[1]
    safe = np.where(total > 0, total, 1.0)
    degrees = [of.shape[1] - 1 for of in (own_KD, other_KD)]
    spread = sum(part**2 / df for part, df in zip(parts, degrees, strict=True))
    df_K = safe**2 / np.where(total > 0, spread, 1.0)
    t_K = (own_KD.mean(axis=1) - other_KD.mean(axis=1)) / np.sqrt(safe)
    return np.where(total > 0, special.stdtr(df_K, t_K), 1.0)


class Singly:
    """Asks all questions with one neuron ablated, of several neurons in one batch."""

    def __init__(self, model: Any, outcome: Any, questions: Sequence[Any]) -> None:
        self._model, self._outcome, self._questions = model, outcome, questions
        self.hook_points = ready_hook_points(model)
        self._neurons: Sequence[tuple[int, int] | None] = ()
        watch(self.hook_points, self._see)

    def log_odds(self, neurons: Sequence[tuple[int, int] | None]) -> Floats:
        """(K, D): log-odds of the aligned option, both orders averaged; None ablates nothing."""
        self._neurons = neurons
        questions = list(self._questions) * len(neurons)
        measured = self._outcome.measure(self._model, self._batch(questions), questions)
        dilemmas = 1 + max(question.at[0] for question in questions)
        total_KD = np.zeros((len(neurons), dilemmas))
        at_Q = np.array([question.at[0] for question in self._questions])
        by_K = measured[self._outcome.effect_of].reshape(len(neurons), len(self._questions))
        for k, number_Q in enumerate(by_K):
            np.add.at(total_KD[k], at_Q, number_Q)
        return total_KD / np.bincount(at_Q)

    def _batch(self, questions: Sequence[Any]) -> Batch:
        texts = [(question.token_ids_T, None) for question in questions]
        return make_batch(0, tuple(range(len(texts))), texts)

    def _see(self, block: Block, activation: torch.Tensor, _: Any) -> torch.Tensor | None:
        here = [(k, of[1]) for k, of in enumerate(self._neurons) if of and of[0] == block.layer]
        if not here:
            return None
        by_neuron_KQTN = activation.clone().view(len(self._neurons), -1, *activation.shape[1:])
        for k, neuron in here:
            by_neuron_KQTN[k, ..., neuron] = 0
        return by_neuron_KQTN.view(activation.shape)
