"""Answers in the model's own words, intact and ablated, side by side and folded."""

from dataclasses import dataclass

from vxdist.report.content import Content
from vxdist.report.elements import Name, Section


@dataclass(frozen=True, kw_only=True)
class AnswersRow:
    """The answers to one dilemma, as (condition, answer)."""

    dilemma: str
    language: str
    answers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class AnswersView:
    """The dilemmas of each value."""

    groups: tuple[tuple[Name, tuple[AnswersRow, ...]], ...]


def make_section(content: Content) -> Section | None:
    """The answers, by value; None if the store keeps none."""
    if not content.answers:
        return None
    values = dict.fromkeys(of.value for of in content.answers)
    groups = tuple(
        (
            content.name(value),
            tuple(
                AnswersRow(dilemma=of.dilemma, language=of.language, answers=of.answers)
                for of in content.answers
                if of.value == value
            ),
        )
        for value in values
    )
    return Section(title="Answers", view=AnswersView(groups=groups))
