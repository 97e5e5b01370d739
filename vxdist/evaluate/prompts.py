"""Questions as the model reads them, and the tokens that answer them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxdist.config import EvaluateConfig
from vxdist.corpus import EvaluationItem
from vxdist.errors import UserError

LETTERS = ("A", "B")
FIELDS = ("{dilemma}", "{a}", "{b}")


@dataclass(frozen=True, kw_only=True)
class Question:
    """One dilemma in one order of its options: 0 is the aligned option first, 1 the other."""

    dilemma: int
    order: int
    language: str
    token_ids_T: NDArray[np.int32]


def ask(
    items: Sequence[EvaluationItem],
    tokenizer: Any,
    settings: EvaluateConfig,
    max_length: int | None,
) -> tuple[Question, ...]:
    """Each dilemma in both orders, through the chat template where the tokenizer has one.

    Question n asks dilemma n // 2 in order n % 2. Raises UserError for a language without a
    prompt, a prompt without its fields, or a question longer than the model reads.
    """
    questions = []
    for n, item in enumerate(items):
        for order in (0, 1):
            options = (item.aligned, item.violating)[:: 1 - 2 * order]
            text = _prompt(settings, item.language).format(
                dilemma=item.dilemma, a=options[0], b=options[1]
            )
            ids_T = _encode(text, item.language, tokenizer, settings)
            if max_length is not None and len(ids_T) > max_length:
                raise UserError(
                    f"dilemma {item.id} asks {len(ids_T)} tokens, more than the model's "
                    f"{max_length}; shorten or remove it"
                )
            questions.append(
                Question(dilemma=n, order=order, language=item.language, token_ids_T=ids_T)
            )
    return tuple(questions)


def _prompt(settings: EvaluateConfig, language: str) -> str:
    prompt = settings.prompts.get(language)
    if prompt is None:
        raise UserError(
            f"evaluate.prompts: none for language {language!r}; add one with {', '.join(FIELDS)}"
        )
    for name in FIELDS:
        if name not in prompt:
            raise UserError(f"evaluate.prompts.{language}: {name} is missing from it")
    return prompt


def _encode(
    text: str, language: str, tokenizer: Any, settings: EvaluateConfig
) -> NDArray[np.int32]:
    if tokenizer.chat_template:
        chat = [{"role": "user", "content": text}]
        shown = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        # The template wrote the special tokens already.
        ids = tokenizer(shown, add_special_tokens=False)["input_ids"]
    else:
        cue = settings.cues.get(language)
        if cue is None:
            raise UserError(f"evaluate.cues: none for language {language!r}; add one")
        ids = tokenizer(f"{text}\n\n{cue}")["input_ids"]
    return np.asarray(ids, dtype=np.int32)


def letter_tokens(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens that mean A, and those that mean B: with and without a space before.

    Raises UserError if the tokenizer has no single token for a letter.
    """
    found = []
    for letter in LETTERS:
        ids = set()
        for text in (letter, f" {letter}"):
            encoded = tokenizer(text, add_special_tokens=False)["input_ids"]
            if len(encoded) == 1 and encoded[0] != tokenizer.unk_token_id:
                ids.add(int(encoded[0]))
        if not ids:
            raise UserError(f"model.path: the tokenizer has no single token for {letter!r}")
        found.append(tuple(sorted(ids)))
    return found[0], found[1]
