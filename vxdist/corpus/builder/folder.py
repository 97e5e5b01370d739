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

from vxdist.corpus.builder.config import BuildConfig
from vxdist.corpus.builder.records import append_record, read_records
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

        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            file = error.filename or self.path
            raise UserError(f"build.out: {file} is a file; give a new directory") from error
        names = {file.name for file in self.path.iterdir()}
        if SETTINGS not in names and names - {LOCK, USAGE, f"{SETTINGS}.draft"}:
            raise UserError(f"build.out: {self.path} holds something else; give a new directory")
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
        rejects = read_records(self.path / REJECTS)
        self.rejects.update(record["pair"] for record in rejects if not record.get("refused"))
        written = self.written()
        for draft in read_records(self.path / DRAFTS):
            if draft["pair"] not in written:
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

    def keep(self, pair: str, asked: str, answer: dict[str, str]) -> None:
        """Append an answer that passed, until its pair is complete: it need not be paid twice."""
        name = _digest(asked)
        append_record(self.path / DRAFTS, {"pair": pair, "asked": name, "answer": answer})
        self._drafts[pair, name] = answer

    def find_kept(self, pair: str, asked: str) -> dict[str, str] | None:
        """The answer that was kept for just what is asked now."""
        return self._drafts.get((pair, _digest(asked)))

    def accept(self, items: Pair) -> None:
        """Append all items of a pair at once. Raises OSError; the corpus then reads as before."""
        lines = "".join(map(to_line, items))
        if isinstance(items[0], ActivationItem):
            append_line(self.path / ACTIVATION, lines)
            self.activation += items  # type: ignore[arg-type]
        else:
            append_line(self.path / EVALUATION, lines)
            self.evaluation += items  # type: ignore[arg-type]

    def reject(self, topic: Topic, reason: str, found: Any, *, refused: bool = False) -> None:
        """Keep what was rejected, with the reason; what the server refused does not count."""
        record = {**dataclasses.asdict(topic), "reason": reason, "found": found}
        append_record(self.path / REJECTS, record | ({"refused": True} if refused else {}))
        self.rejects[topic.pair] += not refused

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
        written = self.written()
        if all(topic.pair in written for topic in topics):  # else some may be tried again
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
