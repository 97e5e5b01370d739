"""The evaluate stage: scores and model in, effects of ablating neurons out."""

import dataclasses
import functools
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from vxdist.components import make_component
from vxdist.config import Config, EvaluateConfig
from vxdist.corpus import Corpus, EvaluationItem, load_corpus
from vxdist.evaluate.checks import (
    check_controls,
    check_dilemmas,
    check_model,
    check_needs,
    check_values,
)
from vxdist.evaluate.conditions import make_conditions, mask_neurons
from vxdist.evaluate.effects import is_measured, write_effects
from vxdist.evaluate.outcomes import OUTCOMES, Outcome
from vxdist.evaluate.recorded import read_activity, read_recorded
from vxdist.evaluate.work import EvaluateWork
from vxdist.hooks.interventions import INTERVENTIONS, Intervention
from vxdist.model.load import describe_model, load_tokenizer
from vxdist.model.source import ModelSource, find_model
from vxdist.output import Output
from vxdist.runtime.launch import find_launch
from vxdist.runtime.loop import run_loop
from vxdist.runtime.strategy import resolve_strategy
from vxdist.stats.matching import LanguageNeurons
from vxstore.defaults import DEFAULT_INTERVENTION, DEFAULT_OUTCOME
from vxstore.evaluation import ConditionRecorder, DilemmaLabels, create_evaluation
from vxstore.identity import begun_alike, check_name, finished_alike
from vxstore.mask_file import read_masks
from vxstore.query.lookup import default_score
from vxstore.read import Store, open_store

