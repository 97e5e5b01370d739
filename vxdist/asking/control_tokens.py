"""Control tokens that a text of the corpus spells are encoded as text, not as control tokens."""

import re
from collections.abc import Sequence
from typing import Any


def control_tokens(tokenizer: Any, template: str) -> tuple[str, ...]:
    """The tokens that a text must not be able to write, longest first.

    Those marked as special, and added ones that the chat template writes, such as `</think>`; other
    added tokens are words, and white space is no control token.
    """
    found = {
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if token.special or (token.content in template and not token.content.isspace())
    }
    return tuple(sorted(found, key=len, reverse=True))


def encode_quoting(
    tokenizer: Any,
    shown: str,
    question: str,
    quoted: Sequence[str],
    controls: Sequence[str],
    *,
    begins: bool,
) -> list[int]:
    """Token ids of `shown`, in which the control tokens that the `quoted` texts spell are text.

    They are parts of `question`, which is a part of `shown`. Where they spell none, these are the
    ids that the tokenizer gives. `begins`: the tokenizer adds what it puts before a text.
    """
    question = question.strip()
    offset = shown.rindex(question)
    spans = [(offset + a, offset + b) for a, b in _find(question, quoted, controls)]
    if not spans:
        return list(tokenizer(shown, add_special_tokens=begins)["input_ids"])
    ids: list[int] = []
    end = 0
    for start, stop in spans:
        ids += _encode(tokenizer, shown[end:start], begins=begins and end == 0, first=end == 0)
        ids += _encode_as_text(tokenizer, shown[start:stop])
        end = stop
    return ids + _encode(tokenizer, shown[end:], begins=False, first=False)


def _find(question: str, quoted: Sequence[str], controls: Sequence[str]) -> list[tuple[int, int]]:
    """Where in the question the quoted texts spell a control token, in order."""
    if not controls:
        return []
    control = re.compile("|".join(map(re.escape, controls)))
    spans = {
        (place.start() + found.start(), place.start() + found.end())
        for text in {text.strip() for text in quoted if control.search(text)}
        for place in re.finditer(re.escape(text), question)
        for found in control.finditer(text)
    }
    return sorted(spans)


def _encode(tokenizer: Any, text: str, *, begins: bool, first: bool) -> list[int]:
    """Token ids of a piece of a prompt; `begins` if the tokenizer adds what comes before a text."""
    if first or not text:
        return list(tokenizer(text, add_special_tokens=begins)["input_ids"])
    return _encode_inside(tokenizer, text, split_special_tokens=False)


def _encode_as_text(tokenizer: Any, control: str) -> list[int]:
    """Token ids of a control token's spelling."""
    ids = _encode_inside(tokenizer, control, split_special_tokens=True)
    if tokenizer.convert_tokens_to_ids(control) not in ids:
        return ids
    # An added token that is not marked as special: only in two halves is it text.
    half = len(control) // 2
    return [
        token
        for part in (control[:half], control[half:])
        for token in _encode_inside(tokenizer, part, split_special_tokens=True)
    ]


def _encode_inside(tokenizer: Any, text: str, *, split_special_tokens: bool) -> list[int]:
    """Token ids of a text that others precede: some tokenizers put a blank before the first."""

    def encode(of: str) -> list[int]:
        encoded = tokenizer(of, add_special_tokens=False, split_special_tokens=split_special_tokens)
        return list(encoded["input_ids"])

    line, ids = encode("\n"), encode(f"\n{text}")
    return ids[len(line) :] if ids[: len(line)] == line else encode(text)
