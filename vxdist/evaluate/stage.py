"""The evaluate stage: scores and model in, effects of ablating neurons out."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

from vxdist.asking.beginning import count_missing
from vxdist.asking.checks import (
    check_edition,
    check_model,
    check_values,
    find_asked,
    make_outcomes,
)
from vxdist.asking.identity import choose_today, digest_questions
from vxdist.asking.outcomes import Question
from vxdist.asking.prompting import Prompter, Today
from vxdist.asking.questions import ask
from vxdist.asking.trial import make_trial
from vxdist.config import Config, EvaluateConfig
from vxdist.corpus import Corpus, load_corpus
from vxdist.evaluate.begin import begin, make_way
from vxdist.evaluate.checks import refuse_circular
from vxdist.evaluate.finish import finish, gather_doses, is_finished
from vxdist.evaluate.identity import ABSENT, Run, describe, known_to
from vxdist.evaluate.work import EvaluateWork, Measurement
from vxdist.hooks.masks import check_needs, find_score, make_intervention
from vxdist.hooks.recorded import read_recorded
from vxdist.model.load import describe_model, load_tokenizer
from vxdist.model.source import ModelSource, find_model
from vxdist.output import Output
from vxdist.ranks import is_first_rank
from vxdist.runtime.identity import describe_computation
from vxdist.runtime.launch import find_launch
from vxdist.runtime.loop import run_loop
from vxdist.runtime.strategy import resolve_strategy
from vxdist.runtime.zero3 import check_sharded
from vxstore.evaluation import ConditionRecorder, begun_attrs
from vxstore.identity import finished_alike
from vxstore.mask_file import read_masks
from vxstore.read import Store, open_store


@dataclass(frozen=True, kw_only=True)
class Begun:
    """An evaluation of which conditions may be left, and all that identifies it."""

    run: Run
    prompter: Prompter
    questions: Sequence[Question]
    identity: dict[str, Any]


def run(config: Config, output: Output) -> None:
    """Measure what is missing of the evaluation of each outcome, then the effects.

    Raises UserError, before any model is loaded, if something is missing or unsuitable.
    """
    launch = find_launch(config.trainer)
    kind = resolve_strategy(config.trainer, launch)
    source = find_model(config.model)
    corpus = load_corpus(config.corpus)
    runs = _prepare(config, corpus, source, output)
    first = runs[0]
    if not first.values:
        asked = first.settings.masks or f"scores/{first.score}"
        output.say(f"evaluate: {asked} has no neuron of these values, so nothing is ablated")
        return
    left = [(this, *found) for this in runs if (found := _identify(this, corpus, kind, output))]
    if launch.rank == 0:
        for this, identity, _ in left:
            make_way(this, identity)
    shape = describe_model(source)
    check_sharded(kind, source.name, shape.packing)
    tokenizer = load_tokenizer(source) if left else None
    begun = []
    for this, identity, today in left:
        prompter = Prompter(tokenizer, this.settings, today)
        questions = ask(this.outcome, this.items, prompter, source, shape)
        begun.append(Begun(run=this, prompter=prompter, questions=questions, identity=identity))
    measurements = [_measurement(of) for of in begun]  # refuses texts longer than a batch
    if launch.rank == 0:
        for of in begun:
            begin(of.run, of.identity, of.prompter, of.questions, output)
    unsealed = [n for n, of in enumerate(begun) if _missing(config.store, of.run.name) > 0]
    if unsealed:
        work = EvaluateWork([measurements[n] for n in unsealed])
        common = _common([begun[n] for n in unsealed])
        run_loop(work, source, config, output, identity=common)
    if launch.rank == 0:
        finish([of.run for of in begun], output)


def _identify(
    this: Run, corpus: Corpus, strategy: str, output: Output
) -> tuple[dict[str, Any], Today] | None:
    """What identifies an evaluation, and the date it asks on; None if it is finished."""
    path = this.store.path
    kept = begun_attrs(path, this.name)
    today = choose_today(this.config, kept)
    identity = {**describe(this, corpus), "date": today.date.isoformat()}
    check_edition(this.config.corpus, this.store, this.group, kept, identity)
    known = known_to(kept, identity)
    identity["computation"] = describe_computation(this.config, strategy)
    if not finished_alike(path, this.group, known, "evaluate.name", absent=ABSENT):
        return identity, today
    if is_first_rank():
        output.say(f"evaluate: {this.group} exists already; no model work")
        if not is_finished(this):
            finish([this], output)
        else:
            gather_doses(this, output)
    return None


def _common(begun: Sequence[Begun]) -> dict[str, Any]:
    """What all ranks must agree in: of one evaluation as it is, of several under their names."""
    found = {
        of.run.name: of.identity | {"questions_digest": digest_questions(of.questions)}
        for of in begun
    }
    return found if len(begun) > 1 else found[begun[0].run.name]


def _measurement(begun: Begun) -> Measurement:
    this, questions = begun.run, begun.questions
    settings, recorded = this.settings, read_recorded(this.store)
    packing: dict[str, Any] = {
        "tokens_per_batch": settings.tokens_per_batch,
        "max_padding": settings.max_padding,
    }
    least = settings.least_mass
    trial = make_trial(this.outcome, questions, this.items, begun.prompter, least, **packing)
    return Measurement(
        this.outcome,
        questions,
        lambda: ConditionRecorder(this.store.path, this.name),
        functools.partial(this.intervention.affine, recorded),
        this.languages,
        trial=trial,
        **packing,
    )


def _prepare(config: Config, corpus: Corpus, source: ModelSource, output: Output) -> list[Run]:
    """What the evaluation of each outcome is made of; all but the outcome they have in common."""
    settings, store = config.evaluate, open_store(config.store)
    values = check_values(settings, corpus)
    intervention = make_intervention(settings)
    asked = {
        kind: (outcome, find_asked(config, corpus, outcome))
        for kind, outcome in make_outcomes(settings).items()
    }
    check_model(config, store, source, output)
    root = store.root()
    check_needs(store, root, intervention)
    score = find_score(config, store)
    refuse_circular(config, store, score, [item for _, items in asked.values() for item in items])
    scores = store.scores(score)
    languages = [str(label) for label in root.language.values]
    selected = _selected(settings, store, scores, values, languages)
    masked = _with_neurons(selected, values, languages, output)
    return [
        Run(
            config=config,
            store=store,
            name=config.evaluation_names[kind],
            kind=kind,
            score=score,
            values=masked,
            languages=languages,
            items=[item for item in items if getattr(item, "value", None) in (None, *masked)],
            outcome=outcome,
            intervention=intervention,
            scores=scores,
            selected=selected,
        )
        for kind, (outcome, items) in asked.items()
    ]


def _with_neurons(
    selected: xr.DataArray, values: list[str], languages: list[str], output: Output
) -> list[str]:
    """The values that have a neuron to ablate in some language; says which have none."""
    has = {v: bool(selected.sel(value=v, language=languages).any()) for v in values}
    if any(has.values()) and not all(has.values()):
        empty = ", ".join(value for value in values if not has[value])
        output.say(f"evaluate: no neuron is selected for {empty}; left out")
    return [value for value in values if has[value]]


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


def _missing(path: str, name: str) -> int:
    """Unsealed conditions."""
    return count_missing(path, f"evaluation/{name}", lambda: ConditionRecorder(path, name).sealed())
