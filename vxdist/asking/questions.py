"""Building all questions of an evaluation, to see that they can be asked, before any hours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vxdist.asking.checks import find_asked, make_outcomes
from vxdist.asking.identity import choose_today
from vxdist.asking.outcomes import Item, Outcome, Question
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
    items: Sequence[Item],
    prompter: Prompter,
    source: ModelSource,
    shape: ModelShape,
) -> Sequence[Question]:
    """All questions about `items`. Raises UserError as `Outcome.ask` does, and if the model has no
    embedding for a token.
    """
    questions = outcome.ask(items, prompter, shape.max_length)
    named = ((name_item(items[q.at[0]]), q.token_ids_T) for q in questions)
    check_embedded(named, source, shape)
    return questions


def name_item(item: Item) -> str:
    """A dilemma or passage, by its id."""
    return f"{'dilemma' if isinstance(item, EvaluationItem) else 'passage'} {item.id}"


def check_questions(config: Config, corpus: Corpus, reader: Reader) -> None:
    """Ask all questions as evaluate will.

    Raises UserError if the tokenizer, its chat template or a setting does not suit, a question is
    too long, or the model has no embedding for one of its tokens.
    """
    prompter = Prompter(reader.tokenizer, config.evaluate, choose_today(config, {}))
    for outcome in make_outcomes(config.evaluate).values():
        items = find_asked(config, corpus, outcome)
        asked = ask(outcome, items, prompter, reader.source, reader.shape)
        pack(
            [len(question.token_ids_T) for question in asked],
            tokens_per_batch=config.evaluate.tokens_per_batch,
            max_padding=config.evaluate.max_padding,
            section="evaluate",
        )
