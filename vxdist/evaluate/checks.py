"""Checks of evaluate's settings that need no model; `vxdist estimate` makes them too."""

from vxdist.config import Config, EvaluateConfig
from vxdist.corpus import Corpus
from vxdist.errors import UserError


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


def check_dilemmas(config: Config, number: int) -> None:
    """Raise UserError if the corpus has no evaluation dilemmas of the masked values."""
    if number == 0:
        raise UserError(
            f"corpus.path: {config.corpus.path} has no evaluation dilemmas of these values; "
            "evaluate needs an evaluation.jsonl"
        )
