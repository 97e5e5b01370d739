"""The attribute stage: a store and a model in, first-order effects of all neurons out."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vxdist.asking.beginning import count_missing, describe_questions, is_begun, make_way
from vxdist.asking.checks import (
    check_dilemmas,
    check_edition,
    check_model,
    check_values,
    find_items,
)
from vxdist.asking.identity import (
    choose_today,
    describe_asking,
    describe_batches,
    digest_questions,
)
from vxdist.asking.outcomes import Differentiable, Question, attributed_questions
from vxdist.asking.prompting import Prompter
from vxdist.asking.questions import ask
from vxdist.asking.trial import make_trial
from vxdist.attribute.checks import asking_settings, check_labels, make_differentiable
from vxdist.attribute.work import AttributeWork
from vxdist.config import Config, EvaluateConfig
from vxdist.corpus import Corpus, EvaluationItem, load_corpus
from vxdist.model.load import describe_model, load_tokenizer
from vxdist.model.source import ModelSource, find_model
from vxdist.output import Output
from vxdist.runtime.identity import describe_computation
from vxdist.runtime.launch import find_launch
from vxdist.runtime.loop import run_loop
from vxdist.runtime.strategy import resolve_strategy
from vxdist.runtime.zero3 import check_sharded
from vxstore.attribution import AttributionRecorder, Labels, create_attribution
from vxstore.begun import begun_attrs
from vxstore.identity import finished_alike
from vxstore.read import Store, open_store
from vxstore.schema import ArraySpec
from vxstore.text import plural

KEY = "attribute.name"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What an attribution is made of."""

    config: Config
    store: Store
    items: list[EvaluationItem]
    outcome: Differentiable
    asking: EvaluateConfig

    @property
    def name(self) -> str:
        return self.config.attribution_name

    @property
    def group(self) -> str:
        return f"attribution/{self.name}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the measured number, (dilemma, ...)."""
        return (len(self.items), *(len(of) for of in self.labels.values()))

    @property
    def spec(self) -> ArraySpec:
        """The array of the measured number, of dimensions (dilemma, ...)."""
        spec = self.outcome.arrays[self.outcome.effect_of]
        return dataclasses.replace(spec, dims=spec.dims[1:])

    @property
    def labels(self) -> dict[str, Sequence[str]]:
        """Labels of the measured number's dimensions behind the dilemma."""
        return {dim: self.outcome.labels[dim] for dim in self.spec.dims[1:]}


def run(config: Config, output: Output) -> None:
    """Attribute what is missing of attribution/NAME, then sum over the dilemmas.

    Raises UserError, before any model is loaded, if something is missing or unsuitable.
    """
    launch = find_launch(config.trainer)
    kind = resolve_strategy(config.trainer, launch)
    source = find_model(config.model)
    corpus = load_corpus(config.corpus)
    this = _prepare(config, corpus, source, output)
    kept = begun_attrs(config.store, this.group)
    today = choose_today(config, kept)
    identity = {**describe(this, corpus), "date": today.date.isoformat()}
    check_edition(config.corpus, this.store, this.group, kept, identity)
    identity["computation"] = describe_computation(config, kind)
    if finished_alike(config.store, this.group, identity, KEY):
        if launch.rank == 0:
            output.say(f"attribute: {this.group} exists already; no model work")
        return
    if launch.rank == 0:
        make_way(config.store, this.group, identity, KEY)
    shape = describe_model(source)
    check_sharded(kind, source.name, shape.packing)
    prompter = Prompter(load_tokenizer(source), this.asking, today)
    questions = ask(this.outcome, this.items, prompter, source, shape)
    if launch.rank == 0:
        _begin(this, identity, prompter, questions, output)
    if _missing(this) > 0:
        common = identity | {"questions_digest": digest_questions(questions)}
        work = _make_work(this, prompter, questions)
        run_loop(work, source, config, output, identity=common, gradients=True)
    if launch.rank == 0:
        keep = config.attribute.by_dilemma
        AttributionRecorder(config.store, this.name).complete(keep_rows=keep)
        output.say(
            f"attribute: {plural(len(this.items), 'dilemma')} attributed to "
            f"{shape.num_layers * shape.num_neurons:,} neurons in {config.store}/{this.group}"
        )


def _prepare(config: Config, corpus: Corpus, source: ModelSource, output: Output) -> Run:
    half, store = config.attribute.dilemmas, open_store(config.store)
    check_values(config.evaluate, corpus)
    items = find_items(config, corpus, half)
    check_dilemmas(config, len(items), "attribute.dilemmas")
    check_model(config, store, source, output)
    check_labels(store, items)
    return Run(
        config=config,
        store=store,
        items=items,
        outcome=make_differentiable(config),
        asking=asking_settings(config),
    )


def describe(this: Run, corpus: Corpus) -> dict[str, Any]:
    """What an attribution was made of, but for its questions."""
    settings = this.config.attribute
    own = this.outcome.settings
    values = list(dict.fromkeys(item.value for item in this.items))
    return {
        "settings": {
            "name": this.name,
            "values": values,
            "by_dilemma": settings.by_dilemma,
            **({} if own is None else dataclasses.asdict(own)),
        },
        "outcome": this.asking.outcome,
        "asking": describe_asking(this.asking),
        "half": settings.dilemmas,
        "evaluation_digest": corpus.evaluation_digest(),
        **describe_batches(this.config, settings),
    }


def _begin(
    this: Run,
    identity: Mapping[str, Any],
    prompter: Prompter,
    questions: Sequence[Question],
    output: Output,
) -> None:
    """Create the attribution, unless it was begun with these questions.

    Raises UserError if it was begun with others.
    """
    if is_begun(this.store.path, this.group, questions, KEY, "attribution"):
        return
    attrs = {
        **identity,
        **describe_questions(questions, prompter),
        "attributed": this.outcome.effect_of,
        "config": this.config.kept("model", "corpus", "attribute", "evaluate", "trainer"),
    }
    _create(this, attrs)
    asked = len(this.items) * attributed_questions(this.outcome)
    output.say(
        f"attribute: {plural(len(this.items), 'dilemma')}, "
        f"{plural(asked, 'question')} with a forward and a backward pass each"
    )


def _create(this: Run, attrs: Mapping[str, Any]) -> None:
    root = this.store.root()
    create_attribution(
        this.store.path,
        this.name,
        labels=Labels(
            dilemmas=[item.id for item in this.items],
            dilemma_values=[item.value for item in this.items],
            dilemma_languages=[item.language for item in this.items],
            values=[str(label) for label in root["value"].values],
            languages=[str(label) for label in root["language"].values],
            further=this.labels,
        ),
        shape_LN=(root.sizes["layer"], root.sizes["neuron"]),
        measured=(this.outcome.effect_of, this.spec),
        attrs=attrs,
    )


def _make_work(this: Run, prompter: Prompter, questions: Sequence[Question]) -> AttributeWork:
    settings = this.config.attribute
    packing: dict[str, Any] = {
        "tokens_per_batch": settings.tokens_per_batch,
        "max_padding": settings.max_padding,
    }
    least = this.asking.least_mass
    trial = make_trial(this.outcome, questions, this.items, prompter, least, **packing)
    return AttributeWork(
        this.outcome,
        questions,
        lambda: AttributionRecorder(this.store.path, this.name),
        this.shape,
        checkpointing=settings.checkpointing,
        trial=trial,
        **packing,
    )


def _missing(this: Run) -> int:
    """Unsealed dilemmas."""
    path = this.store.path
    return count_missing(path, this.group, lambda: AttributionRecorder(path, this.name).sealed())
