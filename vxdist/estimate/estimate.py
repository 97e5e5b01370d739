"""Putting a forecast together."""

from dataclasses import dataclass

import torch

from vxdist.config import Config, ForecastConfig
from vxdist.corpus import Corpus, load_corpus
from vxdist.estimate.cost import Cost, find_cost
from vxdist.estimate.disk import Group, measure_store
from vxdist.estimate.machine import Machine
from vxdist.estimate.memory import Activations, Memory, Planner
from vxdist.estimate.shape import Size, measure_model
from vxdist.estimate.texts import Imagined, Lengths, measure_texts
from vxdist.estimate.trace import measure_activations
from vxdist.estimate.work import Load, count_labels, cut_questions, cut_stories
from vxdist.evaluate.conditions import make_conditions
from vxdist.hooks.measures import choose
from vxdist.model.load import ModelShape, build_without_weights, describe_model
from vxdist.model.source import ModelSource, find_config


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a run will need. `memory` has one entry a strategy; the run uses `strategy`."""

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
    strategy: str
    memory: tuple[Memory, ...]
    costs: dict[str, Cost]
    store: tuple[Group, ...]

    @property
    def loads(self) -> tuple[Load, ...]:
        """Of the stages that run the model."""
        return (self.locate,) if self.evaluate is None else (self.locate, self.evaluate)

    @property
    def chosen(self) -> Memory:
        """Memory under the strategy that the run uses."""
        return next(m for m in self.memory if m.strategy == self.strategy)


def make_forecast(
    config: Config, machine: Machine, imagined: Imagined, assume: ForecastConfig
) -> Forecast:
    """Read corpus, configuration and perhaps tokenizer; no weights.

    Raises UserError if one of them, or a setting, will not do.
    """
    corpus, source = load_corpus(config.corpus), find_config(config.model)
    shape = describe_model(source)
    lengths = measure_texts(config, corpus, source, shape, imagined, assume)
    locate, evaluate = cut_stories(config, lengths), cut_questions(config, corpus, lengths)
    model = build_without_weights(source)
    size = measure_model(model, shape)

    def of_token(load: Load) -> float:
        skewed = min(1.0, assume.expert_skew * size.experts_share) if shape.num_experts else None
        dtype = getattr(torch, config.model.dtype)
        found = measure_activations(
            model, dtype, rows=load.rows, width=load.width, expert_share=skewed
        )
        return found / (load.rows * load.width)

    planner = Planner(
        config=config,
        shape=shape,
        size=size,
        machine=machine,
        activations=Activations(
            locate=of_token(locate), evaluate=of_token(evaluate) if evaluate else 0.0
        ),
        assume=assume,
    )
    several = machine.world_size > 1
    strategy = _choose(config, several)
    kinds = ("ddp", "zero3") if several else tuple(dict.fromkeys(("single", strategy)))
    loads = (locate,) if evaluate is None else (locate, evaluate)
    return Forecast(
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
        strategy=strategy,
        memory=tuple(planner.under(kind, locate, evaluate) for kind in kinds),
        costs={
            load.title: find_cost(config, shape, size, machine, strategy, load) for load in loads
        },
        store=_measure_store(config, corpus, shape, lengths, locate, evaluate, assume),
    )


def _choose(config: Config, several: bool) -> str:
    """What the run would use on so many devices; `single` on several is taken for ddp."""
    if config.trainer.strategy == "zero3":
        return "zero3"
    return "ddp" if several else "single"


def _measure_store(
    config: Config,
    corpus: Corpus,
    shape: ModelShape,
    lengths: Lengths,
    locate: Load,
    evaluate: Load | None,
    assume: ForecastConfig,
) -> tuple[Group, ...]:
    values, languages = count_labels(lengths.stories)
    masked = corpus.values if config.evaluate.values is None else config.evaluate.values
    conditions = len(make_conditions(list(masked), config.evaluate.controls)) if evaluate else 0
    return measure_store(
        shape,
        values=values,
        languages=languages,
        parts=len(locate.units),
        conditions=conditions,
        masks=len(masked),
        dilemmas=sum(map(len, lengths.questions.values())) // 2,
        assume=assume,
        statistics=[row.name for row in choose(config.locate.statistics)],
    )
