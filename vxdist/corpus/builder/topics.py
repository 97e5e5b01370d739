"""What to write about: one topic per pair, determined by the seed."""

import importlib.resources
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from string import Template
from typing import Any

from vxdist.corpus.builder.config import BuildConfig
from vxdist.corpus.encoding import Undecodable, decode, read_bounded
from vxdist.errors import UserError
from vxdist.yaml_text import NotYaml, load_yaml

TOPIC_FIELDS = ("value", "meaning", "setting", "rival", "narrator")
STEPS = {
    "dilemma": TOPIC_FIELDS,
    "retell": (*TOPIC_FIELDS, "told"),
    "rationale": ("value", "dilemma", "decision", "other"),
    "again": ("reason",),
}
"""Steps, and the placeholders of each prompt."""
SPLITS = ("activation", "evaluation")


@dataclass(frozen=True, kw_only=True)
class Topic:
    """The topic of one dilemma, which is written in all languages."""

    pair: str
    split: str
    value: str
    setting: str
    rival: str
    narrator: str


@dataclass(frozen=True, kw_only=True)
class Guide:
    """The content of prompts: values, topics and templates."""

    values: Mapping[str, Mapping[str, Mapping[str, str]]]
    """{value: {language: {name, meaning}}}"""
    settings: Mapping[str, Mapping[str, str]]
    """{setting: {language: name}}; a setting without a name is used as it is."""
    rivals: Mapping[str, Mapping[str, str]]
    narrators: Mapping[str, Mapping[str, str]]
    prompts: Mapping[tuple[str, str], Template]
    """{(step, language): text}"""

    def describe(self, topic: Topic, language: str) -> dict[str, str]:
        """The placeholders that describe a topic, in the language of the prompt."""
        value = self.values[topic.value][language]
        return {
            "value": value["name"],
            "meaning": value["meaning"],
            "setting": self.settings[topic.setting].get(language, topic.setting),
            "rival": self.rivals[topic.rival].get(language, topic.rival),
            "narrator": self.narrators[topic.narrator].get(language, topic.narrator),
        }


def read_guide(config: BuildConfig) -> Guide:
    """Read values, topics and prompts. Raises UserError naming the file that is invalid."""
    bundled = importlib.resources.files("vxdist.corpus.builder")
    values = _read_yaml(Path(config.values or str(bundled / "values.yaml")))
    topics = _read_yaml(Path(config.topics or str(bundled / "topics.yaml")))
    folder = Path(config.prompts or str(bundled / "prompts"))
    prompts = {}
    for step, language in product(STEPS, config.languages):
        prompts[step, language] = _read_prompt(
            folder / f"{step}.{language}.txt", STEPS[step], config.languages
        )
    for value, language in product(values, config.languages):
        _check_value(value, values[value], language)
    return Guide(
        values=values,
        settings=_read_names(topics, "settings"),
        rivals=_read_names(topics, "rivals"),
        narrators=_read_names(topics, "narrators"),
        prompts=prompts,
    )


def _check_value(value: object, texts: object, language: str) -> None:
    text = texts.get(language) if isinstance(texts, dict) else None
    fields = [text.get(key) for key in ("name", "meaning")] if isinstance(text, dict) else [None]
    if not isinstance(value, str) or not all(isinstance(field, str) for field in fields):
        raise UserError(
            f"build.values: {value} has no name and meaning in language {language!r}; expected "
            f"{value}: {{{language}: {{name: TEXT, meaning: TEXT}}}}"
        )


def _read_prompt(file: Path, names: Sequence[str], languages: Sequence[str]) -> Template:
    if not file.is_file():
        raise UserError(
            f"{file} is missing; build.prompts needs {', '.join(STEPS)} for each of the "
            f"languages {', '.join(languages)}"
        )
    prompt = Template(_read_text(file))
    unknown = [name for name in prompt.get_identifiers() if name not in names]
    if unknown:
        raise UserError(
            f"{file}: unknown placeholder ${unknown[0]}, expected "
            f"{', '.join(f'${n}' for n in names)} (write a dollar sign as $$)"
        )
    return prompt


def _read_names(topics: Mapping[str, Any], key: str) -> dict[str, dict[str, str]]:
    """{text: {language: name}} of a list of texts, or of texts with names by language."""
    found = topics.get(key)
    if isinstance(found, list) and all(isinstance(text, str) for text in found):
        found = dict.fromkeys(found)
    named = {
        text: names or {}
        for text, names in (found.items() if isinstance(found, dict) else ())
        if isinstance(text, str) and isinstance(names, dict | None)
        if all(isinstance(name, str) for name in (names or {}).values())
    }
    if not named or not isinstance(found, dict) or len(named) < len(found):
        raise UserError(
            f"build.topics: {key} must be a list of texts, or a mapping TEXT: {{LANGUAGE: NAME}}; "
            "quote numbers, yes and no"
        )
    return named


def _read_text(file: Path) -> str:
    try:
        return decode(read_bounded(file), "utf-8", "")
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error}; expected UTF-8 text") from error
    except Undecodable as error:
        found = error.message.partition(";")[0]
        raise UserError(f"{file}: {found}; save it as text in UTF-8") from error


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        found = load_yaml(_read_text(file))
    except NotYaml as error:
        raise UserError(f"{file}: {error}") from error
    if not isinstance(found, dict) or not found:
        raise UserError(f"{file}: expected a mapping of names")
    return found


def make_topics(config: BuildConfig, guide: Guide) -> list[Topic]:
    """All topics, by value.

    A value uses every setting once before any is repeated; likewise rivals and narrators. A larger
    number of topics extends a smaller one.
    """
    counts = {"activation": config.stories_per_value, "evaluation": config.dilemmas_per_value}
    topics = []
    for value, split in product(guide.values, SPLITS):
        settings, rivals, narrators = (
            _shuffle_forever(names, f"{config.seed}/{value}/{split}/{kind}")
            for kind, names in (
                ("settings", guide.settings),
                ("rivals", guide.rivals),
                ("narrators", guide.narrators),
            )
        )
        for number in range(1, counts[split] + 1):
            topics.append(
                Topic(
                    pair=f"{value}-{split[0]}{number:04}",
                    split=split,
                    value=value,
                    setting=next(settings),
                    rival=next(rivals),
                    narrator=next(narrators),
                )
            )
    return topics


def _shuffle_forever(names: Iterable[str], seed: str) -> Iterator[str]:
    """All names in random order, then in another random order, and so on."""
    rng, pool = random.Random(seed), list(names)
    while True:
        yield from rng.sample(pool, len(pool))
