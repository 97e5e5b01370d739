"""What a build keeps on disk, and finds again after any end."""

import contextlib
import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from vxdist.config import BuildConfig
from vxdist.corpus.builder.topics import Guide, Topic
from vxdist.corpus.items import ActivationItem, EvaluationItem
from vxdist.corpus.lines import Item, read_file, refuse
from vxdist.corpus.write import (
    ACTIVATION,
    CARD,
    EVALUATION,
    append_line,
    cut_torn_line,
    replace_file,
    to_line,
)
from vxdist.errors import UserError

SETTINGS, REJECTS, USAGE, LOCK = "build.yaml", "rejects.jsonl", "usage.jsonl", ".build.lock"
DRAFTS = "drafts.jsonl"
"""Answers for pairs that are not complete yet."""
FREE = (
    "out", "base_url", "local", "load_timeout", "key_variable", "answer_tokens", "structured",
    "stories_per_value", "dilemmas_per_value", "attempts", "concurrency", "progress_seconds",
    "requests_per_minute", "tokens_per_minute", "timeout", "retries",
    "most_tokens", "most_cost", "prompt_price", "answer_price",
)  # fmt: skip
"""Settings that may change when a build goes on: its size and pace, not what is written."""
Pair = Sequence[ActivationItem] | Sequence[EvaluationItem]


class BuildFolder:
    """The corpus as it grows, its rejects, and the settings it is written with."""

    def __init__(self, config: BuildConfig, guide: Guide) -> None:
        self._config, self.path = config, Path(config.out)
        self._identity = _identify(config, guide)
        self.activation: list[ActivationItem] = []
        self.evaluation: list[EvaluationItem] = []
        self.rejects: Counter[str] = Counter()
        """Times that a pair was rejected."""
        self._drafts: dict[tuple[str, str], dict[str, str]] = {}

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other builds out. Raises UserError if there is one, or the folder is another's."""
        import filelock

        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"build.out: {self.path} is a file; give a new directory")
        names = {file.name for file in self.path.iterdir()} if self.path.exists() else set()
        if SETTINGS not in names and names - {LOCK, f"{SETTINGS}.draft"}:
            raise UserError(f"build.out: {self.path} holds something else; give a new directory")
        self.path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise UserError(f"build.out: another build writes {self.path}; wait for it") from error
        try:
            self._open()
            yield
        finally:
            lock.release()

    def _open(self) -> None:
        if (self.path / SETTINGS).exists():
            _refuse_other(self.path / SETTINGS, self._identity)
        self.activation = _recover(self.path / ACTIVATION, ActivationItem, self._per_pair(True))
        self.evaluation = _recover(self.path / EVALUATION, EvaluationItem, self._per_pair(False))
        cut_torn_line(self.path / REJECTS)
        if (self.path / REJECTS).exists():
            lines = (self.path / REJECTS).read_text(encoding="utf-8").splitlines()
            self.rejects.update(json.loads(line)["pair"] for line in lines)
        self._open_drafts()

    def _open_drafts(self) -> None:
        file, written = self.path / DRAFTS, self.written()
        cut_torn_line(file)
        if file.exists():
            lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
            due = [line for line in lines if json.loads(line)["pair"] not in written]
            replace_file(file, "".join(due))
            for draft in map(json.loads, due):
                self._drafts[draft["pair"], draft["asked"]] = draft["answer"]

    def begin(self) -> None:
        """Note what the corpus is written with. After the endpoint was found to have the model:
        else a slip in its name would stay."""
        if not (self.path / SETTINGS).exists():
            text = yaml.safe_dump(self._identity, allow_unicode=True, sort_keys=False)
            replace_file(self.path / SETTINGS, text)

    def _per_pair(self, of_stories: bool) -> int:
        return len(self._config.languages) * (len(self._config.stances) if of_stories else 1)

    def written(self) -> set[str]:
        """Pairs that are there, in all languages and stances."""
        return {item.pair for item in self.activation} | {item.pair for item in self.evaluation}

    def keep(self, pair: str, prompt: str, answer: dict[str, str]) -> None:
        """Append an answer that passed, until its pair is complete: it need not be paid twice."""
        asked = _digest(prompt)
        draft = {"pair": pair, "asked": asked, "answer": answer}
        append_line(self.path / DRAFTS, json.dumps(draft, ensure_ascii=False) + "\n")
        self._drafts[pair, asked] = answer

    def find_kept(self, pair: str, prompt: str) -> dict[str, str] | None:
        """The answer that was kept for this very prompt."""
        return self._drafts.get((pair, _digest(prompt)))

    def accept(self, items: Pair) -> None:
        """Append all items of a pair at once. Raises OSError; the corpus then reads as before."""
        lines = "".join(map(to_line, items))
        if isinstance(items[0], ActivationItem):
            append_line(self.path / ACTIVATION, lines)
            self.activation += items  # type: ignore[arg-type]
        else:
            append_line(self.path / EVALUATION, lines)
            self.evaluation += items  # type: ignore[arg-type]

    def reject(self, topic: Topic, reason: str, found: Any) -> None:
        """Keep what was rejected, with the reason."""
        record = {**dataclasses.asdict(topic), "reason": reason, "found": found}
        append_line(self.path / REJECTS, json.dumps(record, ensure_ascii=False) + "\n")
        self.rejects[topic.pair] += 1

    def finish(self, topics: Sequence[Topic], guide: Guide) -> None:
        """Put items in the order of the topics, and write the card."""
        place = {topic.pair: n for n, topic in enumerate(topics)}
        for name, items in ((ACTIVATION, self.activation), (EVALUATION, self.evaluation)):
            # A smaller corpus may be asked for than is there: what goes beyond comes last.
            lines = [(place.get(item.pair, len(place)), to_line(item)) for item in items]
            if lines:
                lines.sort(key=lambda line: line[0])
                replace_file(self.path / name, "".join(line for _, line in lines))
        values = {
            value: {language: told[language]["name"] for language in self._config.languages}
            for value, told in guide.values.items()
        }
        card = {
            "name": self.path.name,
            "summary": f"Written by {self._config.model} with vxdist corpus build; not reviewed.",
            "licence": "unknown",
            "languages": list(self._config.languages),
            "values": values,
            "stories": len(self.activation),
            "dilemmas": len(self.evaluation),
            "rejected": sum(self.rejects.values()),
            **{key: self._identity[key] for key in ("seed", "guide_digest")},
        }
        replace_file(self.path / CARD, yaml.safe_dump(card, allow_unicode=True, sort_keys=False))
        (self.path / DRAFTS).unlink(missing_ok=True)


