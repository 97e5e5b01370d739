"""Checks of evaluate's settings that need no model; `vxdist estimate` makes some of them too."""

import datetime
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from vxdist.components import make_component
from vxdist.config import Config, EvaluateConfig
from vxdist.corpus import Corpus, EvaluationItem
from vxdist.errors import UserError
from vxdist.evaluate.outcomes import OUTCOMES, Outcome
from vxdist.hooks.interventions import INTERVENTIONS, Intervention
from vxdist.model.identify import digest_model
from vxdist.model.source import ModelSource
from vxdist.output import Output
from vxdist.runtime.checks import check_batches, check_model_run
from vxstore.identity import check_name, holds_store
from vxstore.query.lookup import default_score
from vxstore.read import Store, open_store


def check_settings(config: Config, corpus: Corpus | None) -> None:
    """Raise UserError, naming the setting, if one is out of range, or names no value or component
    that there is.
    """
    settings = config.evaluate
    make_outcome(settings)
    make_intervention(settings)
    check_name(config.evaluation_name, "evaluate.name")
    check_controls(settings)
    check_asking(settings)
    check_batches("evaluate", settings.tokens_per_batch, settings.max_padding)
    if settings.seed < 0:
        raise UserError(f"evaluate.seed: {settings.seed} must be 0 or more")
    for name in ("fdr", "confidence"):
        if not 0 < getattr(settings, name) < 1:
            raise UserError(f"evaluate.{name}: {getattr(settings, name)} must be between 0 and 1")
    if settings.masks is not None and not Path(settings.masks).is_file():
        raise UserError(
            f"evaluate.masks: there is no file {settings.masks}; `vxstore export STORE "
            "NAME.mask.json` writes a mask file"
        )
    if corpus is not None:
        check_values(settings, corpus)


def check_inputs(config: Config, corpus: Corpus | None, stages: Sequence[str]) -> None:
    """Raise UserError if dilemmas, prompts, model, store or score are missing.

    `stages` are those of this run: what they will make is not looked for in the store.
    """
    assert corpus is not None
    check_model_run(config)
    items = find_items(config, corpus)
    check_dilemmas(config, len(items))
    outcome = make_outcome(config.evaluate)
    for item in items:
        outcome.prompts(item)
    if "locate" not in stages:
        store = open_store(config.store)
        check_needs(store, store.root(), make_intervention(config.evaluate))
        if "reduce" not in stages:
            store.scores(find_score(config, store))
        return
    for name in make_intervention(config.evaluate).needs:
        if name not in config.locate.statistics:
            raise UserError(
                f"evaluate.intervention: {config.evaluate.intervention} needs {name}; add it to "
                "locate.statistics, or choose another, such as zero"
            )
    _check_score(config)


def _check_score(config: Config) -> None:
    """Raise UserError if the score to ablate is neither the run's own nor in the store."""
    wanted = config.evaluate.scores
    if wanted is None or wanted == config.score_name:
        return
    known = open_store(config.store).names("scores") if holds_store(config.store) else []
    if wanted not in known:
        raise UserError(
            f"evaluate.scores: this run makes the score {config.score_name}, and {config.store} "
            f"has no score {wanted!r}; name one of these, or leave it out"
        )


def find_score(config: Config, store: Store) -> str:
    """Name of the score whose neurons are ablated. Raises StoreError if none is meant."""
    asked = config.evaluate.scores or config.reduce.name
    return asked or default_score(store, config.reduce.selector)


def find_items(config: Config, corpus: Corpus) -> list[EvaluationItem]:
    """The dilemmas to score, in the order of the corpus."""
    values = masked_values(config.evaluate, corpus)
    return [item for item in corpus.evaluation if item.value in values]


def make_outcome(settings: EvaluateConfig) -> Outcome:
    """The outcome of these settings. Raises UserError if there is none of its name."""
    outcome: Outcome = make_component(OUTCOMES, settings.outcome, settings, "evaluate.outcome")
    return outcome


def make_intervention(settings: EvaluateConfig) -> Intervention:
    """The intervention of these settings. Raises UserError if there is none of its name."""
    intervention: Intervention = make_component(
        INTERVENTIONS, settings.intervention, settings, "evaluate.intervention"
    )
    return intervention


def masked_values(settings: EvaluateConfig, corpus: Corpus) -> list[str]:
    """Values whose neurons are ablated, and whose dilemmas are scored."""
    return list(corpus.values if settings.values is None else settings.values)


def check_values(settings: EvaluateConfig, corpus: Corpus) -> list[str]:
    """The masked values. Raises UserError if there is none, or one is unknown or named twice."""
    values = masked_values(settings, corpus)
    if not values or len(set(values)) < len(values):
        raise UserError(f"evaluate.values: {values} must name at least one value, each once")
    for value in values:
        if value not in corpus.values:
            raise UserError(
                f"evaluate.values: {value!r} is not in the corpus; it has "
                f"{', '.join(corpus.values)}"
            )
    return values


def check_controls(settings: EvaluateConfig) -> None:
    """Raise UserError if the number of controls or of their candidates is out of range."""
    if settings.controls < 0:
        raise UserError(f"evaluate.controls: {settings.controls} must be 0 or more")
    if settings.control_pool < 1:
        raise UserError(f"evaluate.control_pool: {settings.control_pool} must be 1 or more")


def check_asking(settings: EvaluateConfig) -> None:
    """Raise UserError if the least mass is no probability, or the date is none."""
    if not 0 <= settings.least_mass <= 1:
        raise UserError(f"evaluate.least_mass: {settings.least_mass} must be from 0 to 1")
    if settings.date is not None:
        read_date(settings.date)


def read_date(text: str) -> datetime.date:
    """The date that evaluate.date gives. Raises UserError if it is none."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise UserError(
            f"evaluate.date: {text!r} is no date; give one such as 2026-01-31"
        ) from error


def check_dilemmas(config: Config, number: int) -> None:
    """Raise UserError if the corpus has no evaluation dilemmas of the masked values."""
    if number == 0:
        raise UserError(
            f"corpus.path: {config.corpus.path} has no evaluation dilemmas of these values; "
            "evaluate needs an evaluation.jsonl"
        )


def check_model(config: Config, store: Store, source: ModelSource, output: Output) -> None:
    """Raise UserError unless the model is the one that the store was recorded with."""
    other = source.fingerprint != store.attrs["model_fingerprint"]
    if not other and "model_digest" in store.attrs:  # earlier versions kept none
        other = digest_model(source, output.say) != store.attrs["model_digest"]
    if other:
        raise UserError(
            f"{store.path} was recorded with model {store.attrs['model']}, and model.path is "
            f"{source.name}; give the same model"
        )
    if config.model.dtype != store.attrs["dtype"]:
        raise UserError(
            f"model.dtype: {store.path} was recorded in {store.attrs['dtype']}, not "
            f"{config.model.dtype}; give the same"
        )


def check_needs(store: Store, root: xr.Dataset, intervention: Intervention) -> None:
    """Raise UserError if the intervention needs a statistic that the store does not record."""
    missing = [name for name in intervention.needs if name not in root]
    if missing:
        raise UserError(
            f"evaluate.intervention: it needs {', '.join(missing)}, which {store.path} does not "
            "record; choose another, such as zero"
        )
