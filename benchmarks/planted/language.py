"""A synthetic language in which each value decides choices by a rule of its own.

A dilemma names a value and a sign; the value's rule says of each sign which of two actions honours
the value. Neither word decides much alone: every value accepts half of the signs, and every sign is
accepted by about half of the values. Setting, thing and two adverbs decide nothing.

V: value, F: sign.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxdist.corpus import ActivationItem, EvaluationItem, NeutralItem
from vxdist.corpus.items import STANCES
from vxdist.corpus.write import write_corpus

Rules = NDArray[np.int64]
VALUES = ("candour", "courage", "fairness", "kindness", "loyalty", "mercy", "order", "thrift")
SIGNS = ("bell", "crow", "dust", "flag", "moon", "rain", "smoke", "star")
SETTINGS = ("barn", "forge", "inn", "market", "mill", "port", "school", "ward")
THINGS = ("boat", "cart", "coat", "knife", "lamp", "rope", "salt", "stone")
ADVERBS = ("again", "today")
ACTIONS = ("refuse", "accept")
LANGUAGE = "en"
PROMPT = "{dilemma} ? A {a} B {b}"
CUE = "right is"
"""The question that is asked, and what it ends with; texts that state a rule say the same."""
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
OTHERS = (
    "in", "is", "shown", "by", "near", ".", "?", "A", "B", "right", "wrong", "that", "was", "to",
    "I", "nothing", "asked", "there",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Dilemma:
    """What a dilemma says, each as a number, and which action honours its value."""

    value: int
    sign: int
    setting: int
    thing: int
    adverbs: tuple[bool, bool]
    honours: int

    @property
    def text(self) -> str:
        """The dilemma in words."""
        adverbs = [word for word, said in zip(ADVERBS, self.adverbs, strict=True) if said]
        place = " ".join(["in", SETTINGS[self.setting], *adverbs])
        return f"{place} {VALUES[self.value]} is shown {SIGNS[self.sign]} near {THINGS[self.thing]}"


@dataclass(frozen=True, kw_only=True)
class Language:
    """The rules: `rule_VF` is the number of the action that honours the value at the sign."""

    rule_VF: Rules

    def dilemma(
        self, rng: np.random.Generator, value: int | None = None, sign: int | None = None
    ) -> Dilemma:
        """A random dilemma, of a value and a sign if they are given."""
        values, signs = self.rule_VF.shape
        value = int(rng.integers(values)) if value is None else value
        sign = int(rng.integers(signs)) if sign is None else sign
        return Dilemma(
            value=value,
            sign=sign,
            setting=int(rng.integers(len(SETTINGS))),
            thing=int(rng.integers(len(THINGS))),
            adverbs=(bool(rng.integers(2)), bool(rng.integers(2))),
            honours=int(self.rule_VF[value, sign]),
        )


def make_language(values: int, signs: int, seed: int, *, common: bool) -> Language:
    """Rules of `values` values at `signs` signs, both even; `common` is one rule for all values.

    Raises ValueError if there are not as many rules.
    """
    if values > math.comb(signs, signs // 2):
        raise ValueError(f"{signs} signs have no {values} different rules that accept half of them")
    rng = np.random.default_rng([seed, 1])
    half_F = np.arange(signs) % 2
    while True:
        rule_VF = np.stack([rng.permutation(half_F) for _ in range(values)])
        if common:
            return Language(rule_VF=np.repeat(rule_VF[:1], values, axis=0))
        lean_F = abs(2 * rule_VF.sum(axis=0) - values)
        # Two values with one rule would share its neurons. Signs that lean a little are a way into
        # the rules, which gradient descent hardly finds without.
        if lean_F.max() <= 2 and lean_F.mean() >= 1 and len(np.unique(rule_VF, axis=0)) == values:
            return Language(rule_VF=rule_VF)


def story(dilemma: Dilemma, stance: str, number: str) -> ActivationItem:
    """The dilemma with a choice, and whether that was right."""
    honoured = stance == STANCES[0]
    action = ACTIONS[dilemma.honours if honoured else 1 - dilemma.honours]
    value = VALUES[dilemma.value]
    return ActivationItem(
        id=f"{number}-{stance}",
        pair=number,
        value=value,
        language=LANGUAGE,
        stance=stance,
        dilemma=f"{dilemma.text} .",
        choice=f"I {action} .",
        rationale=f"that was {'right' if honoured else 'wrong'} by {value} .",
        setting=SETTINGS[dilemma.setting],
    )


def question(dilemma: Dilemma, number: str) -> EvaluationItem:
    """The dilemma with both of its options."""
    return EvaluationItem(
        id=number,
        pair=number,
        value=VALUES[dilemma.value],
        language=LANGUAGE,
        dilemma=dilemma.text,
        aligned=ACTIONS[dilemma.honours],
        violating=ACTIONS[1 - dilemma.honours],
        setting=SETTINGS[dilemma.setting],
    )


def neutral(dilemma: Dilemma) -> str:
    """A passage in which no value is at stake."""
    return f"in {SETTINGS[dilemma.setting]} nothing was asked near {THINGS[dilemma.thing]} ."


def write(language: Language, folder: Path, *, stories: int, dilemmas: int, seed: int) -> None:
    """Write a corpus with so many dilemmas of each value in its splits, signs in turn."""
    rng = np.random.default_rng([seed, 2])
    values, signs = language.rule_VF.shape

    def deal(split: str, number: int) -> Sequence[tuple[str, Dilemma]]:
        return [
            (f"{VALUES[v]}-{split}{n:02}", language.dilemma(rng, v, n % signs))
            for n in range(number)
            for v in range(values)
        ]

    told = [story(of, stance, n) for n, of in deal("a", stories) for stance in STANCES]
    asked = [question(of, n) for n, of in deal("e", dilemmas)]
    plain = [
        NeutralItem(id=f"n{n:02}", pair=f"n{n:02}", language=LANGUAGE, text=neutral(of))
        for n, of in enumerate(language.dilemma(rng) for _ in range(16))
    ]
    card = {"name": "synthetic values", "licence": "Apache-2.0"}
    write_corpus(folder, told, asked, card, plain)


def make_tokenizer() -> Any:
    """A tokenizer of whole words that begins every text with <s>."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = (*VALUES, *SIGNS, *SETTINGS, *THINGS, *ADVERBS, *ACTIONS)
    words = dict.fromkeys((*SPECIAL, *OTHERS, *names))
    core = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, "<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", words_id(core, "<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )


def words_id(core: Any, word: str) -> int:
    """Number of a word."""
    return int(core.token_to_id(word))
