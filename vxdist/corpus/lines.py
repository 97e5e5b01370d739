"""Reading one file of a corpus, strictly; every fault in it is told, not the first only."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from vxdist.corpus.encoding import SETTING, Undecodable, decode, has_half_pair
from vxdist.corpus.items import STANCES, ActivationItem, EvaluationItem
from vxdist.errors import UserError
from vxstore.schema import POOLED

Item = TypeVar("Item", ActivationItem, EvaluationItem)
MAY_BE_EMPTY = ("setting", "rival")
MOST_SHOWN = 20
"""Faults that an error tells one by one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong, and where: FILE:LINE, or a file or folder."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileOfItems(Generic[Item]):
    """The lawful items of a file in order, the line each is in, and the faults of the others."""

    file: Path
    items: Sequence[Item]
    lines: Sequence[int]
    faults: Sequence[Fault]


class Faulty(Exception):
    """One line of a file will not do."""


def refuse(faults: Sequence[Fault]) -> None:
    """Raise UserError if there are faults, with a line for each."""
    if len(faults) == 1:
        raise UserError(str(faults[0]))
    if faults:
        shown = [str(fault) for fault in faults[:MOST_SHOWN]]
        more = len(faults) - len(shown)
        rest = [f"and {more:,} more; `vxdist corpus check` lists all"] if more else []
        raise UserError("\n  ".join([f"the corpus has {len(faults):,} faults", *shown, *rest]))


def read_file(file: Path, kind: type[Item], encoding: str) -> FileOfItems[Item]:
    """All items of one file; a file that is not there, or not text, is a fault too."""
    items: list[Item] = []
    numbers: list[int] = []
    faults: list[Fault] = []
    claims = Claims()
    for number, raw in _lines(read_text(file, encoding, faults)):
        try:
            item = _parse(raw, kind)
            claims.claim(item, f"line {number}")
        except Faulty as error:
            faults.append(Fault(where=f"{file}:{number}", what=str(error)))
        else:
            items.append(item)
            numbers.append(number)
    return FileOfItems(file=file, items=items, lines=numbers, faults=faults)


def read_text(file: Path, encoding: str, faults: list[Fault]) -> str:
    """Text of a file of a corpus; empty, with a fault more, if there is none in this encoding."""
    try:
        return decode(file.read_bytes(), encoding, SETTING)
    except FileNotFoundError:
        faults.append(Fault(where=str(file), what="is missing"))
    except IsADirectoryError:
        faults.append(Fault(where=str(file), what="is a folder, expected a file"))
    except Undecodable as error:
        faults.append(Fault(where=f"{file}:{error.line}", what=error.what))
    return ""


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # Not splitlines(): U+2028 and its like are lawful inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


class Claims:
    """What only one item of a split may have, and where the one stands that has it."""

    def __init__(self) -> None:
        self._id: dict[str, str] = {}
        self._story: dict[tuple[str, ...], str] = {}
        self._value: dict[str, tuple[str, str]] = {}

    def claim(self, item: ActivationItem | EvaluationItem, place: str) -> None:
        """Raises Faulty if another has it."""
        if item.id in self._id:
            raise Faulty(
                f"id {item.id!r} stands already in {self._id[item.id]}; each must be unique"
            )
        story = (item.pair, item.language, getattr(item, "stance", ""))
        if story in self._story:
            raise Faulty(
                f"pair, language and stance {story} stands already in {self._story[story]}; "
                "each must be unique"
            )
        value, first = self._value.setdefault(item.pair, (item.value, place))
        if value != item.value:
            raise Faulty(
                f"pair {item.pair!r} has value {item.value!r}, but {value!r} in {first}; the "
                "languages of one dilemma share a value"
            )
        self._id[item.id] = self._story[story] = place

    def find_value(self, pair: str) -> str | None:
        """The value of a pair; None if no item of it was claimed yet."""
        return self._value[pair][0] if pair in self._value else None