IDENTITY = ("controls", "control_pool", "seed")
"""Settings of evaluate that decide what is measured, beside those of the outcome and the
intervention. What a mask file holds does too: `selection_digest` says it, wherever the file is."""
ABSENT = {"outcome": DEFAULT_OUTCOME, "intervention": DEFAULT_INTERVENTION}
"""What the attributes mean that earlier versions did not write."""


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What an evaluation is made of."""

    config: Config
    store: Store
    name: str
    score: str
    values: list[str]
    languages: list[str]
    items: list[EvaluationItem]
    outcome: Outcome
    intervention: Intervention
    scores: xr.Dataset
    selected: xr.DataArray

    @property
    def group(self) -> str:
        return f"evaluation/{self.name}"

    @property
    def settings(self) -> EvaluateConfig:
        return self.config.evaluate


def run(config: Config, output: Output) -> None:
    """Measure what is missing of evaluation/NAME, then the effects.

    Raises UserError, before any model is loaded, if the store, scores, corpus or model is missing
    or unsuitable.
    """
    launch = find_launch(config.trainer)
    resolve_strategy(config.trainer, launch)
    source = find_model(config.model)
    corpus = load_corpus(config.corpus)
    this = _prepare(config, corpus, source)
    identity = _identity(this, corpus)
    if finished_alike(config.store, this.group, identity, "evaluate.name", absent=ABSENT):
        if launch.rank == 0:
            output.say(f"evaluate: {this.group} exists already; no model work")
            if not is_measured(this.store, this.name, this.settings):
                _finish(this, output)
        return

    shape = describe_model(source)
    tokenizer = load_tokenizer(source, shape)
    questions = this.outcome.ask(this.items, tokenizer, shape.max_length)
    if launch.rank == 0 and not begun_alike(
        config.store, this.group, identity, "evaluate.name", absent=ABSENT
    ):
        _create(this, identity, output)
    recorded = read_recorded(this.store)
    work = EvaluateWork(
        this.outcome,
        questions,
        lambda: ConditionRecorder(config.store, this.name),
        functools.partial(this.intervention.affine, recorded),
        this.languages,
        tokens_per_batch=config.evaluate.tokens_per_batch,
        max_padding=config.evaluate.max_padding,
    )
    if _missing(config.store, this.name) > 0:
        run_loop(work, source, config, output)
    if launch.rank == 0:
        _finish(this, output)


def _prepare(config: Config, corpus: Corpus, source: ModelSource) -> _Run:
    settings, store = config.evaluate, open_store(config.store)
    values = check_values(settings, corpus)
    items = [item for item in corpus.evaluation if item.value in values]
    outcome = make_component(OUTCOMES, settings.outcome, settings, "evaluate.outcome")
    intervention = make_component(
        INTERVENTIONS, settings.intervention, settings, "evaluate.intervention"
    )
    check_name(config.evaluation_name, "evaluate.name")
    check_controls(settings)
    check_dilemmas(config, len(items))
    check_model(config, store, source)
    root = store.root()
    check_needs(store, root, intervention)
    score = settings.scores or config.reduce.name or default_score(store, config.reduce.selector)
    scores = store.scores(score)
    languages = [str(label) for label in root.language.values]
    return _Run(
        config=config,
        store=store,
        name=config.evaluation_name,
        score=score,
        values=values,
        languages=languages,
        items=items,
        outcome=outcome,
        intervention=intervention,
        scores=scores,
        selected=_selected(settings, store, scores, values, languages),
    )


def _selected(
    settings: EvaluateConfig,
    store: Store,
    scores: xr.Dataset,
    values: list[str],
    languages: list[str],
) -> xr.DataArray:
    """Neurons to ablate by value and language: a mask file's, if one is given, or a score's."""
    if settings.masks is None:
        return scores["selected"]
    known = [str(label) for label in scores.value.values]
    masks = read_masks(
        settings.masks,
        store,
        shape_LN=(scores.sizes["layer"], scores.sizes["neuron"]),
        values=known,
        languages=languages,
        wanted=values,
    )
    coords = {"value": known, "language": languages}
    return xr.DataArray(masks, dims=("layer", "neuron", "value", "language"), coords=coords)


def _identity(this: _Run, corpus: Corpus) -> dict[str, Any]:
    """What an evaluation was made of; a resume must agree in all of it."""
    settings = {key: getattr(this.settings, key) for key in IDENTITY}
    for component in (this.outcome, this.intervention):
        if component.settings is not None:
            settings |= dataclasses.asdict(component.settings)
    bits = np.packbits(this.selected.values).tobytes()
    return {
        "settings": {"name": this.name, "scores": this.score, "values": this.values, **settings},
        "outcome": this.settings.outcome,
        "intervention": this.settings.intervention,
        "evaluation_digest": corpus.evaluation_digest(),
        "selection_digest": hashlib.sha256(bits).hexdigest(),
    }


def _create(this: _Run, identity: dict[str, Any], output: Output) -> None:
    conditions = make_conditions(this.values, this.settings.controls)
    by_language = [
        LanguageNeurons(
            selected_LNV=this.selected.sel(language=g).transpose("layer", "neuron", "value").values,
            activity_LN=read_activity(this.store, g),
        )
        for g in this.languages
    ]
    masked_CLNG = mask_neurons(
        conditions,
        [str(label) for label in this.scores.value.values],
        by_language,
        pool=this.settings.control_pool,
        seed=this.settings.seed,
    )
    create_evaluation(
        this.store.path,
        this.name,
        conditions=conditions,
        dilemmas=[DilemmaLabels(id=i.id, value=i.value, language=i.language) for i in this.items],
        languages=this.languages,
        measures=this.outcome.arrays,
        labels=this.outcome.labels,
        masked_CLNG=masked_CLNG,
        attrs=_describe(this, identity),
    )
    output.say(
        f"evaluate: {len(this.items)} dilemmas under {len(conditions)} conditions (intact, "
        f"{len(this.values)} masks, {this.settings.controls} controls for each)"
    )


def _describe(this: _Run, identity: dict[str, Any]) -> dict[str, Any]:
    """Attributes of the evaluation: its identity, and what readers need beside it."""
    masks = {} if this.settings.masks is None else {"masks": this.settings.masks}
    return {
        **identity,
        "settings": identity["settings"] | masks,
        "effect_of": this.outcome.effect_of,
        "decision_boundary": this.outcome.decision_boundary,
        "config": this.config.kept("model", "corpus", "evaluate", "trainer"),
    }


def _missing(path: str, name: str) -> int:
    """Unsealed conditions; at least one while rank 0 is still creating the evaluation."""
    if not begun_alike(path, f"evaluation/{name}", {}, ""):
        return 1
    return int((~ConditionRecorder(path, name).sealed()).sum())


def _finish(this: _Run, output: Output) -> None:
    """Measure the effects and mark the evaluation complete."""
    write_effects(this.store.path, this.name, this.settings)
    ConditionRecorder(this.store.path, this.name).complete()
    output.say(f"evaluate: effects of {len(this.values)} masks in {this.store.path}")
