"""Reading one corpus file strictly, reporting every fault in it rather than only the first."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from vxdist.corpus.encoding import SETTING, Undecodable, decode, has_lone_surrogate, read_bounded
from vxdist.corpus.items import STANCES, ActivationItem, AnyItem, EvaluationItem, NeutralItem
from vxdist.errors import UserError
from vxstore.schema import POOLED

Item = TypeVar("Item", ActivationItem, EvaluationItem)
Line = TypeVar("Line", ActivationItem, EvaluationItem, NeutralItem)
MAY_BE_EMPTY = ("setting", "rival")
MOST_SHOWN = 20
"""Number of faults that an error message lists."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong, and where: FILE:LINE, a file or a directory."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileOfItems(Generic[Line]):
    """The valid items of a file in order, their line numbers, and the faults of the other lines."""

    file: Path
    items: Sequence[Line]
    lines: Sequence[int]
    faults: Sequence[Fault]


class InvalidItem(Exception):
    """A line of a file, or an item, is invalid."""


def refuse(faults: Sequence[Fault]) -> None:
    """Raise UserError if there are faults, with a line for each."""
    refuse_messages(
        [str(fault) for fault in faults],
        f"the corpus has {len(faults):,} faults",
        hint="; `vxdist corpus check` lists all",
    )


def refuse_messages(faults: Sequence[str], title: str, hint: str = "") -> None:
    """Raise UserError if there are faults: one alone is the message, several follow `title`.

    `hint` follows the number of faults that are not listed.
    """
    if len(faults) == 1:
        raise UserError(faults[0])
    if faults:
        more = len(faults) - MOST_SHOWN
        rest = [f"and {more:,} more{hint}"] if more > 0 else []
        raise UserError("\n  ".join([title, *faults[:MOST_SHOWN], *rest]))


def read_file(file: Path, kind: type[Line], encoding: str) -> FileOfItems[Line]:
    """Read all items of one file; a missing or undecodable file is a fault too."""
    items: list[Line] = []
    numbers: list[int] = []
    faults: list[Fault] = []
    claims = Claims()
    for number, raw in _lines(read_text(file, encoding, faults)):
        try:
            item = _parse(raw, kind)
            claims.claim(item, f"on line {number}")
        except InvalidItem as error:
            faults.append(Fault(where=f"{file}:{number}", message=str(error)))
        else:
            items.append(item)
            numbers.append(number)
    return FileOfItems(file=file, items=items, lines=numbers, faults=faults)


def read_text(file: Path, encoding: str, faults: list[Fault]) -> str:
    """Text of a corpus file; if it cannot be read, add a fault and return the empty text."""
    try:
        return decode(read_bounded(file), encoding, SETTING)
    except FileNotFoundError:
        faults.append(Fault(where=str(file), message="is missing"))
    except IsADirectoryError:
        faults.append(Fault(where=str(file), message="is a directory, expected a file"))
    except Undecodable as error:
        faults.append(Fault(where=f"{file}:{error.line}", message=error.message))
    return ""


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # Not splitlines(): U+2028 and similar characters are valid inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


class Claims:
    """The names that must be unique within a split, and where each was first seen."""

    def __init__(self) -> None:
        self._id: dict[str, str] = {}
        self._story: dict[tuple[str, ...], str] = {}
        self._value: dict[str, tuple[str, str]] = {}

    def claim(self, item: AnyItem, place: str) -> None:
        """Register an item found at `place`, such as "on line 3".

        Raises InvalidItem if another item has its names, or its pair has another value.
        """
        if item.id in self._id:
            raise InvalidItem(f"duplicate id {item.id!r}, first seen {self._id[item.id]}")
        story = (item.pair, item.language, getattr(item, "stance", ""))
        if story in self._story:
            raise InvalidItem(
                f"duplicate pair, language and stance {story}, first seen {self._story[story]}"
            )
        if not isinstance(item, NeutralItem):
            self._claim_value(item, place)
        self._id[item.id] = self._story[story] = place

    def _claim_value(self, item: ActivationItem | EvaluationItem, place: str) -> None:
        value, first = self._value.setdefault(item.pair, (item.value, place))
        if value != item.value:
            raise InvalidItem(
                f"pair {item.pair!r} has value {item.value!r}, but {value!r} {first}; all items "
                "of a pair must have the same value"
            )

    def find_value(self, pair: str) -> str | None:
        """The value of a pair; None if no item of the pair was registered yet."""
        return self._value[pair][0] if pair in self._value else None


