"""The evaluate stage: scores and model in, effects of ablating neurons out."""

import functools
import sys
from collections.abc import Sequence
from typing import Any

import xarray as xr

from vxdist.config import Config, EvaluateConfig
from vxdist.corpus import Corpus, load_corpus
from vxdist.corpus.editions import describe_other_edition, refuse_other_edition
from vxdist.evaluate.begin import begin, make_way
from vxdist.evaluate.checks import (
    check_dilemmas,
    check_model,
    check_needs,
    check_values,
    find_items,
    find_score,
    make_intervention,
    make_outcome,
)
from vxdist.evaluate.effects import is_measured, write_effects
from vxdist.evaluate.identity import (
    ABSENT,
    Run,
    choose_today,
    describe,
    digest_questions,
    known_to,
)
from vxdist.evaluate.outcomes import Question
from vxdist.evaluate.prompting import Prompter
from vxdist.evaluate.questions import ask
from vxdist.evaluate.recorded import read_recorded
from vxdist.evaluate.trial import Trial, pick_questions
from vxdist.evaluate.work import EvaluateWork
from vxdist.model.load import describe_model, load_tokenizer
from vxdist.model.source import ModelSource, find_model
from vxdist.output import Output
from vxdist.ranks import is_first_rank
from vxdist.runtime.identity import describe_computation
from vxdist.runtime.launch import find_launch
from vxdist.runtime.loop import run_loop
from vxdist.runtime.strategy import resolve_strategy
from vxstore import effect_words
from vxstore.evaluation import ConditionRecorder, begun_attrs
from vxstore.identity import begun_alike, finished_alike
from vxstore.mask_file import read_masks
from vxstore.outcome import answer_mass
from vxstore.read import Store, open_store
from vxstore.text import plural


def run(config: Config, output: Output) -> None:
    """Measure what is missing of evaluation/NAME, then the effects.

    Raises UserError, before any model is loaded, if something is missing or unsuitable.
    """
    launch = find_launch(config.trainer)
    kind = resolve_strategy(config.trainer, launch)
    source = find_model(config.model)
    corpus = load_corpus(config.corpus)
    this = _prepare(config, corpus, source, output)
    if not this.values:
        asked = this.settings.masks or f"scores/{this.score}"
        output.say(f"evaluate: {asked} has no neuron of these values, so nothing is ablated")
        return
    kept = begun_attrs(config.store, this.name)
    today = choose_today(config, kept)
    identity = {**describe(this, corpus), "date": today.date.isoformat()}
    _check_edition(this, kept, identity)
    known = known_to(kept, identity)
    identity["computation"] = describe_computation(config, kind)
    if finished_alike(config.store, this.group, known, "evaluate.name", absent=ABSENT):
        if launch.rank == 0:
            output.say(f"evaluate: {this.group} exists already; no model work")
            if not is_measured(this.store, this.name, this.settings):
                _finish(this, output)
        return

    if launch.rank == 0:
        make_way(this, identity)
    shape = describe_model(source)
    prompter = Prompter(load_tokenizer(source), this.settings, today)
    questions = ask(this.outcome, this.items, prompter, source, shape)
    if launch.rank == 0:
        begin(this, identity, prompter, questions, output)
    if _missing(config.store, this.name) > 0:
        common = identity | {"questions_digest": digest_questions(questions)}
        work = _make_work(this, prompter, questions)
        run_loop(work, source, config, output, identity=common)
    if launch.rank == 0:
        _finish(this, output)


def _check_edition(this: Run, kept: dict[str, Any], identity: dict[str, Any]) -> None:
    """Raise UserError if the evaluation was begun with another edition of the bundled seed; warn,
    as it begins, if the store was."""
    store, corpus = this.store, this.config.corpus
    group = f"{store.path}/{this.group}"
    refuse_other_edition(group, corpus, "evaluation_digest", kept, identity)
    other = describe_other_edition(store.path, corpus, "corpus_digest", store.attrs)
    if other is not None and not kept and is_first_rank():
        print(f"warning: {other}", file=sys.stderr)


def _make_work(this: Run, prompter: Prompter, questions: Sequence[Question]) -> EvaluateWork:
    settings, recorded = this.settings, read_recorded(this.store)
    packing: dict[str, Any] = {
        "tokens_per_batch": settings.tokens_per_batch,
        "max_padding": settings.max_padding,
    }
    trial = None
    if this.outcome.mass_of is not None:
        picked = pick_questions(questions, [item.value for item in this.items])
        trial = Trial(
            questions=picked, prompter=prompter, least_mass=settings.least_mass, **packing
        )
    return EvaluateWork(
        this.outcome,
        questions,
        lambda: ConditionRecorder(this.store.path, this.name),
        functools.partial(this.intervention.affine, recorded),
        this.languages,
        trial=trial,
        **packing,
    )


def _prepare(config: Config, corpus: Corpus, source: ModelSource, output: Output) -> Run:
    settings, store = config.evaluate, open_store(config.store)
    values = check_values(settings, corpus)
    items = find_items(config, corpus)
    outcome, intervention = make_outcome(settings), make_intervention(settings)
    check_dilemmas(config, len(items))
    check_model(config, store, source, output)
    root = store.root()
    check_needs(store, root, intervention)
    score = find_score(config, store)
    scores = store.scores(score)
    languages = [str(label) for label in root.language.values]
    selected = _selected(settings, store, scores, values, languages)
    masked = _with_neurons(selected, values, languages, output)
    return Run(
        config=config,
        store=store,
        name=config.evaluation_name,
        score=score,
        values=masked,
        languages=languages,
        items=[item for item in items if item.value in masked],
        outcome=outcome,
        intervention=intervention,
        scores=scores,
        selected=selected,
    )


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
    """Unsealed conditions; at least one while rank 0 is still creating the evaluation."""
    if not begun_alike(path, f"evaluation/{name}", {}, ""):
        return 1
    return int((~ConditionRecorder(path, name).sealed()).sum())


def _finish(this: Run, output: Output) -> None:
    """Measure the effects and mark the evaluation complete."""
    write_effects(this.store.path, this.name, this.settings)
    ConditionRecorder(this.store.path, this.name).complete()
    mass = answer_mass(this.store.unfinished_evaluation(this.name))
    if mass:
        shown = ", ".join(f"{language} {of:.0%}" for language, of in mass.items())
        output.say(f"evaluate: probability of the answers in the intact model: {shown}")
    verdict = open_store(this.store.path).effect(this.name).attrs["verdict"]
    output.say(f"evaluate: {effect_words.conclude(verdict, this.settings.outcome)}")
    output.say(f"evaluate: effects of {plural(len(this.values), 'mask')} in {this.store.path}")
