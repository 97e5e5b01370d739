"""Findings and tables: the results of a check."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
"""By severity: makes results wrong, weakens them, worth knowing."""
Kind = Literal[
    "schema", "label", "leakage", "cue", "length", "setting", "stance", "drift", "pair", "variety",
    "token", "duplicate", "language",
]  # fmt: skip
KINDS: tuple[Kind, ...] = (
    "schema", "label", "leakage", "cue", "length", "setting", "stance", "drift", "pair", "variety",
    "token", "duplicate", "language",
)  # fmt: skip
"""By importance: what affects all results comes before what affects one item."""

Element = TypeVar("Element")


class Track(Protocol):
    """Iterates over elements and reports progress; `unit` is what the elements are called."""

    def __call__(self, elements: Sequence[Element], title: str, unit: str) -> Iterable[Element]: ...


def untracked(elements: Sequence[Element], title: str, unit: str) -> Iterable[Element]:
    """Iterates without reporting progress."""
    return elements


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding, with the items it concerns."""

    level: Level
    kind: Kind
    message: str
    weight: float = 0.0
    """Findings of the same level and kind are sorted by this, largest first."""
    items: Sequence[str] = ()
    """Item ids, or FILE:LINE."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Figures computed by a check; `name` is their key in the JSON output."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    shown: tuple[Sequence[str], Sequence[Sequence[Any]]] | None = None
    """Columns and rows to print, if they differ from those of the JSON output."""


def show(number: float | None, form: str = ".1f") -> str:
    """A figure of a table, or "-" where there is none."""
    return "-" if number is None else f"{number:{form}}"


def side_by_side(
    cells: Iterable[tuple[str, str, str]], corner: str
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Columns and rows of (row, column, text); `corner` heads the names of the rows."""
    table: dict[str, dict[str, str]] = {}
    for row, column, text in cells:
        table.setdefault(row, {})[column] = text
    names = [*dict.fromkeys(name for row in table.values() for name in row)]
    return (corner, *names), [
        (row, *(of.get(name, "-") for name in names)) for row, of in table.items()
    ]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The result of one check."""

    findings: Sequence[Finding] = ()
    tables: Sequence[Table] = ()


def rank(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings by level, then by kind, then by weight."""

    def key(finding: Finding) -> tuple[int, int, float]:
        return LEVELS.index(finding.level), KINDS.index(finding.kind), -finding.weight

    return sorted(findings, key=key)
