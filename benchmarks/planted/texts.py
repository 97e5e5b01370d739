"""What the models learn from: questions, rules, letters of actions, stories, neutral passages."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planted.language import ACTIONS, CUE, PROMPT, Language, neutral, question, story
from vxdist.corpus.items import STANCES
from vxdist.plan.texts import join_story

KINDS = (
    "question", "rule", "question", "story", "question", "rule", "question", "story",
    "question", "rule", "question", "story", "question", "rule", "question", "neutral",
)  # fmt: skip
"""Of texts to learn, in turn."""
FIRST_KINDS = ("rule", "letter", "rule", "letter", "rule", "letter", "rule", "neutral")
"""Of the first texts: who knows the rules, and finds the letter of an action, soon answers."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text to learn: its kind and words, its value (-1: none), and its answer: how far before
    the last word it is, and the words that are right and wrong there."""

    kind: str
    words: str
    value: int
    answer: int
    right: str
    wrong: str


def draw(
    language: Language, rng: np.random.Generator, number: int, kinds: Sequence[str]
) -> list[Text]:
    """Random texts of these kinds in turn."""
    return [_text(language, rng, kinds[n % len(kinds)]) for n in range(number)]


def _text(language: Language, rng: np.random.Generator, kind: str) -> Text:
    dilemma = language.dilemma(rng)
    right, wrong = ACTIONS[dilemma.honours], ACTIONS[1 - dilemma.honours]
    value = dilemma.value
    if kind in ("question", "letter"):
        first = int(rng.integers(2))
        a, b = (wrong, right) if first else (right, wrong)
        told = question(dilemma, "").dilemma if kind == "question" else f"{right} is right"
        letters = "BA" if first else "AB"
        # The action after its letter helps to learn which letter is which action's.
        words = f"{PROMPT.format(dilemma=told, a=a, b=b)} {CUE} {letters[0]} {right} ."
        answer, value = -3, value if kind == "question" else -1
        right, wrong = letters[0], letters[1]
    elif kind == "rule":
        words, answer = f"{dilemma.text} . {CUE} {right} .", -2
    elif kind == "story":
        stance = int(rng.integers(2))
        words, answer = join_story(story(dilemma, STANCES[stance], "")), -4
        right, wrong = ("wrong", "right") if stance else ("right", "wrong")
    else:
        words, answer, value = neutral(dilemma), -1, -1
        right = wrong = "."
    return Text(kind=kind, words=words, value=value, answer=answer, right=right, wrong=wrong)
