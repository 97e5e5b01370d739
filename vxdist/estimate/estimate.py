"""Estimating a run: from configuration, corpus and model to tokens, memory, time and disk."""

from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel

from vxdist.asking.checks import make_outcomes, masked_values
from vxdist.asking.outcomes import questions_per_dilemma
from vxdist.components import find_class
from vxdist.config import Config
from vxdist.corpus import Corpus, load_corpus
from vxdist.estimate.assumptions import Assumptions
from vxdist.estimate.attribution import Attribution, estimate_attribution
from vxdist.estimate.cost import Cost, find_cost
from vxdist.estimate.disk import Group, measure_store
from vxdist.estimate.machine import Machine
from vxdist.estimate.memory import Activations, Memory, Planner
from vxdist.estimate.shape import Size, measure_model
from vxdist.estimate.texts import CorpusSize, Lengths, measure_texts
from vxdist.estimate.trace import measure_activations
from vxdist.estimate.work import (
    Load,
    are_tested,
    count_labels,
    cut_outcomes,
    cut_questions,
    cut_stories,
    label_parts,
)
from vxdist.hooks.measures import choose
from vxdist.model.load import ModelShape, build_without_weights, describe_model
from vxdist.model.source import ModelSource, find_config
from vxdist.reduce.selectors import SELECTORS
from vxdist.runtime.zero3 import check_sharded


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run will need. `memory` has one entry per strategy; the run uses `strategy`."""

    config: Config
    source: ModelSource
    shape: ModelShape
    size: Size
    machine: Machine
    corpus: Corpus
    lengths: Lengths
    planner: Planner
    locate: Load
    evaluate: Load | None
    outcomes: tuple[Load, ...]
    """The load of each outcome, which together are `evaluate`."""
    attribution: Attribution | None
    """What the optional stage needs, with a copy of the weights on each device."""
    strategy: str
    memory: tuple[Memory, ...]
    costs: dict[str, Cost]
    store: tuple[Group, ...]

    @property
    def loads(self) -> tuple[Load, ...]:
        """The loads of the stages that run the model."""
        return (self.locate,) if self.evaluate is None else (self.locate, self.evaluate)

    @property
    def chosen(self) -> Memory:
        """Memory under the strategy that the run uses."""
        return next(m for m in self.memory if m.strategy == self.strategy)


def make_estimate(
    config: Config, machine: Machine, corpus_size: CorpusSize, assume: Assumptions
) -> Estimate:
    """Estimate a run from its corpus, the model's configuration and, if there is one, tokenizer.

    Raises UserError if one of them is missing or unsuitable, or a setting is out of range.
    """
    corpus, source = load_corpus(config.corpus), find_config(config.model)
    shape = describe_model(source)
    lengths = measure_texts(config, corpus, source, shape, corpus_size, assume)
    locate, evaluate = cut_stories(config, lengths), cut_questions(config, corpus, lengths)
    outcomes = cut_outcomes(config, corpus, lengths)
    model = build_without_weights(source)
    size = measure_model(model, shape)
    dtype = getattr(torch, config.model.dtype)
    activations = Activations(
        locate=_bytes_per_token(model, dtype, locate),
        evaluate=_bytes_per_token(model, dtype, evaluate),
    )
    planner = Planner(
        config=config,
        shape=shape,
        size=size,
        machine=machine,
        activations=activations,
        assume=assume,
    )
    strategy, compared = _choose_strategies(config, machine, source.name, shape)
    memory = tuple(planner.under(name, locate, evaluate) for name in compared)
    whole = next(of for of in memory if of.strategy != "zero3")  # with all weights on each device
    attribution = estimate_attribution(config, corpus, lengths, model, shape, size, machine, whole)
    loads = (locate, evaluate, *(outcomes if len(outcomes) > 1 else ()))
    costs = {
        load.title: find_cost(config, shape, size, machine, strategy, load)
        for load in loads
        if load is not None
    }
    return Estimate(
        config=config,
        source=source,
        shape=shape,
        size=size,
        machine=machine,
        corpus=corpus,
        lengths=lengths,
        planner=planner,
        locate=locate,
        evaluate=evaluate,
        outcomes=outcomes,
        strategy=strategy,
        attribution=attribution,
        memory=memory,
        costs=costs,
        store=_measure_store(config, corpus, shape, lengths, locate, outcomes, assume),
    )


def _bytes_per_token(model: PreTrainedModel, dtype: torch.dtype, load: Load | None) -> float:
    """Memory of activations per token of a stage's largest batch; 0 without a stage."""
    if load is None:
        return 0.0
    found = measure_activations(model, dtype, rows=load.rows, width=load.width)
    return found / (load.rows * load.width)


def _choose_strategies(
    config: Config, machine: Machine, name: str, shape: ModelShape
) -> tuple[str, tuple[str, ...]]:
    """The strategy that the run would use, and those to compare.

    `single` on several devices is taken for ddp. zero3 is none for packed weights: UserError.
    """
    several = machine.world_size > 1
    strategy = config.trainer.strategy
    if strategy != "zero3":
        strategy = "ddp" if several else "single"
    check_sharded(strategy, name, shape.packing)
    if shape.packing is not None:
        return strategy, (strategy,)
    return strategy, ("ddp", "zero3") if several else tuple(dict.fromkeys(("single", strategy)))


def _measure_store(
    config: Config,
    corpus: Corpus,
    shape: ModelShape,
    lengths: Lengths,
    locate: Load,
    loads: tuple[Load, ...],
    assume: Assumptions,
) -> tuple[Group, ...]:
    """All groups; those of the evaluation of each outcome under its name, if there are several."""
    values, languages = count_labels(lengths.stories)
    outcomes = make_outcomes(config.evaluate)
    found: list[Group] = []
    for load in loads or (None,):
        name = next(iter(outcomes)) if load is None else load.title
        outcome = outcomes[name]
        questions = sum(map(len, lengths.questions[name].values()))
        groups = measure_store(
            shape,
            values=values,
            languages=languages,
            parts=len(locate.tasks),
            conditions=0 if load is None else len(load.tasks),
            masks=len(masked_values(config.evaluate, corpus)),
            controls=config.evaluate.controls,
            dilemmas=questions // questions_per_dilemma(outcome),
            selector=find_class(SELECTORS, config.reduce.selector, "reduce.selector"),
            outcome=outcome,
            assume=assume,
            statistics=[row.name for row in choose(config.locate.statistics)],
            of_part=label_parts(config, lengths),
            tested=are_tested(config, lengths),
        )
        called = name if len(loads) > 1 else "NAME"
        found += [
            replace(group, name=group.name.replace("evaluation/NAME", f"evaluation/{called}"))
            for group in groups
            if not found or group.name.startswith("evaluation/")
        ]
    return tuple(found)
