"""The answers that the store keeps in the model's own words, beside the evaluation shown."""

from dataclasses import dataclass

from vxstore.query.answers import answers, names_with_answers
from vxstore.query.lookup import get_attrs
from vxstore.read import Store

ALIKE = ("selection_digest", "intervention")
"""Attributes in which the evaluation with the answers must be like the one shown."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The answers to one dilemma: by the intact model, under the mask of the dilemma's value, and
    under control draws of that mask, as (condition, answer)."""

    dilemma: str
    value: str
    language: str
    answers: tuple[tuple[str, str], ...]


def read_answers(store: Store, evaluation: str | None) -> tuple[Answered, ...]:
    """The answers with the neurons of an evaluation; none if there are none, or no evaluation."""
    if evaluation is None:
        return ()
    shown = get_attrs(store, f"evaluation/{evaluation}")
    for name in names_with_answers(store):
        attrs = get_attrs(store, f"evaluation/{name}")
        if all(attrs.get(key) == shown.get(key) for key in ALIKE):
            return tuple(_read(store, name))
    return ()


def _read(store: Store, name: str) -> list[Answered]:
    found = answers(store, name)
    own = found[(found["mask"] == "") | (found["mask"] == found["value"])]
    keys = ["id", "value", "language"]
    return [
        Answered(
            dilemma=str(dilemma),
            value=str(value),
            language=str(language),
            answers=tuple(of[["condition", "answer"]].itertuples(index=False, name=None)),
        )
        for (dilemma, value, language), of in own.groupby(keys, sort=False)
    ]
