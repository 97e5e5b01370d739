"""Importing any table, given a mapping from its columns to fields."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vxdist.corpus.importing.account import count_columns, describe_changes
from vxdist.corpus.importing.collect import Collected
from vxdist.corpus.importing.labels import Labels
from vxdist.corpus.importing.mapping import ColumnMap
from vxdist.corpus.importing.rows import Row, as_text, is_text
from vxdist.corpus.items import STANCES, ActivationItem, EvaluationItem
from vxdist.corpus.lines import MAY_BE_EMPTY
from vxdist.errors import UserError


def import_rows(
    rows: Iterable[Row], mapping: ColumnMap, labels: Labels, collected: Collected
) -> None:
    """Convert rows to items; a row with several values becomes one item per value.

    Raises UserError if a mapped column is in no row.
    """
    table = list(rows)
    mapping = mapping.complete([*dict.fromkeys(str(name) for _, row in table for name in row)])
    mapping.check()
    _check_columns(table, mapping)
    collected.columns += count_columns((row for _, row in table), mapping.columns, mapping.source)
    value_column = mapping.columns.get("value", "")
    # Decided for the whole table, so that pairs match even if one language names fewer values.
    several = mapping.separator is not None or any(
        isinstance(row.get(value_column), list | tuple) for _, row in table
    )
    for number, (where, row) in enumerate(table, start=_last_number(mapping.split, collected) + 1):
        collected.rows += 1
        _import_row(row, where, number, mapping, labels, collected, several=several)


def _import_row(
    row: Mapping[str, Any],
    where: str,
    number: int,
    mapping: ColumnMap,
    labels: Labels,
    collected: Collected,
    *,
    several: bool,
) -> None:
    """Add the items of one row. `several`: rows of the table may have several values."""
    fields = {name: row.get(column) for name, column in mapping.columns.items()}
    texts = {name: as_text(cell) for name, cell in fields.items() if name != "value"}
    item = {**mapping.constants, **texts}
    dilemma = item.get("dilemma", "")
    if reason := _find_fault(fields, item):
        collected.drop(where, reason, dilemma)
        return
    for what in (w for name, cell in fields.items() for w in describe_changes(name, cell)):
        collected.change(where, what)
    item = {name: text for name, text in item.items() if text}
    values = _values(row, mapping)
    if not values:
        collected.drop(where, "no value", dilemma)
    for name in values:
        value = labels.find(name)
        if value is None:
            collected.drop(where, f"unknown value {name!r}", dilemma)
            continue
        if value != name:
            collected.change(where, f"value {name!r} is called {value!r}")
        names = _name(item, value, number, mapping, several=several, alone=len(values) == 1)
        _add({**item, **names, "value": value}, mapping.split, where, collected)


def _check_columns(rows: Sequence[Row], mapping: ColumnMap) -> None:
    missing = [c for c in mapping.columns.values() if rows and not any(c in row for _, row in rows)]
    if missing:
        known = ", ".join(dict.fromkeys(str(name) for _, row in rows for name in row))
        raise UserError(f"{rows[0][0]}: no column {missing[0]!r}; the columns are {known}")


def _find_fault(fields: Mapping[str, object], item: Mapping[str, str]) -> str | None:
    """Why a row cannot become an item; None if it can."""
    for name, cell in fields.items():
        cells = cell if name == "value" and isinstance(cell, list | tuple) else [cell]
        if not all(map(is_text, cells)):
            return f"{name} is not text"
    empty = [name for name, text in item.items() if not text and name not in MAY_BE_EMPTY]
    if {*empty} == {"choice", "rationale"}:
        return None  # a plain text
    return f"{empty[0]} is empty" if empty else None


def _last_number(split: str, collected: Collected) -> int:
    """The highest row number in the generated pairs of a split; 0 if there are none."""
    items = collected.activation if split == "activation" else collected.evaluation
    matches = (re.match(rf"{split[0]}(\d+)-", item.pair) for item in items)
    return max((int(match[1]) for match in matches if match), default=0)


def _values(row: Mapping[str, Any], mapping: ColumnMap) -> list[str]:
    if "value" in mapping.constants:
        return [mapping.constants["value"]]
    cell = row.get(mapping.columns["value"])
    names = cell if isinstance(cell, list | tuple) else [cell]
    texts = [as_text(name) for name in names]
    if mapping.separator:
        texts = [part for text in texts for part in text.split(mapping.separator)]
    return list(dict.fromkeys(text.strip() for text in texts if text.strip()))


def _name(
    item: Mapping[str, str],
    value: str,
    number: int,
    mapping: ColumnMap,
    *,
    several: bool,
    alone: bool,
) -> dict[str, str]:
    """The id and pair of an item.

    `several`: rows of the table may have several values, so each pair includes the value.
    `alone`: this row has a single value.
    """
    base = item.get("pair") or item.get("id") or f"{mapping.split[0]}{number}"
    pair = f"{base}-{value}" if several or "pair" not in item else base
    if "id" in item:
        return {"id": item["id"] if alone else f"{item['id']}-{value}", "pair": pair}
    words = [pair, item["language"]]
    if mapping.split == "activation":
        words.append(item.get("stance", STANCES[0]))
    return {"id": "-".join(words), "pair": pair}


def _add(fields: dict[str, str], split: str, where: str, collected: Collected) -> None:
    if split == "activation":
        collected.add_story(ActivationItem(**{"stance": STANCES[0], **fields}), where)
    else:
        collected.add_dilemma(EvaluationItem(**fields), where)
