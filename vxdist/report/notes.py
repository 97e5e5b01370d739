"""What selectors, outcomes and interventions say for themselves on the page.

A selector or an outcome that the tables of `sections` do not list is described by what it declares
in the store.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name

from vxdist.report.content import Content
from vxdist.report.elements import Caveat, Tile
from vxdist.report.sections import OUTCOME_NOTES, SELECTOR_NOTES


@dataclass(frozen=True, kw_only=True)
class SelectorNotes:
    """`reason` completes "461 neurons were selected ..."; `ranking` explains the number that ranks;
    `thresholds` are one phrase for each language."""

    reason: str
    ranking: str
    thresholds: tuple[str, ...] = ()
    tiles: tuple[Tile, ...] = ()
    caveats: tuple[Caveat, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OutcomeNotes:
    """`reading` says what a shift below zero means; `warning` is a paragraph at the head of the
    page, if there is something to warn of."""

    reading: str = ""
    warning: str = ""
    tiles: tuple[Tile, ...] = ()
    caveats: tuple[Caveat, ...] = ()


def selector_notes(content: Content) -> SelectorNotes:
    """What the selector of the score says, or what the score declares."""
    selector = content.score.selector
    if selector is None or selector not in SELECTOR_NOTES:
        return _declared(content)
    make: Callable[[Content], SelectorNotes] = resolve_name(SELECTOR_NOTES[selector])
    return make(content)


def outcome_notes(content: Content) -> OutcomeNotes:
    """What the outcome of the evaluation says; nothing without an evaluation."""
    if content.evaluation is None or content.evaluation.outcome not in OUTCOME_NOTES:
        return OutcomeNotes()
    make: Callable[[Content], OutcomeNotes] = resolve_name(
        OUTCOME_NOTES[content.evaluation.outcome]
    )
    return make(content)


def _declared(content: Content) -> SelectorNotes:
    score = content.score
    units = f", in {score.units}" if score.units else ""
    of_languages = []
    for selection in score.selections:
        numbers = [
            f"{name.replace('_', ' ')} {number:.6g}"
            for name, number in selection.thresholds.items()
            if isinstance(number, int | float)
        ]
        if numbers:
            of_languages.append(f"{selection.language}: {', '.join(numbers)}")
    return SelectorNotes(
        reason=(
            f"by the score {score.name}, which ranks neurons by {score.title}, "
            f"{score.ranking.first} first"
        ),
        ranking=f"{score.title} is the {score.long_name}{units}",
        thresholds=tuple(of_languages),
        caveats=_without_number(content),
    )


def _without_number(content: Content) -> tuple[Caveat, ...]:
    selections = content.score.selections
    if not any(s.unscored_count for s in selections):
        return ()
    text = (
        f"Some of the {content.recording.total_neurons:,} neurons have no "
        f"{content.score.title}, and could not be ranked."
    )
    rows = tuple((s.language, f"{s.unscored_count:,}") for s in selections)
    return (Caveat(title="Neurons that were not ranked", text=text, head=("Neurons",), rows=rows),)