def check_item(item: AnyItem) -> None:
    """Raise InvalidItem if the reader would refuse a corpus file that contains this item."""
    fields = {name: text for name, text in dataclasses.asdict(item).items() if text}
    if wrong := [*_wrong_fields(fields, type(item))]:
        raise InvalidItem("; ".join(wrong))


def _parse(raw: str, kind: type[Line]) -> Line:
    try:
        fields: Any = json.loads(raw, object_pairs_hook=unique_keys)
    except json.JSONDecodeError as error:
        raise InvalidItem(f"not JSON: {error.msg} at column {error.colno}") from error
    except ValueError as error:  # a number with thousands of digits
        raise InvalidItem(f"unreadable JSON: {error}") from error
    except RecursionError as error:
        raise InvalidItem("nested too deeply; expected a flat JSON object") from error
    if not isinstance(fields, dict):
        raise InvalidItem(f"found {type(fields).__name__}, expected a JSON object")
    wrong = [*_wrong_fields(fields, kind)]
    if wrong:
        raise InvalidItem("; ".join(wrong))
    return kind(**fields)


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Hook for json.loads: the object. Raises InvalidItem if it has a duplicate key."""
    if duplicates := find_duplicates([name for name, _ in pairs]):
        raise InvalidItem(f"duplicate key {duplicates[0]!r}")
    return dict(pairs)


def find_duplicates(names: Sequence[str]) -> list[str]:
    """Names that occur more than once, in order."""
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
            yield f"unknown field {name!r}, expected one of {', '.join(known)}"
        elif not isinstance(text, str):
            yield f"{name!r} is {type(text).__name__}, expected a string"
        elif has_lone_surrogate(text):
            yield f"{name!r} contains a lone surrogate, which is not valid text"
        elif not text.strip() and name not in MAY_BE_EMPTY:
            yield f"{name!r} is empty"
    if kind is ActivationItem and ("choice" in fields) != ("rationale" in fields):
        missing = "rationale" if "choice" in fields else "choice"
        yield f"field {missing!r} is missing; a story needs both choice and rationale, or neither"
    stance = fields.get("stance")
    if kind is ActivationItem and isinstance(stance, str) and stance not in STANCES:
        yield f"unknown stance {stance!r}, expected {' or '.join(STANCES)}"
    if fields.get("language") == POOLED:
        yield f"language {POOLED!r} is reserved for all languages pooled"


def find_incomplete(folder: str, items: Sequence[ActivationItem]) -> Iterator[Fault]:
    """Values without stories in one of the languages."""
    languages = dict.fromkeys(item.language for item in items)
    stories = Counter((item.value, item.language) for item in items)
    for value in dict.fromkeys(item.value for item in items):
        for language in languages:
            if not stories[value, language]:
                yield Fault(
                    where=folder,
                    message=f"value {value!r} has no stories in language {language!r}; every value "
                    f"needs stories in each of {', '.join(languages)}",
                )


def find_unknown(
    read: FileOfItems[EvaluationItem] | FileOfItems[NeutralItem],
    activation: Sequence[ActivationItem],
    keys: Sequence[str] = ("value", "language"),
) -> Iterator[Fault]:
    """Items of a value or language without stories: they would never be used."""
    for key in keys:
        known = {getattr(item, key) for item in activation}
        items: Sequence[AnyItem] = read.items
        for item, line in zip(items, read.lines, strict=True):
            if known and getattr(item, key) not in known:
                yield Fault(
                    where=f"{read.file}:{line}",
                    message=f"{item.id} has {key} {getattr(item, key)!r}, which has no stories in "
                    f"activation.jsonl (found: {', '.join(sorted(known))})",
                )
