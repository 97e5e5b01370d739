"""Writing a corpus directory so that it stays readable whatever interrupts the writing."""

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from vxdist.corpus.items import ActivationItem, AnyItem, EvaluationItem, NeutralItem

ACTIVATION, EVALUATION, CARD = "activation.jsonl", "evaluation.jsonl", "card.yaml"
NEUTRAL = "neutral.jsonl"


def to_line(item: AnyItem) -> str:
    """One line of a corpus file; `setting` and `rival` are omitted if empty."""
    fields = {name: text for name, text in dataclasses.asdict(item).items() if text}
    return json.dumps(fields, ensure_ascii=False) + "\n"


def write_corpus(
    folder: Path,
    activation: Iterable[ActivationItem],
    evaluation: Iterable[EvaluationItem],
    card: Mapping[str, Any],
    neutral: Iterable[NeutralItem] | None = None,
) -> None:
    """Write all files, each atomically. Raises OSError if the disk is full.

    Neutral passages that are there stay, unless others are given.
    """
    # Stories come last: a directory without them is not a corpus.
    texts = {
        EVALUATION: "".join(map(to_line, evaluation)),
        **({} if neutral is None else {NEUTRAL: "".join(map(to_line, neutral))}),
        CARD: yaml.safe_dump(dict(card), allow_unicode=True, sort_keys=False),
        ACTIVATION: "".join(map(to_line, activation)),
    }
    # Encode everything first, so that text that cannot be encoded fails before anything is written.
    contents = {name: text.encode() for name, text in texts.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        _replace(folder / name, content)


def replace_file(file: Path, text: str) -> None:
    """Write a file atomically, so that no reader sees half of it."""
    _replace(file, text.encode())


def _replace(file: Path, content: bytes) -> None:
    draft = file.with_name(f"{file.name}.draft")
    try:
        with draft.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def append_line(file: Path, line: str) -> None:
    """Append one line and flush it to disk; a partial write is rolled back.

    Raises OSError if the disk is full; the file is then unchanged.
    """
    with file.open("ab", buffering=0) as stream:
        length = os.fstat(stream.fileno()).st_size
        try:
            content = line.encode()
            written = stream.write(content)
            while written < len(content):
                written += stream.write(content[written:])
            os.fsync(stream.fileno())
        except OSError:
            os.ftruncate(stream.fileno(), length)
            raise


def cut_torn_line(file: Path) -> None:
    """Remove a last line that a killed process left unfinished. The file may be missing."""
    if not file.exists():
        return
    with file.open("rb+") as stream:
        content = stream.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            stream.truncate(whole)
