"""Tokenising stories, and deciding which tokens count."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vxdist.corpus import ActivationItem
from vxdist.errors import UserError

SEPARATOR = "\n\n"
AT_ONCE = 512
"""Stories tokenised together: enough to use all cores, few enough to fit in memory."""
MOST_NAMED = 5
"""Number of stories that an error names."""


class Tokenizer(Protocol):
    """What planning uses of a Hugging Face fast tokenizer."""

    is_fast: bool
    all_special_ids: list[int]
    added_tokens_decoder: dict[int, Any]
    unk_token_id: int | None
    unk_token: str | None

    def __call__(self, text: list[str], **settings: Any) -> Any:
        """Token ids, offsets and special-token mask of each text."""


@dataclass(frozen=True, kw_only=True)
class TokenizedStory:
    """One story as the model reads it. T: token."""

    id: str
    value: str
    language: str
    stance: str
    pair: str
    setting: str
    token_ids_T: NDArray[np.int32]
    counted_T: NDArray[np.bool_]

    @property
    def counted(self) -> int:
        """Number of tokens that count."""
        return int(self.counted_T.sum())


def _special_ids(tokenizer: Tokenizer) -> set[int]:
    """Tokens that never count: those with a role, and those that are only marked as special."""
    marked = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return set(tokenizer.all_special_ids) | marked


def join_story(item: ActivationItem) -> str:
    """The text of a story as the model reads it; a plain text has only a dilemma."""
    return SEPARATOR.join(filter(None, (item.dilemma, item.choice, item.rationale)))


def tokenize_stories(
    items: Sequence[ActivationItem],
    tokenizer: Tokenizer,
    *,
    span: Literal["all", "response"],
    advance: Callable[[int], object] = lambda _: None,
) -> tuple[TokenizedStory, ...]:
    """Tokenise each story as dilemma, choice, rationale, separated by blank lines.

    What a text spells is text, special tokens such as <|im_end|> included; a token that the
    tokenizer adds without marking it as special is still one. Special tokens never count; with
    `span="response"` only tokens that overlap the choice or the rationale do. `advance` is called
    with the number of stories just done. Raises UserError if the tokenizer has no offsets, or
    stories have no token to count.
    """
    if not tokenizer.is_fast:
        raise UserError("model.path: not a fast tokenizer; vxdist needs a tokenizer.json")
    special = list(_special_ids(tokenizer))
    stories: list[TokenizedStory] = []
    for batch in (items[n : n + AT_ONCE] for n in range(0, len(items), AT_ONCE)):
        stories += _tokenize(batch, tokenizer, special, span)
        advance(len(batch))
    if empty := [story.id for story in stories if not story.counted_T.any()]:
        raise UserError(
            f"{_name_stories(empty)} no token to count with locate.span: {span}; remove "
            f"{'it' if len(empty) == 1 else 'them'}"
        )
    return tuple(stories)


def _tokenize(
    items: Sequence[ActivationItem], tokenizer: Tokenizer, special: list[int], span: str
) -> Iterator[TokenizedStory]:
    texts = [join_story(item) for item in items]
    heads = [len(item.dilemma) + len(SEPARATOR) for item in items]
    encoded = tokenizer(
        texts,
        add_special_tokens=True,
        split_special_tokens=True,  # of the text; those around it are added all the same
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
        truncation=False,
    )
    for n, item in enumerate(items):
        ids_T = np.asarray(encoded["input_ids"][n], dtype=np.int32)
        added_T = np.asarray(encoded["special_tokens_mask"][n], dtype=bool)
        spans = encoded["offset_mapping"][n]
        counted_T = ~added_T & ~np.isin(ids_T, special)
        counted_T |= ~added_T & _unknown(ids_T, spans, texts[n], tokenizer)
        if span == "response":
            counted_T &= np.asarray([end for _, end in spans]) > heads[n]
        yield TokenizedStory(
            id=item.id,
            value=item.value,
            language=item.language,
            stance=item.stance,
            pair=item.pair,
            setting=item.setting,
            token_ids_T=ids_T,
            counted_T=counted_T,
        )


def _unknown(
    ids_T: NDArray[np.int32], spans: Sequence[tuple[int, int]], text: str, tokenizer: Tokenizer
) -> NDArray[np.bool_]:
    """Unknown tokens; they represent text and so count, unless the text itself spells the token."""
    return np.array(
        [
            token == tokenizer.unk_token_id and text[start:end] != tokenizer.unk_token
            for token, (start, end) in zip(ids_T, spans, strict=True)
        ],
        dtype=bool,
    )


def fit_stories(
    stories: Sequence[TokenizedStory],
    *,
    max_length: int | None,
    too_long: Literal["refuse", "leave_out"],
) -> tuple[TokenizedStory, ...]:
    """The stories of the dilemmas that fit the model.

    A dilemma is left out in all its languages and stances if one of them is longer than
    `max_length` tokens: what is compared stays comparable. Raises UserError, naming the first of
    the stories that are too long, unless they are to be left out, and some of each group stay.
    """
    sizes = {story.id: len(story.token_ids_T) for story in stories}
    long = [n for n in sizes if max_length is not None and sizes[n] > max_length]
    if not long:
        return tuple(stories)
    if too_long == "refuse":
        first = f"{sizes[long[0]]:,}" if len(long) == 1 else f"up to {max(sizes.values()):,}"
        raise UserError(
            f"{_name_stories(long)} {first} tokens, more than the model's limit of "
            f"{max_length:,}; shorten or remove {'it' if len(long) == 1 else 'them'}, or set "
            "locate.too_long: leave_out to leave the dilemma out"
        )
    pairs = {story.pair for story in stories if story.id in set(long)}
    kept = [story for story in stories if story.pair not in pairs]
    lost = {_group(story) for story in stories} - {_group(story) for story in kept}
    if lost:
        raise UserError(
            f"locate.too_long: no story of {'/'.join(min(lost))} is left, as all its dilemmas have "
            f"one longer than the model's limit of {max_length:,} tokens"
        )
    return tuple(kept)


def _group(story: TokenizedStory) -> tuple[str, str, str]:
    return story.value, story.language, story.stance


def _name_stories(ids: Sequence[str]) -> str:
    """The first of these stories, as a subject with its verb."""
    if len(ids) == 1:
        return f"story {ids[0]} has"
    more = f" and {len(ids) - MOST_NAMED:,} more" if len(ids) > MOST_NAMED else ""
    return f"{len(ids):,} stories ({', '.join(ids[:MOST_NAMED])}{more}) have"
