"""Reading a corpus directory strictly."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vxdist.config import CorpusConfig
from vxdist.corpus.editions import BUILTIN, builtin_folder
from vxdist.corpus.items import ActivationItem, Corpus, EvaluationItem, NeutralItem
from vxdist.corpus.lines import (
    Fault,
    FileOfItems,
    Item,
    Line,
    find_incomplete,
    find_unknown,
    read_file,
    read_text,
    refuse,
)
from vxdist.corpus.write import ACTIVATION, CARD, EVALUATION, NEUTRAL
from vxdist.errors import UserError
from vxdist.yaml_text import NotYaml, load_yaml


def load_corpus(config: CorpusConfig) -> Corpus:
    """Read a corpus and select from it.

    Raises UserError naming file, line and field of every fault.
    """
    read = read_corpus(config.path, config.encoding)
    refuse(read.faults)
    activation, evaluation = read.activation.items, read.evaluation.items
    values = _choose(config.values, _in_order(i.value for i in activation), "corpus.values")
    languages = _choose(
        config.languages, _in_order(i.language for i in activation), "corpus.languages"
    )
    return Corpus(
        path=config.path,
        values=values,
        languages=languages,
        activation=_select(
            activation, values, languages, config.stories_per_group, "corpus.stories_per_group"
        ),
        evaluation=_select(
            evaluation, values, languages, config.dilemmas_per_value, "corpus.dilemmas_per_value"
        ),
        neutral=tuple(item for item in read.neutral.items if item.language in languages),
        card=read.card,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadCorpus:
    """A corpus as found on disk, with everything that is wrong with it."""

    folder: Path
    activation: FileOfItems[ActivationItem]
    evaluation: FileOfItems[EvaluationItem]
    neutral: FileOfItems[NeutralItem]
    card: dict[str, Any]
    faults: Sequence[Fault]


def read_corpus(path: str, encoding: str = "utf-8") -> ReadCorpus:
    """Read all items and collect all faults. Raises UserError if there is no corpus at `path`."""
    folder = find_folder(path)
    activation = read_file(folder / ACTIVATION, ActivationItem, encoding)
    evaluation = _read_optional(folder / EVALUATION, EvaluationItem, encoding)
    neutral = _read_optional(folder / NEUTRAL, NeutralItem, encoding)
    faults = [*activation.faults, *evaluation.faults, *neutral.faults]
    card = _read_card(folder / CARD, encoding, faults)
    if not activation.items and not activation.faults:
        message = "has no items; a corpus needs stories"
        faults.append(Fault(where=str(activation.file), message=message))
    if not activation.faults:  # otherwise these would only repeat it
        faults += find_incomplete(path, activation.items)
        faults += find_unknown(evaluation, activation.items)
        faults += find_unknown(neutral, activation.items, ["language"])
    return ReadCorpus(
        folder=folder,
        activation=activation,
        evaluation=evaluation,
        neutral=neutral,
        card=card,
        faults=faults,
    )


def _read_optional(file: Path, kind: type[Line], encoding: str) -> FileOfItems[Line]:
    """The items of a file that a corpus need not have."""
    if file.exists():
        return read_file(file, kind, encoding)
    return FileOfItems(file=file, items=[], lines=[], faults=[])


def find_folder(path: str) -> Path:
    """The directory of a corpus. Raises UserError if there is none."""
    if path.startswith("builtin:"):
        return builtin_folder(path)
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(
            f"corpus.path: {path} is not a directory; give one that contains activation.jsonl, "
            f"or {', '.join(BUILTIN)}"
        )
    if not (folder / "activation.jsonl").is_file():
        raise UserError(f"{folder} has no activation.jsonl; see docs/corpus.md for its format")
    return folder


def _choose(wanted: Sequence[str] | None, known: Sequence[str], key: str) -> tuple[str, ...]:
    if wanted is None:
        return tuple(known)
    for name in wanted:
        if name not in known:
            raise UserError(f"{key}: {name!r} is not in the corpus, expected {', '.join(known)}")
    if len(set(wanted)) < len(wanted) or not wanted:
        raise UserError(f"{key}: found {wanted}, expected at least one name and no duplicates")
    return tuple(wanted)


def _select(
    items: Sequence[Item],
    values: Sequence[str],
    languages: Sequence[str],
    most: int | None,
    key: str,
) -> tuple[Item, ...]:
    """Items of the given values and languages: the first `most` per group."""
    if most is not None and most < 1:
        raise UserError(f"{key}: found {most}, expected at least 1, or null")
    seen: Counter[tuple[str, ...]] = Counter()
    kept: list[Item] = []
    for item in items:
        if item.value not in values or item.language not in languages:
            continue
        group = (item.value, item.language, getattr(item, "stance", ""))
        seen[group] += 1
        if most is None or seen[group] <= most:
            kept.append(item)
    return tuple(kept)


def _read_card(file: Path, encoding: str, faults: list[Fault]) -> dict[str, Any]:
    """Content of the card; if it cannot be read, add a fault and return nothing."""
    if not file.is_file():
        return {}
    try:
        card = load_yaml(read_text(file, encoding, faults)) or {}
    except NotYaml as error:
        faults.append(Fault(where=str(file), message=str(error)))
        return {}
    if not isinstance(card, dict):
        message = f"found {type(card).__name__}, expected a mapping of keys to values"
        faults.append(Fault(where=str(file), message=message))
        return {}
    return card


def _in_order(names: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
