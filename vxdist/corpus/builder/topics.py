"""What to write about: a topic for each pair, the same whenever the same seed is asked."""

import importlib.resources
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from string import Template
from typing import Any

import yaml

from vxdist.corpus.builder.config import BuildConfig
from vxdist.errors import UserError

OF_TOPIC = ("value", "meaning", "setting", "rival", "narrator")
STEPS = {
    "dilemma": OF_TOPIC,
    "retell": (*OF_TOPIC, "told"),
    "rationale": ("value", "dilemma", "decision", "other"),
    "again": ("reason",),
}
"""Steps, and what each prompt is filled with."""
SPLITS = ("activation", "evaluation")


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One dilemma to be written, in all languages."""

    pair: str
    split: str
    value: str
    setting: str
    rival: str
    narrator: str


@dataclass(frozen=True, kw_only=True)
class Guide:
    """What the model is told: values, topics and prompts."""

    values: Mapping[str, Mapping[str, Mapping[str, str]]]
    """{value: {language: {name, meaning}}}"""
    settings: Mapping[str, Mapping[str, str]]
    """{setting: {language: name}}; where there is no name, it is the setting itself."""
    rivals: Mapping[str, Mapping[str, str]]
    narrators: Mapping[str, Mapping[str, str]]
    prompts: Mapping[tuple[str, str], Template]
    """{(step, language): text}"""

    def tell(self, topic: Topic, language: str) -> dict[str, str]:
        """What a prompt is told of a topic, in its language."""
        value = self.values[topic.value][language]
        return {
            "value": value["name"],
            "meaning": value["meaning"],
            "setting": self.settings[topic.setting].get(language, topic.setting),
            "rival": self.rivals[topic.rival].get(language, topic.rival),
            "narrator": self.narrators[topic.narrator].get(language, topic.narrator),
        }


def read_guide(config: BuildConfig) -> Guide:
    """Read values, topics and prompts. Raises UserError naming the file that will not do."""
    own = importlib.resources.files("vxdist.corpus.builder")
    values = _read_yaml(config.values, str(own / "values.yaml"))
    topics = _read_yaml(config.topics, str(own / "topics.yaml"))
    folder = Path(config.prompts or str(own / "prompts"))
    prompts = {}
    for step, language in product(STEPS, config.languages):
        prompts[step, language] = _read_prompt(
            folder / f"{step}.{language}.txt", STEPS[step], config.languages
        )
    for value, language in product(values, config.languages):
        told = values[value].get(language) if isinstance(values[value], dict) else None
        names = [told.get(key) for key in ("name", "meaning")] if isinstance(told, dict) else [None]
        if not isinstance(value, str) or not all(isinstance(name, str) for name in names):
            raise UserError(
                f"build.values: {value} has no name and meaning in language {language!r}; expected "
                f"{value}: {{{language}: {{name: TEXT, meaning: TEXT}}}}"
            )
    return Guide(
        values=values,
        settings=_named(topics, "settings"),
        rivals=_named(topics, "rivals"),
        narrators=_named(topics, "narrators"),
        prompts=prompts,
    )


def _read_prompt(file: Path, names: Sequence[str], languages: Sequence[str]) -> Template:
    if not file.is_file():
        raise UserError(
            f"{file} is missing; build.prompts needs {', '.join(STEPS)} in each of "
            f"{', '.join(languages)}"
        )
    prompt = Template(_read_text(file))
    unknown = [name for name in prompt.get_identifiers() if name not in names]
    if unknown:
        raise UserError(
            f"{file}: ${unknown[0]} is not known; expected {', '.join(f'${n}' for n in names)} (a "
            "dollar sign is $$)"
        )
    return prompt


def _named(topics: Mapping[str, Any], key: str) -> dict[str, dict[str, str]]:
    """A list of texts, or texts with a name by language."""
    found = topics.get(key)
    if isinstance(found, list) and all(isinstance(text, str) for text in found):
        found = dict.fromkeys(found)
    named = {
        text: of or {}
        for text, of in (found.items() if isinstance(found, dict) else ())
        if isinstance(text, str) and isinstance(of, dict | None)
        if all(isinstance(name, str) for name in (of or {}).values())
    }
    if not named or not isinstance(found, dict) or len(named) < len(found):
        raise UserError(
            f"build.topics: {key} must be a list of texts, or TEXT: {{LANGUAGE: NAME}}; numbers, "
            "yes and no need quotes"
        )
    return named


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read: {error}; expected a text in UTF-8") from error


def _read_yaml(given: str | None, own: str) -> dict[str, Any]:
    file = Path(given or own)
    try:
        found = yaml.safe_load(_read_text(file))
    except yaml.YAMLError as error:
        raise UserError(f"{file}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict) or not found:
        raise UserError(f"{file}: expected a mapping of names")
    return found


def make_topics(config: BuildConfig, guide: Guide) -> list[Topic]:
    """All topics, by value. Each value meets all settings before one comes again; so with rivals
    and narrators.

    More topics of a value leave the first ones as they are.
    """
    counts = {"activation": config.stories_per_value, "evaluation": config.dilemmas_per_value}
    topics = []
    for value, split in product(guide.values, SPLITS):
        settings, rivals, narrators = (
            _endless(names, f"{config.seed}/{value}/{split}/{kind}")
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


def _endless(names: Iterable[str], seed: str) -> Any:
    chance, among = random.Random(seed), list(names)
    while True:
        yield from chance.sample(among, len(among))
