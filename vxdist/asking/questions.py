"""Building all questions of an evaluation, to see that they can be asked, before any hours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vxdist.asking.checks import find_items, make_outcome
from vxdist.asking.identity import choose_today
from vxdist.asking.outcomes import Outcome, Question
from vxdist.asking.prompting import Prompter
from vxdist.config import Config
from vxdist.corpus import Corpus, EvaluationItem
from vxdist.model.load import ModelShape, check_embedded, describe_model, load_tokenizer
from vxdist.model.source import ModelSource, find_config
from vxdist.plan import pack


@dataclass(frozen=True, kw_only=True)
class Reader:
    """What reads the questions."""

    source: ModelSource
    shape: ModelShape
    tokenizer: Any


def find_reader(config: Config) -> Reader:
    """Reads configuration and tokenizer only. Raises UserError if the model has none."""
    source = find_config(config.model)
    return Reader(source=source, shape=describe_model(source), tokenizer=load_tokenizer(source))


def ask(
    outcome: Outcome,
    items: Sequence[EvaluationItem],
    prompter: Prompter,
    source: ModelSource,
    shape: ModelShape,
) -> Sequence[Question]:
    """All questions about `items`. Raises UserError as `Outcome.ask` does, and if the model has no
    embedding for a token.
    """
    questions = outcome.ask(items, prompter, shape.max_length)
    named = ((f"dilemma {items[q.at[0]].id}", q.token_ids_T) for q in questions)
    check_embedded(named, source, shape)
    return questions


def check_questions(config: Config, corpus: Corpus, reader: Reader) -> None:
    """Ask all questions as evaluate will.

    Raises UserError if the tokenizer, its chat template or a setting does not suit, a question is
    too long, or the model has no embedding for one of its tokens.
    """
    items = find_items(config, corpus, config.evaluate.dilemmas)
    prompter = Prompter(reader.tokenizer, config.evaluate, choose_today(config, {}))
    asked = ask(make_outcome(config.evaluate), items, prompter, reader.source, reader.shape)
    pack(
        [len(question.token_ids_T) for question in asked],
        tokens_per_batch=config.evaluate.tokens_per_batch,
        max_padding=config.evaluate.max_padding,
        section="evaluate",
    )
