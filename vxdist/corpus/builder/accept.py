"""What is let into the corpus: the rules of `vxdist corpus check`, while it grows."""

from collections.abc import Iterable, Sequence

from rensa import RMinHash, RMinHashLSH

from vxdist.corpus.builder.config import BuildConfig
from vxdist.corpus.check.duplicates import jaccard
from vxdist.corpus.check.language import Recogniser
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.check.text import shingle, split_words
from vxdist.corpus.items import ActivationItem, EvaluationItem


class Rejected(Exception):
    """An item that breaks a rule; the message says which."""


class Rules:
    """Languages, lengths, and dilemmas and rationales that stand there already."""

    def __init__(self, config: BuildConfig) -> None:
        self._config, self._check = config, CheckConfig()
        self._recogniser = Recogniser(self._check)
        self._nearness: dict[str, Nearness] = {}

    def known(self, items: Iterable[ActivationItem | EvaluationItem]) -> None:
        """Take note of items that are in the corpus: both splits together."""
        for item in items:
            for text in {item.dilemma, getattr(item, "rationale", "")} - {""}:
                self._near(item.language).add(text)

    def check_dilemma(self, language: str, dilemma: str, aligned: str, violating: str) -> None:
        """Raises Rejected."""
        self._length("dilemma", language, dilemma, self._config.dilemma_words)
        lengths = [len(split_words(text)) for text in (aligned, violating)]
        if max(lengths) > self._config.option_ratio * max(1, min(lengths)):
            raise Rejected(f"options of {lengths[0]} and {lengths[1]} words")
        if aligned == violating:
            raise Rejected("both options are the same")
        for name, text in (("dilemma", dilemma), ("aligned", aligned), ("violating", violating)):
            self._language(name, language, text)
        self._new("dilemma", language, dilemma)

    def check_rationale(self, language: str, choice: str, rationale: str) -> None:
        """Raises Rejected."""
        self._length("rationale", language, rationale, self._config.rationale_words)
        for name, text in (("choice", choice), ("rationale", rationale)):
            self._language(name, language, text)
        self._new("rationale", language, rationale)

    def check_unlike(self, language: str, rationale: str, others: Iterable[ActivationItem]) -> None:
        """Raises Rejected if a rationale is nearly that of another decision on the dilemma."""
        for other in others:
            if (
                other.language == language
                and jaccard(rationale, other.rationale, self._check.run) >= self._check.similarity
            ):
                raise Rejected(f"rationale nearly the same as the one of {other.stance}")

    def check_new(self, items: Sequence[ActivationItem | EvaluationItem]) -> None:
        """Raises Rejected if one of these is nearly the same as another in the corpus by now."""
        for item in items:
            for name in ("dilemma", "rationale"):
                if text := getattr(item, name, ""):
                    self._new(name, item.language, text)

    def _length(self, name: str, language: str, text: str, bounds: dict[str, list[int]]) -> None:
        least, most = bounds[language if language in bounds else "other"]
        length = len(split_words(text))
        if not least <= length <= most:
            raise Rejected(f"{name} of {length} words, expected {least} to {most}")

    def _language(self, name: str, language: str, text: str) -> None:
        other = self._recogniser.find_other(text, language)
        if other is not None:
            raise Rejected(f"{name} in {other[0]}, expected {language}")

    def _new(self, name: str, language: str, text: str) -> None:
        if (twin := self._near(language).find(text)) is not None:
            raise Rejected(f"{name} nearly the same as another: {twin[:60]!r}")

    def _near(self, language: str) -> "Nearness":
        return self._nearness.setdefault(language, Nearness(self._check))


class Nearness:
    """Texts of one language, among which one like another is found at once."""

    def __init__(self, config: CheckConfig) -> None:
        self._config = config
        self._index = RMinHashLSH(
            threshold=config.similarity, num_perm=config.hashes, num_bands=config.bands
        )
        self._texts: list[str] = []

    def add(self, text: str) -> None:
        """Take one more."""
        self._index.insert(len(self._texts), self._sign(text))
        self._texts.append(text)

    def find(self, text: str) -> str | None:
        """One that has as many runs of words in common as makes two near-duplicates."""
        for number in self._index.query(self._sign(text)):
            other: str = self._texts[number]
            if jaccard(text, other, self._config.run) >= self._config.similarity:
                return other
        return None

    def _sign(self, text: str) -> RMinHash:
        runs = [shingle(text, self._config.run)]
        (sign,) = RMinHash.from_token_sets(runs, self._config.hashes, self._config.seed)
        return sign
