"""Questions in rows, and rows in batches. A batch holds questions of one language.

D: dilemma.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vxdist.asking.outcomes import Question
from vxdist.plan import Row, pack, share_rows, stand_alone

Batches = tuple[tuple[int, ...], ...]


class Arrangement:
    """Rows of questions, and batches of rows, by their numbers, for any choice of dilemmas."""

    def __init__(
        self,
        questions: Sequence[Question],
        *,
        shares: bool,
        tokens_per_batch: int,
        max_padding: float,
    ) -> None:
        """A row holds one question, or with `shares` those that begin alike.

        Raises UserError, naming the setting of evaluate, if a question is longer than a batch.
        """
        self.shares, self.rows = shares, list[Row]()
        self.tokens_per_batch, self._max_padding = tokens_per_batch, max_padding
        self._questions = questions
        self._dilemma_Q = np.array([question.at[0] for question in questions], dtype=np.intp)
        self._batches: dict[bytes, Batches] = {}
        self.batches(np.ones(self._dilemma_Q.max(initial=-1) + 1, dtype=bool))

    def batches(self, asked_D: NDArray[np.bool_]) -> Batches:
        """Batches of all questions about some dilemmas; always the same for the same ones."""
        key = asked_D.tobytes()
        if key not in self._batches:
            self._batches[key] = self._arrange(np.flatnonzero(asked_D[self._dilemma_Q]).tolist())
        return self._batches[key]

    def count_tokens(self, asked_D: NDArray[np.bool_]) -> int:
        """Tokens of these batches, padding included."""
        batches = self.batches(asked_D)
        return sum(len(batch) * max(len(self.rows[r]) for r in batch) for batch in batches)

    def _arrange(self, asked: Sequence[int]) -> Batches:
        batches: list[tuple[int, ...]] = []
        for language in dict.fromkeys(self._questions[n].language for n in asked):
            of_language = [n for n in asked if self._questions[n].language == language]
            texts = [self._questions[n].token_ids_T for n in of_language]
            rows = share_rows(texts, self.tokens_per_batch) if self.shares else stand_alone(texts)
            packed = pack(
                [len(row) for row in rows],
                tokens_per_batch=self.tokens_per_batch,
                max_padding=self._max_padding,
                section="evaluate",
            )
            batches += [tuple(len(self.rows) + i for i in batch) for batch in packed]
            self.rows += [
                replace(row, texts=tuple(of_language[n] for n in row.texts)) for row in rows
            ]
        return tuple(batches)
