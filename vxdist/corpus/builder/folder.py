"""The files of a build, from which it resumes however it ended."""

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
from vxdist.yaml_text import load_yaml

SETTINGS, REJECTS, USAGE, LOCK = "build.yaml", "rejects.jsonl", "usage.jsonl", ".build.lock"
DRAFTS = "drafts.jsonl"
"""Accepted answers of pairs that are not complete yet."""
CHANGEABLE = (
    "out", "base_url", "local", "load_timeout", "key_variable", "answer_tokens", "structured",
    "stories_per_value", "dilemmas_per_value", "attempts", "concurrency", "progress_seconds",
    "requests_per_minute", "tokens_per_minute", "timeout", "retries",
    "most_tokens", "most_cost", "prompt_price", "answer_price",
)  # fmt: skip
"""Settings that may change when a build resumes: its size and pace, but not its content."""
Pair = Sequence[ActivationItem] | Sequence[EvaluationItem]


class BuildFolder:
    """The growing corpus, its rejected answers, and the settings it is built with."""

    def __init__(self, config: BuildConfig, guide: Guide) -> None:
        self._config, self.path = config, Path(config.out)
        self._identity = _identify(config, guide)
        self.activation: list[ActivationItem] = []
        self.evaluation: list[EvaluationItem] = []
        self.rejects: Counter[str] = Counter()
        """Number of rejected answers by pair."""
        self._drafts: dict[tuple[str, str], dict[str, str]] = {}

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Lock the directory and load what it contains.

        Raises UserError if another build runs there, or it contains anything else.
        """
        import filelock

        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            file = error.filename or self.path
            raise UserError(f"build.out: {file} is a file; give a new directory") from error
        names = {file.name for file in self.path.iterdir()}
        if SETTINGS not in names and names - {LOCK, USAGE, f"{SETTINGS}.draft"}:
            raise UserError(
                f"build.out: {self.path} is not empty and has no {SETTINGS}; give a new directory"
            )
        lock = filelock.FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise UserError(
                f"build.out: another build is writing to {self.path}; wait until it ends"
            ) from error
        except (OSError, NotImplementedError) as error:
            raise UserError(
                f"build.out: {self.path} cannot be locked ({error}); give a directory on a file "
                "system with locks (flock), such as a local disk"
            ) from error
        try:
            self._load()
            yield
        finally:
            lock.release()

    def _load(self) -> None:
        if (self.path / SETTINGS).exists():
            _check_identity(self.path / SETTINGS, self._identity)
        self.activation = _recover(
            self.path / ACTIVATION, ActivationItem, self._items_per_pair(stories=True)
        )
        self.evaluation = _recover(
            self.path / EVALUATION, EvaluationItem, self._items_per_pair(stories=False)
        )
        rejects = read_records(self.path / REJECTS)
        self.rejects.update(record["pair"] for record in rejects if not record.get("refused"))
        written = self.written_pairs()
        for draft in read_records(self.path / DRAFTS):
            if draft["pair"] not in written:
                self._drafts[draft["pair"], draft["asked"]] = draft["answer"]

    def begin(self) -> None:
        """Save the settings that the corpus is built with.

        Called once the endpoint is known to have the model, so that a typo in its name is not kept.
        """
        if not (self.path / SETTINGS).exists():
            text = yaml.safe_dump(self._identity, allow_unicode=True, sort_keys=False)
            replace_file(self.path / SETTINGS, text)

    def _items_per_pair(self, *, stories: bool) -> int:
        return len(self._config.languages) * (len(self._config.stances) if stories else 1)

    def written_pairs(self) -> set[str]:
        """Pairs that are complete, in all languages and stances."""
        return {item.pair for item in self.activation} | {item.pair for item in self.evaluation}

    def save_draft(self, pair: str, request: str, answer: dict[str, str]) -> None:
        """Keep an accepted answer until its pair is complete, so that it is not paid for twice."""
        name = _digest(request)
        append_record(self.path / DRAFTS, {"pair": pair, "asked": name, "answer": answer})
        self._drafts[pair, name] = answer

    def find_draft(self, pair: str, request: str) -> dict[str, str] | None:
        """The answer kept for exactly this request; None if there is none."""
        return self._drafts.get((pair, _digest(request)))

    def accept(self, items: Pair) -> None:
        """Append all items of a pair at once. Raises OSError; the corpus is then unchanged."""
        lines = "".join(map(to_line, items))
        if isinstance(items[0], ActivationItem):
            append_line(self.path / ACTIVATION, lines)
            self.activation += items  # type: ignore[arg-type]
        else:
            append_line(self.path / EVALUATION, lines)
            self.evaluation += items  # type: ignore[arg-type]

    def reject(self, topic: Topic, reason: str, found: Any, *, refused: bool = False) -> None:
        """Record a rejected answer and the reason; refusals by the server do not count."""
        record = {**dataclasses.asdict(topic), "reason": reason, "found": found}
        append_record(self.path / REJECTS, record | ({"refused": True} if refused else {}))
        self.rejects[topic.pair] += not refused

    def finish(self, topics: Sequence[Topic], guide: Guide) -> None:
        """Sort items in the order of the topics, and write the card."""
        position = {topic.pair: n for n, topic in enumerate(topics)}
        for name, items in ((ACTIVATION, self.activation), (EVALUATION, self.evaluation)):
            # Pairs of an earlier, larger build come last.
            lines = [(position.get(item.pair, len(position)), to_line(item)) for item in items]
            if lines:
                lines.sort(key=lambda line: line[0])
                replace_file(self.path / name, "".join(line for _, line in lines))
        values = {
            value: {language: texts[language]["name"] for language in self._config.languages}
            for value, texts in guide.values.items()
        }
        card = {
            "name": self.path.name,
            "summary": f"Generated by {self._config.model} with vxdist corpus build; not reviewed.",
            "licence": "unknown",
            "languages": list(self._config.languages),
            "values": values,
            "stories": len(self.activation),
            "dilemmas": len(self.evaluation),
            "rejected": sum(self.rejects.values()),
            **{key: self._identity[key] for key in ("seed", "guide_digest")},
        }
        replace_file(self.path / CARD, yaml.safe_dump(card, allow_unicode=True, sort_keys=False))
        written = self.written_pairs()
        if all(topic.pair in written for topic in topics):  # otherwise some may be retried
            (self.path / DRAFTS).unlink(missing_ok=True)


def _identify(config: BuildConfig, guide: Guide) -> dict[str, Any]:
    """The settings and texts that determine the content of the corpus."""
    settings = {k: v for k, v in dataclasses.asdict(config).items() if k not in CHANGEABLE}
    content = json.dumps(
        [guide.values, guide.settings, guide.rivals, guide.narrators,
         sorted((*key, text.template) for key, text in guide.prompts.items())],
        ensure_ascii=False, sort_keys=True,
    )  # fmt: skip
    return {**settings, "guide_digest": _digest(content)}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _check_identity(file: Path, identity: dict[str, Any]) -> None:
    try:
        saved = load_yaml(file.read_text(encoding="utf-8")) or {}
    except ValueError as error:
        raise UserError(f"{file}: {error}; give another build.out") from error
    if not isinstance(saved, dict):
        raise UserError(f"{file}: expected the settings of a build; give another build.out")
    for key, now in identity.items():
        if saved.get(key) != now:
            name = "values, topics or prompts" if key == "guide_digest" else f"build.{key}"
            raise UserError(
                f"{file}: the corpus was started with different {name} ({saved.get(key)!r}, now "
                f"{now!r}); give another build.out, or change it back"
            )


def _recover(file: Path, kind: type[Item], per_pair: int) -> list[Item]:
    """The complete pairs of a file; the rest, left by a killed build, is removed."""
    if not file.exists():
        return []
    cut_torn_line(file)
    read = read_file(file, kind, "utf-8")
    refuse(read.faults)
    counts = Counter(item.pair for item in read.items)
    complete = [item for item in read.items if counts[item.pair] == per_pair]
    if len(complete) < len(read.items):
        replace_file(file, "".join(map(to_line, complete)))
    return complete
