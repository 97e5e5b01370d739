"""What an import gathers: items, and rows that were dropped with the reason."""

import importlib.resources
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from vxdist.corpus.items import ActivationItem, Corpus, EvaluationItem
from vxdist.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A row that was not imported."""

    where: str
    """FILE:LINE, or FILE:SHEET:ROW."""
    reason: str
    """The same words for all rows of a kind."""
    found: str = ""


@dataclass(kw_only=True)
class Collected:
    """The corpus as it grows."""

    activation: list[ActivationItem] = field(default_factory=list)
    evaluation: list[EvaluationItem] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    rows: int = 0
    remarks: list[str] = field(default_factory=list)
    """What whoever uses the corpus should know of it."""
    _seen: set[tuple[str, ...]] = field(default_factory=set)

    def begin_with(self, corpus: Corpus, log: Mapping[str, Any]) -> None:
        """Take what is in a corpus already, and what was noted of how it came there."""
        self.activation, self.evaluation = list(corpus.activation), list(corpus.evaluation)
        self._seen |= {_key(item) for item in corpus.activation}
        self._seen |= {_key(item) for item in corpus.evaluation}
        self.rows = log.get("rows", 0)
        self.remarks = list(log.get("remarks", []))
        self.dropped += [Dropped(**row) for row in log.get("dropped", [])]

    def drop(self, where: str, reason: str, found: str = "") -> None:
        """Leave a row out."""
        self.dropped.append(Dropped(where=where, reason=reason, found=found[:120]))

    def add_story(self, item: ActivationItem, where: str) -> None:
        """Take a story, unless the same one is there already."""
        if self._is_new(item, where):
            self.activation.append(item)

    def add_dilemma(self, item: EvaluationItem, where: str) -> None:
        """Take an evaluation dilemma, unless the same one is there already."""
        if self._is_new(item, where):
            self.evaluation.append(item)

    def _is_new(self, item: ActivationItem | EvaluationItem, where: str) -> bool:
        if (key := _key(item)) in self._seen:
            self.drop(where, "the same text of the same value stands there already", item.dilemma)
            return False
        self._seen.add(key)
        return True

    def drop_untold_values(self) -> None:
        """Take out dilemmas of a value and language without stories: they cannot be looked at."""
        known = {(item.value, item.language) for item in self.activation}
        reason = "an evaluation dilemma of a value that has no stories"
        for item in self.evaluation:
            if (item.value, item.language) not in known:
                self.drop(item.id, reason, item.value)
        self.evaluation = [i for i in self.evaluation if (i.value, i.language) in known]


def _key(item: ActivationItem | EvaluationItem) -> tuple[str, ...]:
    """What makes two items the same: all but their names, setting and rival."""
    about = (item.value, item.language, item.dilemma)
    if isinstance(item, ActivationItem):
        return (*about, item.stance, item.choice, item.rationale)
    return (*about, item.aligned, item.violating)


def refuse_doubles(collected: Collected) -> None:
    """Raise UserError if two items of a split have one id: the columns mapped do not tell them
    apart."""
    for items in (collected.activation, collected.evaluation):
        for name, times in Counter(item.id for item in items).items():
            if times > 1:
                raise UserError(
                    f"id {name!r} would stand {times} times; map a column that tells the rows "
                    "apart to id or pair, or leave both out"
                )


class Labels:
    """Values by all names they go by."""

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        """`names` are further ones, {name: value}."""
        text = (importlib.resources.files("vxdist.corpus.convert") / "labels.yaml").read_text(
            "utf-8"
        )
        self._known = {_plain(v): v for v in yaml.safe_load(text)}
        for value, others in yaml.safe_load(text).items():
            self._known |= {_plain(name): value for name in others}
        self._known |= {_plain(name): value for name, value in (names or {}).items()}

    def find(self, name: str) -> str | None:
        """The value of this name; None if there is none."""
        return self._known.get(_plain(name))


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-]+", " ", name.strip()).casefold()
