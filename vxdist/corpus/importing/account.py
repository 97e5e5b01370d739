"""What an import took of its source, and what it changed or left: nothing is lost silently."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vxdist.corpus.importing.rows import is_text, is_unnamed

EXCEL_CELL = 32_767
"""Largest number of characters in a cell of Excel, which cuts off the rest."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a source, and what became of it."""

    source: str
    column: str
    field: str
    """Field that it was taken for; empty if it was not used."""
    cells: int
    """Number of its cells that are not empty."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """Something that is not in the corpus as it is in the source, or may be incomplete there."""

    what: str
    cells: int
    first: str
    """Where it was first seen: FILE:LINE, or FILE:SHEET:ROW."""


def count_columns(
    rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str], source: str
) -> list[Column]:
    """All columns of a source, those taken first. `columns` is {field: column}."""
    counts: dict[str, int] = {}
    for row in rows:
        for name, cell in row.items():
            filled = cell is not None and not (is_text(cell) and not str(cell).strip())
            counts[str(name)] = counts.get(str(name), 0) + filled
    fields: dict[str, list[str]] = {}
    for field, column in columns.items():
        fields.setdefault(column, []).append(field)
    found = [
        Column(source=source, column=name, field=", ".join(fields.get(name, [])), cells=cells)
        for name, cells in counts.items()
        if cells or not is_unnamed(name)
    ]
    return sorted(found, key=lambda column: not column.field)


def describe_changes(name: str, cell: object) -> Iterable[str]:
    """What a cell loses, or may have lost, as it becomes the text of the field `name`."""
    if not isinstance(cell, str):
        return
    if cell != cell.strip():
        yield f"{name}: spaces at its ends removed"
    if len(cell) == EXCEL_CELL:
        yield f"{name}: {EXCEL_CELL:,} characters, where Excel cuts a cell; it may be incomplete"
