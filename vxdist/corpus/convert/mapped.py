"""Any table, by saying which column is what."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from vxdist.corpus.convert.collect import Collected, Labels
from vxdist.corpus.convert.rows import Row, as_text
from vxdist.corpus.items import STANCES, ActivationItem, EvaluationItem
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
        """Raises UserError if a field is unknown, or one that is needed comes from nowhere."""
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
        missing = [n for n, needed in known.items() if needed and n not in {*told, *optional}]
        if missing:
            raise UserError(
                f"--map: no column for {', '.join(missing)}; add --map {missing[0]}=COLUMN, or "
                f"--set {missing[0]}=TEXT"
            )


def take(rows: Iterable[Row], how: ColumnMap, labels: Labels | None, into: Collected) -> None:
    """Make items of rows; a row with several values becomes an item of each.

    Raises UserError if a column is not there.
    """
    how.check()
    for number, (where, row) in enumerate(rows, start=_last_number(how.split, into) + 1):
        into.rows += 1
        for column in how.columns.values():
            if column not in row:
                have = ", ".join(map(str, row))
                raise UserError(f"{where}: there is no column {column!r}; there are {have}")
        found = {name: as_text(row[column]) for name, column in how.columns.items()}
        item = {**how.constants, **{n: t for n, t in found.items() if n != "value"}}
        values = _values(row, how)
        empty = [n for n, text in item.items() if not text and n not in ("setting", "rival")]
        if empty:
            into.drop(where, f"{empty[0]} is empty", str(item.get("dilemma", "")))
            continue
        if not values:
            into.drop(where, "no value is named", item.get("dilemma", ""))
        for name in values:
            value = name if labels is None else labels.find(name)
            if value is None:
                into.drop(where, f"unknown value {name!r}", item.get("dilemma", ""))
                continue
            _add(item, value, number, where, how, into, several=len(values) > 1)


def _last_number(split: str, into: Collected) -> int:
    """The highest that an earlier import numbered a row of this split with; 0 if there is none."""
    items = into.activation if split == "activation" else into.evaluation
    made = (re.match(rf"{split[0]}(\d+)-", item.pair) for item in items)
    return max((int(found[1]) for found in made if found), default=0)


def _values(row: Mapping[str, Any], how: ColumnMap) -> list[str]:
    if "value" in how.constants:
        return [how.constants["value"]]
    cell = row[how.columns["value"]]
    names = cell if isinstance(cell, list | tuple) else [cell]
    texts = [as_text(name) for name in names]
    if how.separator:
        texts = [part for text in texts for part in text.split(how.separator)]
    return list(dict.fromkeys(text.strip() for text in texts if text.strip()))


def _add(
    item: Mapping[str, str], value: str, number: int, where: str, how: ColumnMap, into: Collected,
    *, several: bool,
) -> None:  # fmt: skip
    """`several`: the row has other values too, so that its names must differ by the value."""
    base = item.get("pair") or item.get("id") or f"{how.split[0]}{number}"
    pair = f"{base}-{value}" if several or "pair" not in item else base
    if how.split == "activation":
        stance = item.get("stance", STANCES[0])
        if stance not in STANCES:
            into.drop(where, f"unknown stance {stance!r}", item["dilemma"])
            return
        name = f"{pair}-{item['language']}-{stance}"
        made = {**item, "id": name, "pair": pair, "value": value, "stance": stance}
        if ("choice" in made) != ("rationale" in made):
            raise UserError("--map: a story has a choice and a rationale, or neither")
        into.add_story(ActivationItem(**made), where)
    else:
        made = {**item, "id": f"{pair}-{item['language']}", "pair": pair, "value": value}
        into.add_dilemma(EvaluationItem(**made), where)


def parse_pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    """NAME=TEXT pairs. Raises UserError if one is none."""
    return dict(_pairs(option, texts))


def _pairs(option: str, texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        name, equals, rest = text.partition("=")
        if not equals or not name or not rest:
            raise UserError(f"{option}: found {text!r}, expected FIELD=NAME")
        yield name, rest
