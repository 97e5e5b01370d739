"""Texts that begin alike, in one row of tokens: what they share stands, and runs, once.

A row is a prefix tree. Each token attends to the tokens before it in its own text only, and has the
position that it has there, so that the model computes for every text what it would of it alone.
T: token of a text, W: token of a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_SHARED = 0.25
"""Part of a text that must be in a row already for it to join: for less, the wider row costs more
in attention than it saves."""
WIDEST = 2
"""Tokens of a row, as a multiple of the longest text."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Some texts, by their numbers, and where in the row the tokens of each are."""

    texts: tuple[int, ...]
    token_ids_W: NDArray[np.int32]
    places: tuple[NDArray[np.intp], ...]
    """For each text, (T,), in rising order: it attends within these."""

    def __len__(self) -> int:
        return len(self.token_ids_W)

    @property
    def positions_W(self) -> NDArray[np.int64]:
        """Each token's position in its text."""
        found_W = np.zeros(len(self), dtype=np.int64)
        for place_T in self.places:
            found_W[place_T] = np.arange(len(place_T))
        return found_W

    def attends_WW(self) -> NDArray[np.bool_]:
        """Whether a token (first dimension) attends to another (second)."""
        found_WW = np.zeros((len(self), len(self)), dtype=bool)
        for place_T in self.places:
            found_WW[np.ix_(place_T, place_T)] |= np.tri(len(place_T), dtype=bool)
        return found_WW


def stand_alone(texts: Sequence[NDArray[np.int32]]) -> list[Row]:
    """A row for each text."""
    return [
        Row(texts=(n,), token_ids_W=ids_T, places=(np.arange(len(ids_T)),))
        for n, ids_T in enumerate(texts)
    ]


def share_rows(texts: Sequence[NDArray[np.int32]], most_tokens: int) -> list[Row]:
    """Rows of all texts (not empty), in which texts that begin alike share what they can.

    A row has at most `most_tokens` tokens, and at most `WIDEST` times as many as the longest text,
    unless a single text has more. The result depends only on the arguments.
    """
    keys = [tuple(ids_T.tolist()) for ids_T in texts]
    widest = min(most_tokens, WIDEST * max(map(len, keys), default=0))
    rows: list[_Growing] = []
    # In this order a text has no neighbour that it shares more with.
    for n in sorted(range(len(keys)), key=lambda n: (keys[n], n)):
        if not (rows and rows[-1].join(n, keys[n], widest)):
            rows.append(_Growing(n, keys[n]))
    return [row.done() for row in rows]


class _Growing:
    """A row that texts are added to, in the order of their tokens."""

    def __init__(self, text: int, key: tuple[int, ...]) -> None:
        self._texts, self._last = [text], key
        self._tokens, self._places = list(key), [list(range(len(key)))]

    def join(self, text: int, key: tuple[int, ...], widest: int) -> bool:
        """Add a text, if enough of it is there and the rest fits; says whether it was added."""
        pairs = zip(self._last, key, strict=False)
        least = min(len(self._last), len(key))
        shared = next((n for n, (a, b) in enumerate(pairs) if a != b), least)
        end = len(self._tokens) + len(key) - shared
        if shared < LEAST_SHARED * len(key) or end > widest:
            return False
        self._places.append(self._places[-1][:shared] + list(range(len(self._tokens), end)))
        self._tokens += key[shared:]
        self._texts.append(text)
        self._last = key
        return True

    def done(self) -> Row:
        return Row(
            texts=tuple(self._texts),
            token_ids_W=np.array(self._tokens, dtype=np.int32),
            places=tuple(np.array(place_T) for place_T in self._places),
        )