def check_item(item: ActivationItem | EvaluationItem) -> None:
    """Raises Faulty if a corpus file with this item in it would be refused."""
    fields = {name: text for name, text in dataclasses.asdict(item).items() if text}
    if wrong := [*_wrong_fields(fields, type(item))]:
        raise Faulty("; ".join(wrong))


def _parse(raw: str, kind: type[Item]) -> Item:
    try:
        fields: Any = json.loads(raw, object_pairs_hook=_unite)
    except json.JSONDecodeError as error:
        raise Faulty(f"not JSON: {error.msg} at column {error.colno}") from error
    except ValueError as error:  # a number of thousands of digits
        raise Faulty(f"not JSON that can be read: {error}") from error
    except RecursionError as error:
        raise Faulty("nested too deeply; expected a flat JSON object") from error
    if not isinstance(fields, dict):
        raise Faulty(f"found {type(fields).__name__}, expected a JSON object")
    wrong = [*_wrong_fields(fields, kind)]
    if wrong:
        raise Faulty("; ".join(wrong))
    return kind(**fields)


def _unite(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if twice := find_doubled([name for name, _ in pairs]):
        raise Faulty(f"field {twice[0]!r} stands twice")
    return dict(pairs)


def find_doubled(names: Sequence[str]) -> list[str]:
    """Names that stand more than once, in order."""
    if len(set(names)) == len(names):
        return []
    return [name for name, times in Counter(names).items() if times > 1]


def _wrong_fields(fields: dict[str, Any], kind: type[Any]) -> Iterator[str]:
    """What is wrong with the fields of one line."""
    known = {f.name: f.default is dataclasses.MISSING for f in dataclasses.fields(kind)}
    for name, required in known.items():
        if required and name not in fields:
            yield f"field {name!r} is missing"
    for name, text in fields.items():
        if name not in known:
            yield f"unknown field {name!r}; known are {', '.join(known)}"
        elif not isinstance(text, str):
            yield f"{name!r} is {type(text).__name__}, expected a string"
        elif has_half_pair(text):
            yield f"{name!r} holds half of a surrogate pair, which is no text"
        elif not text.strip() and name not in MAY_BE_EMPTY:
            yield f"{name!r} is empty"
    if kind is ActivationItem and ("choice" in fields) != ("rationale" in fields):
        missing = "rationale" if "choice" in fields else "choice"
        yield f"field {missing!r} is missing; a story has a choice and a rationale, or neither"
    stance = fields.get("stance")
    if kind is ActivationItem and isinstance(stance, str) and stance not in STANCES:
        yield f"unknown stance {stance!r}; expected {' or '.join(STANCES)}"
    if fields.get("language") == POOLED:
        yield f"language {POOLED!r} is taken for all languages together"


def find_incomplete(folder: str, items: Sequence[ActivationItem]) -> Iterator[Fault]:
    """Values without stories in one of the languages."""
    languages = dict.fromkeys(item.language for item in items)
    have = Counter((item.value, item.language) for item in items)
    for value in dict.fromkeys(item.value for item in items):
        for language in languages:
            if not have[value, language]:
                yield Fault(
                    where=folder,
                    what=f"value {value!r} has no stories in language {language!r}; every value "
                    f"needs all of {', '.join(languages)}",
                )


def find_unknown(
    evaluation: FileOfItems[EvaluationItem], activation: Sequence[ActivationItem]
) -> Iterator[Fault]:
    """Dilemmas of a value or language that has no stories: they would never be looked at."""
    for key in ("value", "language"):
        known = {getattr(item, key) for item in activation}
        for item, line in zip(evaluation.items, evaluation.lines, strict=True):
            if known and getattr(item, key) not in known:
                yield Fault(
                    where=f"{evaluation.file}:{line}",
                    what=f"{item.id} has {key} {getattr(item, key)!r}, which has no stories in "
                    f"activation.jsonl; there are {', '.join(sorted(known))}",
                )
