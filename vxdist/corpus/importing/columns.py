"""Any table, by saying which column is what."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

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
MADE = ("id", "pair")
"""Fields that are made of the row's number where no column holds them."""


@dataclass(frozen=True, kw_only=True)
class ColumnMap:
    """Where each field of an item comes from."""

    split: str
    columns: Mapping[str, str]
    """{field: column}"""
    constants: Mapping[str, str]
    """{field: text}, of all items."""
    separator: str | None
    """Between the values of one cell."""

    def check(self) -> None:
        """Raises UserError if a field is unknown, is told twice, or is needed and told nowhere."""
        known = {f.name: f.default is MISSING for f in fields(KINDS[self.split])}
        for option, given in (("--map", self.columns), ("--set", self.constants)):
            for name in given:
                if name not in known:
                    raise UserError(
                        f"{option}: {self.split} items have no field {name!r}; they have "
                        f"{', '.join(known)}"
                    )
        told = {**self.columns, **self.constants}
        optional = {*MADE, "stance", "choice", "rationale"}
        if twice := [name for name in self.columns if name in self.constants]:
            raise UserError(f"--set {twice[0]}: --map {twice[0]} is given too; leave one of them")
        if self.split == "activation" and ("choice" in told) != ("rationale" in told):
            raise UserError("--map: a story has a choice and a rationale, or neither")
        missing = [n for n, needed in known.items() if needed and n not in {*told, *optional}]
        if missing:
            raise UserError(
                f"--map: no column for {', '.join(missing)}; add --map {missing[0]}=COLUMN, or "
                f"--set {missing[0]}=TEXT"
            )


def take(rows: Iterable[Row], how: ColumnMap, labels: Labels, into: Collected) -> None:
    """Make items of rows; a row with several values becomes an item of each.

    Raises UserError if no row has a column that is mapped.
    """
    how.check()
    found = list(rows)
    _refuse_missing(found, how)
    value_column = how.columns.get("value", "")
    # Of one dilemma in two languages one may have fewer values: their pairs match all the same.
    several = how.separator is not None or any(
        isinstance(row.get(value_column), list | tuple) for _, row in found
    )
    for number, (where, row) in enumerate(found, start=_last_number(how.split, into) + 1):
        into.rows += 1
        fields = {name: row.get(column) for name, column in how.columns.items()}
        texts = {name: as_text(cell) for name, cell in fields.items() if name != "value"}
        item = {**how.constants, **texts}
        about = item.get("dilemma", "")
        if reason := _find_fault(fields, item):
            into.drop(where, reason, about)
            continue
        item = {name: text for name, text in item.items() if text}
        values = _values(row, how)
        if not values:
            into.drop(where, "no value is named", about)
        for name in values:
            value = labels.find(name)
            if value is None:
                into.drop(where, f"unknown value {name!r}", about)
                continue
            names = _name(item, value, number, how, several=several, alone=len(values) == 1)
            _add({**item, **names, "value": value}, how.split, where, into)


def _refuse_missing(rows: Sequence[Row], how: ColumnMap) -> None:
    missing = [c for c in how.columns.values() if rows and not any(c in row for _, row in rows)]
    if missing:
        have = ", ".join(dict.fromkeys(str(name) for _, row in rows for name in row))
        raise UserError(f"{rows[0][0]}: there is no column {missing[0]!r}; there are {have}")


def _find_fault(fields: Mapping[str, object], item: Mapping[str, str]) -> str | None:
    """Why no item can be made of a row; None if one can."""
    for name, cell in fields.items():
        cells = cell if name == "value" and isinstance(cell, list | tuple) else [cell]
        if not all(map(is_text, cells)):
            return f"{name} is no text"
    empty = [name for name, text in item.items() if not text and name not in MAY_BE_EMPTY]
    if {*empty} == {"choice", "rationale"}:
        return None  # a plain text
    return f"{empty[0]} is empty" if empty else None


def _last_number(split: str, into: Collected) -> int:
    """The highest that an earlier import numbered a row of this split with; 0 if there is none."""
    items = into.activation if split == "activation" else into.evaluation
    made = (re.match(rf"{split[0]}(\d+)-", item.pair) for item in items)
    return max((int(found[1]) for found in made if found), default=0)


def _values(row: Mapping[str, Any], how: ColumnMap) -> list[str]:
    if "value" in how.constants:
        return [how.constants["value"]]
    cell = row.get(how.columns["value"])
    names = cell if isinstance(cell, list | tuple) else [cell]
    texts = [as_text(name) for name in names]
    if how.separator:
        texts = [part for text in texts for part in text.split(how.separator)]
    return list(dict.fromkeys(text.strip() for text in texts if text.strip()))


def _name(
    item: Mapping[str, str], value: str, number: int, how: ColumnMap, *, several: bool, alone: bool
) -> dict[str, str]:
    """The id and pair of an item.

    `several`: rows may have several values, so that pairs differ by the value; `alone`: this row
    has one.
    """
    base = item.get("pair") or item.get("id") or f"{how.split[0]}{number}"
    pair = f"{base}-{value}" if several or "pair" not in item else base
    if "id" in item:
        return {"id": item["id"] if alone else f"{item['id']}-{value}", "pair": pair}
    words = [pair, item["language"]]
    if how.split == "activation":
        words.append(item.get("stance", STANCES[0]))
    return {"id": "-".join(words), "pair": pair}


def _add(fields: dict[str, str], split: str, where: str, into: Collected) -> None:
    if split == "activation":
        into.add_story(ActivationItem(**{"stance": STANCES[0], **fields}), where)
    else:
        into.add_dilemma(EvaluationItem(**fields), where)


def parse_pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    """NAME=TEXT pairs. Raises UserError if one is none."""
    return dict(_pairs(option, texts))


def _pairs(option: str, texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        name, equals, rest = text.partition("=")
        if not equals or not name or not rest:
            raise UserError(f"{option}: found {text!r}, expected FIELD=NAME")
        yield name, rest
