"""Acceptance rules: those of `vxdist corpus check`, applied while the corpus grows."""

from collections.abc import Iterable, Sequence

from rensa import RMinHash, RMinHashLSH

from vxdist.corpus.builder.config import BuildConfig
from vxdist.corpus.check.duplicates import jaccard
from vxdist.corpus.check.language import Recogniser
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.check.text import shingle, split_words
from vxdist.corpus.items import ActivationItem, EvaluationItem


class Rejected(Exception):
    """An answer breaks a rule; the message says which."""


class Rules:
    """Rules on languages, lengths, and duplicate dilemmas and rationales."""

    def __init__(self, config: BuildConfig) -> None:
        self._config, self._check = config, CheckConfig()
        self._recogniser = Recogniser(self._check)
        self._indexes: dict[str, SimilarityIndex] = {}

    def add(self, items: Iterable[ActivationItem | EvaluationItem]) -> None:
        """Register items of the corpus, of both splits."""
        for item in items:
            for text in {item.dilemma, getattr(item, "rationale", "")} - {""}:
                self._index(item.language).add(text)

    def check_dilemma(self, language: str, dilemma: str, aligned: str, violating: str) -> None:
        """Raise Rejected if a dilemma or its options break a rule."""
        self._check_length("dilemma", language, dilemma, self._config.dilemma_words)
        lengths = [len(split_words(text)) for text in (aligned, violating)]
        if max(lengths) > self._config.option_ratio * max(1, min(lengths)):
            raise Rejected(
                f"options of {lengths[0]} and {lengths[1]} words, expected similar lengths"
            )
        if aligned == violating:
            raise Rejected("both options are the same")
        for name, text in (("dilemma", dilemma), ("aligned", aligned), ("violating", violating)):
            self._check_language(name, language, text)
        self._check_duplicate("dilemma", language, dilemma)

    def check_rationale(self, language: str, choice: str, rationale: str) -> None:
        """Raise Rejected if a choice or its rationale break a rule."""
        self._check_length("rationale", language, rationale, self._config.rationale_words)
        for name, text in (("choice", choice), ("rationale", rationale)):
            self._check_language(name, language, text)
        self._check_duplicate("rationale", language, rationale)

    def check_distinct(
        self, language: str, rationale: str, others: Iterable[ActivationItem]
    ) -> None:
        """Raise Rejected if a rationale is nearly that of the other decision on its dilemma."""
        for other in others:
            if (
                other.language == language
                and jaccard(rationale, other.rationale, self._check.shingle_words)
                >= self._check.similarity
            ):
                raise Rejected(f"rationale nearly the same as that of the {other.stance} decision")

    def check_duplicates(self, items: Sequence[ActivationItem | EvaluationItem]) -> None:
        """Raise Rejected if an item is nearly the same as one that the corpus has by now."""
        for item in items:
            for name in ("dilemma", "rationale"):
                if text := getattr(item, name, ""):
                    self._check_duplicate(name, item.language, text)

    def _check_length(
        self, name: str, language: str, text: str, bounds: dict[str, list[int]]
    ) -> None:
        least, most = bounds[language if language in bounds else "other"]
        length = len(split_words(text))
        if not least <= length <= most:
            raise Rejected(f"{name} of {length} words, expected {least} to {most}")

    def _check_language(self, name: str, language: str, text: str) -> None:
        other = self._recogniser.find_other(text, language)
        if other is not None:
            raise Rejected(f"{name} is in language {other[0]}, expected {language}")

    def _check_duplicate(self, name: str, language: str, text: str) -> None:
        if (other := self._index(language).find(text)) is not None:
            raise Rejected(f"{name} nearly the same as another: {other[:60]!r}")

    def _index(self, language: str) -> "SimilarityIndex":
        return self._indexes.setdefault(language, SimilarityIndex(self._check))


class SimilarityIndex:
    """Texts of one language, indexed for near-duplicate lookup."""

    def __init__(self, config: CheckConfig) -> None:
        self._config = config
        self._index = RMinHashLSH(
            threshold=config.similarity, num_perm=config.hashes, num_bands=config.bands
        )
        self._texts: list[str] = []

    def add(self, text: str) -> None:
        """Add a text."""
        self._index.insert(len(self._texts), self._sign(text))
        self._texts.append(text)

    def find(self, text: str) -> str | None:
        """A near-duplicate of `text`; None if there is none."""
        for number in self._index.query(self._sign(text)):
            other: str = self._texts[number]
            if jaccard(text, other, self._config.shingle_words) >= self._config.similarity:
                return other
        return None

    def _sign(self, text: str) -> RMinHash:
        shingles = [shingle(text, self._config.shingle_words)]
        (signature,) = RMinHash.from_token_sets(shingles, self._config.hashes, self._config.seed)
        return signature
