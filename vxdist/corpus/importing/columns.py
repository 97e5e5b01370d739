"""Importing any table, given a mapping from its columns to fields."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

from vxdist.corpus.importing.account import count_columns, describe_changes
from vxdist.corpus.importing.collect import Collected
from vxdist.corpus.importing.labels import Labels
from vxdist.corpus.importing.rows import Row, as_text, is_text
from vxdist.corpus.items import STANCES, ActivationItem, EvaluationItem
from vxdist.corpus.lines import MAY_BE_EMPTY
from vxdist.errors import UserError

KINDS: Mapping[str, type[ActivationItem] | type[EvaluationItem]] = {
    "activation": ActivationItem,
    "evaluation": EvaluationItem,
}
GENERATED = ("id", "pair")
"""Fields that are derived from the row number if no column is mapped to them."""


@dataclass(frozen=True, kw_only=True)
class ColumnMap:
    """Where each field of an item comes from."""

    split: str
    columns: Mapping[str, str]
    """{field: column}"""
    constants: Mapping[str, str]
    """{field: text}, the same for all items."""
    separator: str | None
    """Separates several values in one cell."""
    left_out: Sequence[str] = ()
    """Columns not to take, although they have a field's name."""
    source: str = ""
    """What the columns are of, for the log."""
    take_named: bool = False
    """Whether a column with a field's name is taken for that field."""

    @property
    def wanted(self) -> list[str]:
        """Columns that must not occur twice."""
        named = [f.name for f in fields(KINDS[self.split])] if self.take_named else []
        free = [n for n in named if n not in (*self.columns, *self.constants, *self.left_out)]
        return [*dict.fromkeys([*self.columns.values(), *free])]

    def complete(self, columns: Sequence[str]) -> "ColumnMap":
        """With the columns that have the name of a field, in any case, taken for that field.

        Raises UserError if two columns have the name of one field, or a story would have a choice
        without a rationale.
        """
        for name in self.left_out:
            if columns and name not in columns:
                known = ", ".join(columns)
                raise UserError(f"--leave-out: no column {name!r}; the columns are {known}")
        if not self.take_named:
            return self
        taken = dict(self.columns)
        for name in (f.name for f in fields(KINDS[self.split])):
            if name not in self.columns and name not in self.constants:
                free = [c for c in columns if c not in (*self.columns.values(), *self.left_out)]
                found = _find_named(name, free)
                taken |= {name: found} if found is not None else {}
        _check_story(self, taken)
        return replace(self, columns=taken)

    def check_names(self) -> None:
        """Raise UserError if a field is unknown or given twice."""
        known = [f.name for f in fields(KINDS[self.split])]
        for option, given in (("--map", self.columns), ("--set", self.constants)):
            for name in given:
                if name not in known:
                    raise UserError(
                        f"{option}: {self.split} items have no field {name!r}, expected one of "
                        f"{', '.join(known)}"
                    )
        if both := [name for name in self.columns if name in self.constants]:
            raise UserError(f"--set {both[0]}: --map {both[0]} is given too; remove one of them")

    def check(self) -> None:
        """Raise UserError if a field is unknown, given twice, or required and not given."""
        self.check_names()
        known = {f.name: f.default is MISSING for f in fields(KINDS[self.split])}
        given_fields = {**self.columns, **self.constants}
        optional = {*GENERATED, "stance", "choice", "rationale"}
        _check_story(self, given_fields)
        supplied = {*given_fields, *optional}
        missing = [name for name, required in known.items() if required and name not in supplied]
        if missing:
            raise UserError(
                f"--map: no column for {', '.join(missing)}; add --map {missing[0]}=COLUMN, or "
                f"--set {missing[0]}=TEXT"
            )


def _find_named(name: str, columns: Sequence[str]) -> str | None:
    """The column that has the name of a field. Raises UserError if several do, but for case."""
    if name in columns:
        return name
    found = [column for column in columns if column.strip().casefold() == name]
    if len(found) > 1:
        raise UserError(
            f"--map: {name} may be the column {' or '.join(map(repr, found))}; add --map "
            f"{name}={found[0]}"
        )
    return found[0] if found else None


def _check_story(mapping: ColumnMap, given: Mapping[str, str]) -> None:
    """Raise UserError if stories are given a choice, but no rationale, or the other way round."""
    halves = [name for name in ("choice", "rationale") if name in given]
    if mapping.split != "activation" or len(halves) != 1:
        return
    hint = ""
    if halves[0] not in (*mapping.columns, *mapping.constants):
        hint = (
            f"; the column {given[halves[0]]!r} is taken for {halves[0]}: add --map for the other, "
            f"or --leave-out {given[halves[0]]!r} for plain texts"
        )
    raise UserError(f"--map: a story needs both choice and rationale, or neither{hint}")


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


def parse_pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    """Parse FIELD=NAME options. Raises UserError naming one that is not of this form."""
    return dict(_pairs(option, texts))


def _pairs(option: str, texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        name, equals, rest = text.partition("=")
        if not equals or not name or not rest:
            raise UserError(f"{option}: found {text!r}, expected FIELD=NAME")
        yield name, rest
