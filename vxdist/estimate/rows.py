"""Rows that evaluate makes of questions, in which what they share runs once: their lengths."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vxdist.asking.outcomes import Outcome, traits_of
from vxdist.config import Config
from vxdist.estimate.assumptions import Assumptions
from vxdist.plan import share_rows, stand_alone


def row_lengths(
    config: Config, outcome: Outcome, texts: Sequence[NDArray[np.int32]]
) -> Iterable[int]:
    """Lengths of the rows that evaluate makes of questions in one language."""
    most = config.evaluate.tokens_per_batch
    shares = traits_of(outcome).shares
    return map(len, share_rows(texts, most) if shares else stand_alone(texts))


def character_rows(
    config: Config, outcome: Outcome, texts: Sequence[str], assume: Assumptions, rate: float
) -> list[int]:
    """Lengths in tokens of the rows that questions would share if a token were a character."""
    template = [0] * round(assume.template_tokens * rate)
    spelled = [np.array([*template, *map(ord, text)], dtype=np.int32) for text in texts]
    settings = replace(
        config.evaluate, tokens_per_batch=round(config.evaluate.tokens_per_batch * rate)
    )
    found = row_lengths(replace(config, evaluate=settings), outcome, spelled)
    return [1 + round(length / rate) for length in found]


def resize_rows(
    rows: Mapping[str, Sequence[int]],
    before: Mapping[str, Sequence[int]],
    questions: Mapping[str, Sequence[int]],
    assume: Assumptions,
) -> Mapping[str, Sequence[int]]:
    """Rows of `questions`, which were `before` they were resized: they share as much as then. Of
    dilemmas that do not exist nothing is known to be shared."""
    found = {}
    for language, lengths in questions.items():
        of, then = rows.get(language, []), before.get(language, [])
        if lengths == then or not of:
            found[language] = of or lengths
            continue
        number = round(len(lengths) * len(of) / len(then))
        mean = _mean(lengths) * _mean(of) / _mean(then)
        found[language] = spread(number, mean, assume.length_spread)
    return found


def _mean(lengths: Sequence[int]) -> float:
    return sum(lengths) / len(lengths)


def spread(number: int, mean: float, relative: float) -> list[int]:
    """Lengths from mean x (1 - relative) to mean x (1 + relative), in even steps."""
    step = 2 * relative * mean / max(1, number - 1)
    return [max(1, round(mean * (1 - relative) + step * i)) for i in range(number)]
