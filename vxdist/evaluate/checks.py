"""Checks of evaluate's settings that need no model; `vxdist estimate` makes them too."""

import datetime

import xarray as xr

from vxdist.config import Config, EvaluateConfig
from vxdist.corpus import Corpus
from vxdist.errors import UserError
from vxdist.hooks.interventions import Intervention
from vxdist.model.source import ModelSource
from vxstore.read import Store


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


def check_model(config: Config, store: Store, source: ModelSource) -> None:
    """Raise UserError unless the model is the one that the store was recorded with."""
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


def check_needs(store: Store, root: xr.Dataset, intervention: Intervention) -> None:
    """Raise UserError if the intervention needs a statistic that the store does not record."""
    missing = [name for name in intervention.needs if name not in root]
    if missing:
        raise UserError(
            f"evaluate.intervention: it needs {', '.join(missing)}, which {store.path} does not "
            "record; choose another, such as zero"
        )