def _identify(config: BuildConfig, guide: Guide) -> dict[str, Any]:
    """What decides which corpus this is."""
    settings = {k: v for k, v in dataclasses.asdict(config).items() if k not in FREE}
    told = json.dumps(
        [guide.values, guide.settings, guide.rivals, guide.narrators,
         sorted((*key, text.template) for key, text in guide.prompts.items())],
        ensure_ascii=False, sort_keys=True,
    )  # fmt: skip
    return {**settings, "guide_digest": _digest(told)}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_other(file: Path, identity: dict[str, Any]) -> None:
    there = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    for key, now in identity.items():
        if there.get(key) != now:
            told = "values, topics or prompts" if key == "guide_digest" else f"build.{key}"
            raise UserError(
                f"{file}: the corpus was begun with other {told} ({there.get(key)!r}, now "
                f"{now!r}); give another build.out, or go on as it was"
            )


def _recover(file: Path, kind: type[Item], per_pair: int) -> list[Item]:
    """Whole pairs of a file; what a killed build left of another is taken off."""
    if not file.exists():
        return []
    cut_torn_line(file)
    read = read_file(file, kind, "utf-8")
    refuse(read.faults)
    times = Counter(item.pair for item in read.items)
    whole = [item for item in read.items if times[item.pair] == per_pair]
    if len(whole) < len(read.items):
        replace_file(file, "".join(map(to_line, whole)))
    return whole
