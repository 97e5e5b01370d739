"""The evaluate stage: scores and model in, effects of switching neurons off out."""

import dataclasses
import hashlib
from typing import Any

import numpy as np
import xarray as xr

from vxdist.config import Config, EvaluateConfig
from vxdist.corpus import Corpus, EvaluationItem, load_corpus
from vxdist.errors import UserError
from vxdist.evaluate.conditions import make_conditions, mask_neurons, read_activity
from vxdist.evaluate.effects import is_measured, write_effects
from vxdist.evaluate.prompts import ask, letter_tokens
from vxdist.evaluate.work import EvaluateWork
from vxdist.model.load import describe_model, load_tokenizer
from vxdist.model.source import ModelSource, find_model
from vxdist.runtime.launch import find_launch
from vxdist.runtime.loop import run_loop
from vxdist.runtime.strategy import resolve_strategy
from vxdist.stats.matching import LanguageNeurons
from vxstore.evaluation import ConditionRecorder, DilemmaLabels, create_evaluation
from vxstore.identity import begun_alike, check_name, finished_alike
from vxstore.mask_file import read_masks
from vxstore.read import Store, open_store

NOT_IDENTITY = ("tokens_per_batch", "max_padding", "bootstrap_resamples", "confidence", "masks")
"""Settings that do not change what a condition's log-odds mean. What a mask file holds does, and
`selection_digest` tells that; where the file lies does not."""


def run(config: Config) -> None:
    """Score what is missing of evaluation/NAME, then measure the effects.

    Raises UserError before any model is loaded if store, scores, corpus or model will not do.
    """
    settings = config.evaluate
    launch = find_launch(config.trainer)
    resolve_strategy(config.trainer, launch)
    store = open_store(config.store)
    corpus = load_corpus(config.corpus)
    values = _values(settings, corpus)
    items = [item for item in corpus.evaluation if item.value in values]
    source = find_model(config.model)
    _check(settings, config, store, source, items)
    scores = store.scores(settings.scores)
    languages = [str(label) for label in store.root().language.values]
    selected = _selected(settings, store, scores, values, languages)
    attrs = _identity(settings, corpus, selected, values)
    group = f"evaluation/{settings.name}"
    if finished_alike(config.store, group, attrs, "evaluate.name"):
        if launch.rank == 0:
            print(f"evaluate: {group} is there already; no model work")
            if not is_measured(store, settings):
                _finish(config, values)
        return

    shape = describe_model(source)
    tokenizer = load_tokenizer(source, shape)
    questions = ask(items, tokenizer, settings, shape.max_length)
    letters = letter_tokens(tokenizer)
    if launch.rank == 0 and not begun_alike(config.store, group, attrs, "evaluate.name"):
        _create(config, scores, selected, values, languages, items, attrs)
    work = EvaluateWork(
        questions,
        lambda: ConditionRecorder(config.store, settings.name),
        letters,
        languages,
        tokens_per_batch=settings.tokens_per_batch,
        max_padding=settings.max_padding,
    )
    if _missing(config.store, settings.name) > 0:
        run_loop(work, source, config)
    if launch.rank == 0:
        _finish(config, values)


def _values(settings: EvaluateConfig, corpus: Corpus) -> list[str]:
    wanted = list(corpus.values if settings.values is None else settings.values)
    if not wanted or len(set(wanted)) < len(wanted):
        raise UserError(f"evaluate.values: {wanted} must name at least one, each once")
    for value in wanted:
        if value not in corpus.values:
            raise UserError(
                f"evaluate.values: {value!r} is not in the corpus; there are "
                f"{', '.join(corpus.values)}"
            )
    return wanted


def _check(
    settings: EvaluateConfig,
    config: Config,
    store: Store,
    source: ModelSource,
    items: list[EvaluationItem],
) -> None:
    check_name(settings.name, "evaluate.name")
    if settings.controls < 0 or settings.control_pool < 1:
        raise UserError("evaluate.controls must be 0 or more, evaluate.control_pool 1 or more")
    if not items:
        raise UserError(
            f"corpus.path: {config.corpus.path} has no evaluation dilemmas of these values; "
            "evaluate needs an evaluation.jsonl"
        )
    if source.fingerprint != store.attrs["model_fingerprint"]:
        raise UserError(
            f"{store.path} was recorded with model {store.attrs['model']}, and model.path is "
            f"{source.name}; give the same model"
        )
    if config.model.dtype != store.attrs["dtype"]:
        raise UserError(
            f"model.dtype: {store.path} was recorded in {store.attrs['dtype']}, not "
            f"{config.model.dtype}; give the same"
        )


def _selected(
    settings: EvaluateConfig,
    store: Store,
    scores: xr.Dataset,
    values: list[str],
    languages: list[str],
) -> xr.DataArray:
    """Neurons to switch off by value and language: a mask file's, if one is given, or a score's."""
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


def _identity(
    settings: EvaluateConfig, corpus: Corpus, selected: xr.DataArray, values: list[str]
) -> dict[str, Any]:
    """What an evaluation was made of; a resume must agree in all of it."""
    kept = {k: v for k, v in dataclasses.asdict(settings).items() if k not in NOT_IDENTITY}
    bits = np.packbits(selected.values).tobytes()
    return {
        "settings": {**kept, "values": values},
        "evaluation_digest": corpus.evaluation_digest(),
        "selection_digest": hashlib.sha256(bits).hexdigest(),
    }


def _create(
    config: Config,
    scores: xr.Dataset,
    selected: xr.DataArray,
    values: list[str],
    languages: list[str],
    items: list[EvaluationItem],
    attrs: dict[str, Any],
) -> None:
    settings, store = config.evaluate, open_store(config.store)
    conditions = make_conditions(values, settings.controls)
    by_language = [
        LanguageNeurons(
            selected_LNV=selected.sel(language=g).transpose("layer", "neuron", "value").values,
            activity_LN=read_activity(store, scores, g),
        )
        for g in languages
    ]
    masked_CLNG = mask_neurons(
        conditions,
        [str(label) for label in scores.value.values],
        by_language,
        pool=settings.control_pool,
        seed=settings.seed,
    )
    told = {} if settings.masks is None else {"masks": settings.masks}
    create_evaluation(
        config.store,
        settings.name,
        conditions=conditions,
        dilemmas=[DilemmaLabels(id=i.id, value=i.value, language=i.language) for i in items],
        languages=languages,
        masked_CLNG=masked_CLNG,
        attrs={**attrs, "settings": attrs["settings"] | told},
    )
    print(
        f"evaluate: {len(items)} dilemmas in both orders under {len(conditions)} conditions "
        f"(intact, {len(values)} masks, {settings.controls} controls for each)"
    )


def _missing(path: str, name: str) -> int:
    """Unsealed conditions; at least one while rank 0 is still creating the evaluation."""
    if not begun_alike(path, f"evaluation/{name}", {}, ""):
        return 1
    return int((~ConditionRecorder(path, name).sealed()).sum())


def _finish(config: Config, values: list[str]) -> None:
    """Measure the effects and mark the evaluation complete."""
    write_effects(config.store, config.evaluate)
    ConditionRecorder(config.store, config.evaluate.name).complete()
    print(f"evaluate: effects of {len(values)} masks in {config.store}")
