"""Dilemmas of one split and language as arrays, for tests over dilemmas.

The tellings of one dilemma (its stances) are not independent, so that a dilemma counts once. D:
dilemma, in order of appearance.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vxdist.corpus.check.text import split_words, whole_text
from vxdist.corpus.items import ActivationItem

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Telling:
    """A story of a dilemma, and its length in words (characters for Chinese), at least 1."""

    stance: str
    text: str
    words: int


@dataclass(frozen=True, kw_only=True)
class Dilemmas:
    """The dilemmas of one language."""

    language: str
    values: Sequence[str]
    value_D: Integers
    """Number of the value in `values`."""
    tellings: Sequence[Sequence[Telling]]

    @property
    def words_D(self) -> Floats:
        """Mean length of the tellings of each dilemma."""
        return np.array([np.mean([t.words for t in of]) for of in self.tellings])

    @property
    def log_words_D(self) -> Floats:
        """Mean log length of the tellings of each dilemma."""
        return np.array([np.mean([np.log(t.words) for t in of]) for of in self.tellings])

    def pair_halves(self) -> Integers:
        """Pairs of a dilemma in the first and one in the second half of a value's, (K, 2).

        The middle one of an odd number is in neither.
        """
        pairs = []
        for value in range(len(self.values)):
            (at,) = np.nonzero(self.value_D == value)
            half = len(at) // 2
            pairs.append(np.stack([at[:half], at[len(at) - half :]], axis=1))
        return np.concatenate(pairs)

    def half_D(self) -> Integers:
        """0 for the first half of the dilemmas of each value, 1 for the second, -1 for neither."""
        half_D = np.full(len(self.value_D), -1, dtype=np.intp)
        for half, which in enumerate(self.pair_halves().T):
            half_D[which] = half
        return half_D


def group_stories(stories: Sequence[ActivationItem]) -> list[Dilemmas]:
    """The dilemmas of each language, in order of appearance."""
    return [*_group(stories)]


def _group(stories: Sequence[ActivationItem]) -> Iterator[Dilemmas]:
    by_language: dict[str, dict[str, list[Telling]]] = {}
    value_of: Mapping[str, str] = {item.pair: item.value for item in stories}
    for item in stories:
        text = whole_text(item)
        telling = Telling(stance=item.stance, text=text, words=max(1, len(split_words(text))))
        by_language.setdefault(item.language, {}).setdefault(item.pair, []).append(telling)
    values = [*dict.fromkeys(value_of.values())]
    number = {value: n for n, value in enumerate(values)}
    for language, tellings in by_language.items():
        yield Dilemmas(
            language=language,
            values=values,
            value_D=np.array([number[value_of[pair]] for pair in tellings], dtype=np.intp),
            tellings=[*tellings.values()],
        )
