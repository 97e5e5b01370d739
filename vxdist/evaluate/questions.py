"""Building all questions of an evaluation, to see that they can be asked, before any hours."""

from dataclasses import dataclass
from typing import Any

from vxdist.config import Config
from vxdist.corpus import Corpus
from vxdist.evaluate.checks import find_items, make_outcome
from vxdist.model.load import describe_model, load_tokenizer
from vxdist.model.source import find_config
from vxdist.plan import pack


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A tokenizer, and the longest text, in tokens, that its model reads (None: any)."""

    tokenizer: Any
    max_length: int | None


def find_reader(config: Config) -> Reader:
    """Reads configuration and tokenizer only. Raises UserError if the model has none."""
    source = find_config(config.model)
    shape = describe_model(source)
    return Reader(tokenizer=load_tokenizer(source), max_length=shape.max_length)


def check_questions(config: Config, corpus: Corpus, reader: Reader) -> None:
    """Ask all questions as evaluate will.

    Raises UserError if the tokenizer, its chat template or a setting does not suit, or a question
    is too long.
    """
    items = find_items(config, corpus)
    asked = make_outcome(config.evaluate).ask(items, reader.tokenizer, reader.max_length)
    pack(
        [len(question.token_ids_T) for question in asked],
        tokens_per_batch=config.evaluate.tokens_per_batch,
        max_padding=config.evaluate.max_padding,
        section="evaluate",
    )
