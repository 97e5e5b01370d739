"""What a check found."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
"""In order of weight: what makes results wrong, what weakens them, what is good to know."""
Kind = Literal["schema", "leakage", "cue", "length", "pair", "variety", "duplicate", "language"]
KINDS: tuple[Kind, ...] = (
    "schema", "leakage", "cue", "length", "pair", "variety", "duplicate", "language",
)  # fmt: skip
"""In order of weight too: what touches all results comes before what touches one item."""


Thing = TypeVar("Thing")


class Watch(Protocol):
    """Gives things one by one, and tells how far it is; `unit` is what they are called."""

    def __call__(self, things: Sequence[Thing], title: str, unit: str) -> Iterable[Thing]: ...


def unwatched(things: Sequence[Thing], title: str, unit: str) -> Iterable[Thing]:
    """Tells nothing."""
    return things


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing found, of a kind, with the items it concerns."""

    level: Level
    kind: Kind
    what: str
    weight: float = 0.0
    """Among findings of one level and kind, the larger comes first."""
    items: Sequence[str] = ()
    """Ids of items, or FILE:LINE."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Figures that a check found; `name` is their key in JSON."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    shown: tuple[Sequence[str], Sequence[Sequence[Any]]] | None = None
    """Columns and rows for people, where they are told otherwise."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What one check has to say."""

    findings: Sequence[Finding] = ()
    tables: Sequence[Table] = ()


def rank(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first; within a level, kind by kind, the weightiest first."""

    def place(found: Finding) -> tuple[int, int, float]:
        return LEVELS.index(found.level), KINDS.index(found.kind), -found.weight

    return sorted(findings, key=place)
