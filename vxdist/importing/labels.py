"""The labels of a count file: value, language and stance, from its name or from --label."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vxdist.errors import UserError
from vxstore.schema import POOLED
from vxstore.write import PartLabels

FIELDS = ("value", "language", "stance")
NO_STANCE = "unspecified"
"""Stance of a file for which none is given."""


def find_labels(
    files: Sequence[Path],
    *,
    pattern: str | None = None,
    given: Sequence[str] = (),
    language: str | None = None,
) -> list[PartLabels]:
    """Labels of each file: those of `given`, or else those that `pattern` finds in its name.

    Without a pattern, the name without its suffix is the value. `language` applies to files for
    which neither gives one. Raises UserError if a label is missing, ambiguous or invalid, two files
    have the same labels, or a value lacks a language.
    """
    explicit = dict(_read_given(text, files) for text in given)
    if len(explicit) < len(given):
        raise UserError("--label: a file is named twice; give each file one label")
    found = [explicit[f] if f in explicit else _read_name(f, pattern) for f in files]
    if language is not None and all("language" in fields for fields in found):
        raise UserError(
            f"--language {language}: every file already has a language; omit --language, or "
            "{language} in the pattern"
        )
    labels = [_complete(f, fields, language) for f, fields in zip(files, found, strict=True)]
    _refuse_duplicates(files, labels)
    _refuse_gaps(labels)
    return labels


def _read_given(text: str, files: Sequence[Path]) -> tuple[Path, dict[str, str]]:
    """Parse FILE=VALUE[:LANGUAGE[:STANCE]]; FILE is a path, or a name with or without suffix."""
    name, equals, after = text.rpartition("=")
    labels = after.split(":")
    if not equals or len(labels) > len(FIELDS):
        raise UserError(
            f"--label {text}: expected FILE=VALUE, optionally with :LANGUAGE or :LANGUAGE:STANCE"
        )
    matching = [f for f in dict.fromkeys(files) if name in (str(f), f.name, f.stem)]
    if len(matching) != 1:
        raise UserError(
            f"--label {text}: {name!r} matches {len(matching)} of the {len(files)} files, expected "
            "one; give its path as in the list of files"
        )
    return matching[0], dict(zip(FIELDS, labels, strict=False))


def _read_name(file: Path, pattern: str | None) -> dict[str, str]:
    """What the pattern finds in the name; a pattern with slashes also matches parent folders."""
    if pattern is None:
        return {"value": file.stem}
    pieces = _cut(pattern)
    name = "/".join(file.absolute().parts[-(pattern.count("/") + 1) :])
    # If the shortest and the longest match agree, the match is unique.
    short, long = (re.fullmatch(_regex(pieces, any_text), name) for any_text in ("[^/]+?", "[^/]+"))
    if short is None or long is None:
        raise UserError(
            f"{file}: the name {name!r} does not match --pattern {pattern!r}; change the "
            f"pattern, or give --label {file.name}=VALUE"
        )
    if short.groupdict() != long.groupdict():
        ways = " or ".join(", ".join(m.groupdict().values()) for m in (short, long))
        raise UserError(
            f"{file}: --pattern {pattern!r} matches {name!r} in several ways ({ways}); give "
            f"--label {file.name}=VALUE"
        )
    return short.groupdict()


def _cut(pattern: str) -> list[str]:
    """The pattern as a list of fixed texts and, at odd indices, names of fields."""
    pieces = re.split(r"\{([^{}]*)\}", pattern)
    names = pieces[1::2]
    if not set(names) <= set(FIELDS) or len(set(names)) < len(names) or "value" not in names:
        raise UserError(
            f"--pattern {pattern!r}: expected {{value}}, optionally {{language}} and {{stance}}, "
            "each once, such as '{value}-{stance}.pt'"
        )
    return pieces


def _regex(pieces: Sequence[str], any_text: str) -> str:
    return "".join(
        f"(?P<{piece}>{any_text})" if n % 2 else re.escape(piece) for n, piece in enumerate(pieces)
    )


def _complete(file: Path, fields: Mapping[str, str], language: str | None) -> PartLabels:
    whole = {"stance": NO_STANCE, **({} if language is None else {"language": language}), **fields}
    if "language" not in whole:
        raise UserError(
            f"{file}: its language is not given; give --language, such as --language zh, or "
            "{language} in --pattern"
        )
    for name, label in whole.items():
        if not label.strip() or not label.isprintable():
            raise UserError(
                f"{file}: {name} {label!r} is not a valid label; give another with --label"
            )
    if whole["language"] == POOLED:
        raise UserError(
            f"{file}: language {POOLED!r} is reserved for all languages pooled; give another name"
        )
    return PartLabels(value=whole["value"], language=whole["language"], stance=whole["stance"])


def _refuse_duplicates(files: Sequence[Path], labels: Sequence[PartLabels]) -> None:
    """One file per (value, language, stance): counts must not be added twice."""
    first: dict[PartLabels, Path] = {}
    for file, label in zip(files, labels, strict=True):
        if label in first:
            raise UserError(
                f"{file}: has the same labels as {first[label]} (value {label.value}, language "
                f"{label.language}, stance {label.stance}); each file needs its own (--pattern, "
                "--label)"
            )
        first[label] = file


def _refuse_gaps(labels: Sequence[PartLabels]) -> None:
    """Every value must have a file in every language."""
    present = {(label.value, label.language) for label in labels}
    missing = [
        f"{value} in {language}"
        for value in in_order(label.value for label in labels)
        for language in in_order(label.language for label in labels)
        if (value, language) not in present
    ]
    if missing:
        raise UserError(
            f"no file for {', '.join(missing)}; every value needs every language, so add the files "
            "or correct the labels"
        )


def in_order(names: Iterator[str]) -> list[str]:
    """Each name once, in the order it first came."""
    return list(dict.fromkeys(names))
