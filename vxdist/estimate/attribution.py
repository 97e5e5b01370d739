"""What `vxdist attribute` needs: forward and backward passes of all questions of a half."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel

from vxdist.asking.checks import pick_half
from vxdist.asking.outcomes import (
    OUTCOMES,
    Outcome,
    attributed_questions,
    questions_per_dilemma,
)
from vxdist.attribute.checks import make_differentiable
from vxdist.components import find_class
from vxdist.config import Config
from vxdist.corpus import Corpus
from vxdist.estimate.cost import Cost, count_operations
from vxdist.estimate.machine import Machine
from vxdist.estimate.memory import ITEM_BYTES, Memory
from vxdist.estimate.shape import Size
from vxdist.estimate.texts import Lengths
from vxdist.estimate.trace import measure_backward
from vxdist.estimate.work import Load, cut_dilemmas
from vxdist.model.load import ModelShape

PASSES = 3
"""A backward pass to the activations takes twice a forward pass at most: no gradient of a weight is
computed. Measured on SmolLM2: 2.3 forward passes in all, and 3 with layers computed again."""
TOTAL_BYTES, ROW_BYTES = 4, 8
"""Of each neuron on the device; and on the CPU, where a row is copied and written."""


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """Its work, cost, and memory of each device with a copy of the weights, with layers kept and
    with layers computed again. All in bytes."""

    load: Load
    cost: Cost
    kept: float
    again: float
    available: float

    @property
    def checkpointing(self) -> bool:
        """Whether layers must be computed again."""
        return self.kept > self.available

    @property
    def needed(self) -> float:
        """The smaller way that fits, or else the smaller."""
        return self.again if self.checkpointing else self.kept

    @property
    def fits(self) -> bool:
        """Whether a device has as much."""
        return self.needed <= self.available


def estimate_attribution(
    config: Config,
    corpus: Corpus,
    lengths: Lengths,
    model: PreTrainedModel,
    shape: ModelShape,
    size: Size,
    machine: Machine,
    memory: Memory,
) -> Attribution | None:
    """None without dilemmas, or if the outcome has no log-odds, or evaluate does not ask it.

    `memory` is that of a strategy with whole weights.
    """
    name = config.attributed_outcome
    able = hasattr(find_class(OUTCOMES, name, "attribute.outcome"), "log_odds")
    questions = lengths.questions.get(name, {})
    if not able or not any(questions.values()):
        return None
    outcome = make_differentiable(config)
    load = cut_dilemmas(config, outcome, _dilemmas(config, corpus, questions, outcome))
    kept, again = (
        _needed(config, model, shape, machine, memory, load, size, checkpointing=c)
        for c in (False, True)
    )
    operations = [PASSES * count_operations(size, shape, task) for task in load.tasks]
    busiest = load.busiest(machine.world_size)
    computing = PASSES * sum(count_operations(size, shape, task) for task in busiest)
    cost = Cost(
        operations=sum(operations),
        computing=computing / (machine.flops * machine.fraction),
        gathering=0.0,
    )
    found = Attribution(load=load, cost=cost, kept=kept, again=again, available=memory.available)
    if not found.checkpointing:
        return found
    more = 1 + 1 / PASSES
    cost = replace(cost, operations=more * cost.operations, computing=more * cost.computing)
    return replace(found, cost=cost)


def _dilemmas(
    config: Config, corpus: Corpus, questions: Mapping[str, Sequence[int]], outcome: Outcome
) -> list[Sequence[int]]:
    """Lengths of each dilemma's questions, of the half that is attributed: about so many of them,
    if evaluate asks a half too."""
    each, most = questions_per_dilemma(outcome), attributed_questions(outcome)
    starts = [(of, n) for of in questions.values() for n in range(0, len(of), each)]
    dilemmas = [of[n : n + each][:most] for of, n in starts]
    half = config.attribute.dilemmas
    if half == "all" or config.evaluate.dilemmas != "all" or not corpus.evaluation:
        return dilemmas
    share = len(pick_half(corpus.evaluation, half)) / len(corpus.evaluation)
    return dilemmas[: max(1, round(share * len(dilemmas)))]


def _needed(
    config: Config,
    model: PreTrainedModel,
    shape: ModelShape,
    machine: Machine,
    memory: Memory,
    load: Load,
    size: Size,
    *,
    checkpointing: bool,
) -> float:
    activations = measure_backward(
        model,
        getattr(torch, config.model.dtype),
        rows=load.rows,
        width=load.width,
        checkpointing=checkpointing,
    )
    neurons = shape.num_layers * shape.num_neurons
    of_neuron = TOTAL_BYTES + (0 if machine.kind == "gpu" else ROW_BYTES)
    # The logits that are kept, as computed and in float32, with their gradient.
    item = ITEM_BYTES[config.model.dtype]
    logits = load.logit_rows * load.logit_places * size.vocabulary * (2 * item + 8)
    return memory.weights + max(activations, logits) + of_neuron * neurons + memory.reserve
