"""The items of a corpus."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

STANCES = ("aligned", "violating")


@dataclass(frozen=True, kw_only=True)
class ActivationItem:
    """A dilemma with the choice made and its rationale, or a plain text that has neither."""

    id: str
    pair: str
    value: str
    language: str
    stance: str
    dilemma: str
    choice: str = ""
    rationale: str = ""
    setting: str = ""
    rival: str = ""


@dataclass(frozen=True, kw_only=True)
class EvaluationItem:
    """A dilemma with a value-aligned and a value-violating option."""

    id: str
    pair: str
    value: str
    language: str
    dilemma: str
    aligned: str
    violating: str
    setting: str = ""
    rival: str = ""


@dataclass(frozen=True, kw_only=True)
class NeutralItem:
    """A passage in which no value is at stake, such as a description or instructions."""

    id: str
    pair: str
    language: str
    text: str


AnyItem = ActivationItem | EvaluationItem | NeutralItem


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Both splits, with their values and languages in order of appearance, and neutral passages."""

    path: str
    values: Sequence[str]
    languages: Sequence[str]
    activation: Sequence[ActivationItem]
    evaluation: Sequence[EvaluationItem]
    neutral: Sequence[NeutralItem] = ()
    card: dict[str, Any] = field(default_factory=dict)

    def activation_digest(self) -> str:
        """SHA-256 of the activation split, in order, as selected."""
        return _digest(self.activation)

    def evaluation_digest(self) -> str:
        """SHA-256 of the evaluation split, in order, as selected."""
        return _digest(self.evaluation)

    def neutral_digest(self) -> str:
        """SHA-256 of the neutral passages, in order, as selected; no part of the other digests."""
        return _digest(self.neutral)


def _digest(items: Iterable[AnyItem]) -> str:
    sha = hashlib.sha256()
    for item in items:
        line = json.dumps(asdict(item), ensure_ascii=False, sort_keys=True)
        sha.update(line.encode() + b"\n")
    return sha.hexdigest()
