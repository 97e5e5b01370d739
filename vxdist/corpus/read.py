"""Reading a corpus directory, strictly."""

import dataclasses
import importlib.resources
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from vxdist.config import CorpusConfig
from vxdist.corpus.items import STANCES, ActivationItem, Corpus, EvaluationItem
from vxdist.errors import UserError
from vxstore.schema import POOLED

Item = TypeVar("Item", ActivationItem, EvaluationItem)
BUILTIN = {"builtin:cvoice-seed": "seed"}
MAY_BE_EMPTY = ("setting", "rival")


def load_corpus(config: CorpusConfig) -> Corpus:
    """Read, check and select. Raises UserError naming file, line and field of the first fault."""
    folder = _folder(config.path)
    activation = _read(folder / "activation.jsonl", ActivationItem)
    if not activation:
        raise UserError(f"{folder / 'activation.jsonl'} has no items; a corpus needs stories")
    evaluation_file = folder / "evaluation.jsonl"
    evaluation = _read(evaluation_file, EvaluationItem) if evaluation_file.exists() else []
    _check_complete(config.path, activation)
    _check_known(evaluation_file, evaluation, activation)

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
        card=_read_card(folder / "card.yaml"),
    )


def _folder(path: str) -> Path:
    if path.startswith("builtin:"):
        if path not in BUILTIN:
            raise UserError(f"corpus.path: no corpus {path}; there is {', '.join(BUILTIN)}")
        return Path(str(importlib.resources.files("vxdist.corpus"))) / BUILTIN[path]
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(
            f"corpus.path: {path} is not a directory; give one that holds activation.jsonl, "
            f"or {', '.join(BUILTIN)}"
        )
    if not (folder / "activation.jsonl").is_file():
        raise UserError(f"{folder} has no activation.jsonl; see the README for its fields")
    return folder


def _read(file: Path, kind: type[Item]) -> list[Item]:
    """All items of one file, in order."""
    items: list[Item] = []
    line_of_id: dict[str, int] = {}
    line_of_story: dict[tuple[str, ...], int] = {}
    value_of_pair: dict[str, tuple[str, int]] = {}
    for number, raw in _lines(file):
        item = _parse(raw, kind, f"{file}:{number}")
        _claim(line_of_id, item.id, number, f"{file}:{number}: id {item.id!r}")
        story = (item.pair, item.language, getattr(item, "stance", ""))
        _claim(line_of_story, story, number, f"{file}:{number}: pair, language and stance {story}")
        value, line = value_of_pair.setdefault(item.pair, (item.value, number))
        if value != item.value:
            raise UserError(
                f"{file}:{number}: pair {item.pair!r} has value {item.value!r}, but {value!r} in "
                f"line {line}; the languages of one dilemma share a value"
            )
        items.append(item)
    return items


def _claim(lines: dict[Any, int], key: Any, number: int, what: str) -> None:
    if key in lines:
        raise UserError(f"{what} stands already in line {lines[key]}; each must be unique")
    lines[key] = number


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    content = file.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{file}:{number}: not UTF-8 (byte {error.start}); save it as UTF-8"
        ) from error
    # Not splitlines(): U+2028 and its like are lawful inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def _parse(raw: str, kind: type[Item], where: str) -> Item:
    try:
        fields = json.loads(raw)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise UserError(f"{where}: nested too deeply; expected a flat JSON object") from error
    if not isinstance(fields, dict):
        raise UserError(f"{where}: found {type(fields).__name__}, expected a JSON object")
    known = {f.name: f.default is dataclasses.MISSING for f in dataclasses.fields(kind)}
    for name, required in known.items():
        if required and name not in fields:
            raise UserError(f"{where}: field {name!r} is missing")
    for name, text in fields.items():
        if name not in known:
            raise UserError(f"{where}: unknown field {name!r}; known are {', '.join(known)}")
        if not isinstance(text, str):
            raise UserError(f"{where}: {name!r} is {type(text).__name__}, expected a string")
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise UserError(f"{where}: {name!r} holds half of a surrogate pair, which is no text")
        if not text.strip() and name not in MAY_BE_EMPTY:
            raise UserError(f"{where}: {name!r} is empty")
    if kind is ActivationItem and fields["stance"] not in STANCES:
        raise UserError(
            f"{where}: unknown stance {fields['stance']!r}; expected {' or '.join(STANCES)}"
        )
    if fields["language"] == POOLED:
        raise UserError(f"{where}: language {POOLED!r} is taken for all languages together")
    return kind(**fields)


def _check_complete(path: str, items: Sequence[ActivationItem]) -> None:
    """Every value in every language."""
    languages = _in_order(i.language for i in items)
    stances = _in_order(i.stance for i in items)
    have = Counter((i.value, i.language, i.stance) for i in items)
    for value in _in_order(i.value for i in items):
        for language in languages:
            if not any(have[value, language, stance] for stance in stances):
                raise UserError(
                    f"{path}: value {value!r} has no stories in language {language!r}; every "
                    f"value needs all of {', '.join(languages)}"
                )


def _check_known(
    file: Path, evaluation: Sequence[EvaluationItem], activation: Sequence[ActivationItem]
) -> None:
    """No dilemma of a value or language that has no stories: it would never be looked at."""
    for key in ("value", "language"):
        known = {getattr(item, key) for item in activation}
        for item in evaluation:
            if getattr(item, key) not in known:
                raise UserError(
                    f"{file}: {item.id} has {key} {getattr(item, key)!r}, which has no stories in "
                    f"activation.jsonl; there are {', '.join(sorted(known))}"
                )


def _choose(wanted: Sequence[str] | None, known: Sequence[str], key: str) -> tuple[str, ...]:
    if wanted is None:
        return tuple(known)
    for name in wanted:
        if name not in known:
            raise UserError(f"{key}: {name!r} is not in the corpus; there are {', '.join(known)}")
    if len(set(wanted)) < len(wanted) or not wanted:
        raise UserError(f"{key}: {wanted} must name at least one, each once")
    return tuple(wanted)


def _select(
    items: Sequence[Item],
    values: Sequence[str],
    languages: Sequence[str],
    most: int | None,
    key: str,
) -> tuple[Item, ...]:
    """Items of the chosen values and languages, the first `most` of each group."""
    if most is not None and most < 1:
        raise UserError(f"{key}: {most} must be at least 1, or null")
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


def _read_card(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        card = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(card, dict):
        raise UserError(f"{file}: expected a mapping of keys to values")
    return card


def _in_order(names: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
