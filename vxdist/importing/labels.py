"""Whose counts a file holds: value, language and stance, from its name or as the user says."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vxdist.errors import UserError
from vxstore.schema import POOLED
from vxstore.write import PartLabels

FIELDS = ("value", "language", "stance")
NO_STANCE = "unspecified"
"""Stance of a file of which none is told."""


def find_labels(
    files: Sequence[Path],
    *,
    pattern: str | None = None,
    given: Sequence[str] = (),
    language: str | None = None,
) -> list[PartLabels]:
    """Labels of each file: what `given` says of it, else what `pattern` finds in its name.

    Without a pattern the name, less its ending, is the value. `language` is that of the files of
    which neither tells one. Raises UserError if a label is missing, doubtful or unfit, two files
    have the same, or a value lacks a language.
    """
    told = dict(_read_given(text, files) for text in given)
    if len(told) < len(given):
        raise UserError("--label: a file is named twice; give each file one label")
    found = [told[f] if f in told else _read_name(f, pattern) for f in files]
    if language is not None and all("language" in fields for fields in found):
        raise UserError(
            f"--language {language}: every file has a language of its own; leave --language out, "
            "or {language} out of the pattern"
        )
    labels = [_complete(f, fields, language) for f, fields in zip(files, found, strict=True)]
    _refuse_twins(files, labels)
    _refuse_gaps(labels)
    return labels


def _read_given(text: str, files: Sequence[Path]) -> tuple[Path, dict[str, str]]:
    """FILE=VALUE[:LANGUAGE[:STANCE]], FILE being a path, a name, or a name less its ending."""
    name, equals, told = text.rpartition("=")
    labels = told.split(":")
    if not equals or len(labels) > len(FIELDS):
        raise UserError(
            f"--label {text}: expected FILE=VALUE, FILE=VALUE:LANGUAGE, or with :STANCE"
        )
    meant = [f for f in dict.fromkeys(files) if name in (str(f), f.name, f.stem)]
    if len(meant) != 1:
        raise UserError(
            f"--label {text}: {name!r} names {len(meant)} of the {len(files)} files, expected one; "
            "write it as it stands among the files"
        )
    return meant[0], dict(zip(FIELDS, labels, strict=False))


def _read_name(file: Path, pattern: str | None) -> dict[str, str]:
    """What the pattern finds. One with slashes is held against as many folders of the path."""
    if pattern is None:
        return {"value": file.stem}
    pieces = _cut(pattern)
    name = "/".join(file.absolute().parts[-(pattern.count("/") + 1) :])
    # Shortest and longest reading: if they agree, there is no other.
    short, long = (re.fullmatch(_regex(pieces, any_text), name) for any_text in ("[^/]+?", "[^/]+"))
    if short is None or long is None:
        raise UserError(
            f"{file}: found name {name!r}, expected one like {pattern!r} (--pattern); change the "
            f"pattern, or give --label {file.name}=VALUE"
        )
    if short.groupdict() != long.groupdict():
        ways = " or ".join(", ".join(m.groupdict().values()) for m in (short, long))
        raise UserError(
            f"{file}: --pattern {pattern!r} reads {name!r} in several ways ({ways}); give "
            f"--label {file.name}=VALUE"
        )
    return short.groupdict()


def _cut(pattern: str) -> list[str]:
    """Fixed text and, at odd places, names of fields."""
    pieces = re.split(r"\{([^{}]*)\}", pattern)
    names = pieces[1::2]
    if not set(names) <= set(FIELDS) or len(set(names)) < len(names) or "value" not in names:
        raise UserError(
            f"--pattern {pattern!r}: expected {{value}}, perhaps {{language}} and {{stance}}, each "
            "once, as in '{value}-{stance}.pt'"
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
            f"{file}: its language is not told; give --language, such as --language zh, or "
            "{language} in --pattern"
        )
    for name, label in whole.items():
        if not label.strip() or not label.isprintable():
            raise UserError(f"{file}: {name} {label!r} is no label; give it with --label")
    if whole["language"] == POOLED:
        raise UserError(f"{file}: language {POOLED!r} is taken for all languages together")
    return PartLabels(value=whole["value"], language=whole["language"], stance=whole["stance"])


def _refuse_twins(files: Sequence[Path], labels: Sequence[PartLabels]) -> None:
    """One file a (value, language, stance): counts must not be added twice."""
    first: dict[PartLabels, Path] = {}
    for file, label in zip(files, labels, strict=True):
        if label in first:
            raise UserError(
                f"{file}: value {label.value}, language {label.language}, stance {label.stance} is "
                f"what {first[label]} has too; each file needs its own (--pattern, --label)"
            )
        first[label] = file


def _refuse_gaps(labels: Sequence[PartLabels]) -> None:
    """Every value in every language."""
    have = {(label.value, label.language) for label in labels}
    missing = [
        f"{value} in {language}"
        for value in in_order(label.value for label in labels)
        for language in in_order(label.language for label in labels)
        if (value, language) not in have
    ]
    if missing:
        raise UserError(
            f"no file for {', '.join(missing)}; every value needs every language, so add the files "
            "or mend the labels"
        )


def in_order(names: Iterator[str]) -> list[str]:
    """Each name once, in the order it first came."""
    return list(dict.fromkeys(names))
