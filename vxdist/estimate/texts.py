"""Lengths of the texts of a run in tokens: counted, or estimated if there is no tokenizer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vxdist.asking.checks import check_asking, find_asked, find_items, make_outcomes
from vxdist.asking.identity import choose_today
from vxdist.asking.outcomes import Item, Outcome, choose_items, questions_per_dilemma, traits_of
from vxdist.asking.prompting import Prompter
from vxdist.config import Config
from vxdist.corpus import Corpus
from vxdist.errors import UserError
from vxdist.estimate.assumptions import Assumptions
from vxdist.estimate.rows import character_rows, resize_rows, row_lengths, spread
from vxdist.estimate.units import check_amount
from vxdist.model.load import ModelShape, load_tokenizer
from vxdist.model.source import ModelSource
from vxdist.plan import Telling, fit_stories, tokenize_stories
from vxdist.plan.texts import join_story

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
"""A model directory with any of these files has a tokenizer."""
MOST = 10_000_000
"""Largest number of texts, or of tokens per text, that is accepted; more is taken for a typo."""


@dataclass(frozen=True, kw_only=True)
class StoryLength:
    """Number of tokens of a story, and what decides its part."""

    pair: str
    value: str
    language: str
    stance: str
    setting: str
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Number of tokens of each story, in order, and of each question, by outcome and language.

    `rows` are what is run of the questions: those that begin alike share a row.
    """

    stories: Sequence[StoryLength]
    questions: Mapping[str, Mapping[str, Sequence[int]]]
    rows: Mapping[str, Mapping[str, Sequence[int]]]
    story_source: str
    """Where the lengths of stories come from: `counted`, `estimated` or `given`."""
    question_source: str
    """Where the lengths of questions come from."""


@dataclass(frozen=True, kw_only=True)
class CorpusSize:
    """Size of a corpus that does not exist yet; None takes that of the configured corpus."""

    stories: int | None = None
    tokens_per_story: float | None = None
    dilemmas: int | None = None
    tokens_per_dilemma: float | None = None


def measure_texts(
    config: Config,
    corpus: Corpus,
    source: ModelSource,
    shape: ModelShape,
    corpus_size: CorpusSize,
    assume: Assumptions,
) -> Lengths:
    """Lengths of all stories, and of all questions of one condition.

    Raises UserError if a given number is not above 0, or a counted text is longer than the model's
    limit.
    """
    for name, number in vars(corpus_size).items():
        check_amount(name, number, MOST)
    check_asking(config.evaluate)
    outcomes = make_outcomes(config.evaluate)
    asked = {name: _items(config, corpus, outcome) for name, outcome in outcomes.items()}
    if any((source.directory / name).is_file() for name in TOKENIZER_FILES):
        measured = _count(config, corpus, asked, source, shape)
    else:
        measured = _estimate(config, corpus, asked, assume)
    questions = {
        name: _resize_questions(
            {g: measured.questions[name].get(g, []) for g in corpus.languages},
            outcome,
            corpus_size,
            assume,
        )
        for name, outcome in outcomes.items()
    }
    return Lengths(
        stories=_resize_stories(
            measured.stories, corpus_size.stories, corpus_size.tokens_per_story, assume
        ),
        questions=questions,
        rows={
            name: resize_rows(measured.rows[name], measured.questions[name], of, assume)
            for name, of in questions.items()
        },
        story_source="given" if corpus_size.tokens_per_story else measured.story_source,
        question_source="given" if corpus_size.tokens_per_dilemma else measured.question_source,
    )


def _items(config: Config, corpus: Corpus, outcome: Outcome) -> list[Item]:
    """What an outcome asks about; a corpus need not have dilemmas, for their number may be given.

    Raises UserError if the corpus has no neutral passages, and an outcome needs them.
    """
    if traits_of(outcome).split == "neutral":
        return find_asked(config, corpus, outcome)
    return choose_items(outcome, find_items(config, corpus, config.evaluate.dilemmas))


def _resize_questions(
    by_language: Mapping[str, Sequence[int]],
    outcome: Outcome,
    corpus_size: CorpusSize,
    assume: Assumptions,
) -> Mapping[str, Sequence[int]]:
    """Questions about as many dilemmas as are given; neutral passages, and outcomes that choose
    their dilemmas, stay as they are."""
    if traits_of(outcome).split == "neutral" or hasattr(outcome, "choose"):
        return by_language
    dilemmas = corpus_size.dilemmas
    texts = None if dilemmas is None else questions_per_dilemma(outcome) * dilemmas
    return _resize(by_language, texts, corpus_size.tokens_per_dilemma, assume)


def _count(
    config: Config,
    corpus: Corpus,
    asked: Mapping[str, Sequence[Item]],
    source: ModelSource,
    shape: ModelShape,
) -> Lengths:
    tokenizer: Any = load_tokenizer(source)
    limit = shape.max_length
    stories = fit_stories(
        tokenize_stories(corpus.activation, tokenizer, span=config.locate.span),
        max_length=limit,
        too_long=config.locate.too_long,
    )
    prompter = Prompter(tokenizer, config.evaluate, choose_today(config, {}))
    outcomes = make_outcomes(config.evaluate)
    texts = {
        name: _gather(
            (q.language, q.token_ids_T) for q in outcomes[name].ask(items, prompter, limit)
        )
        for name, items in asked.items()
    }
    return Lengths(
        stories=[_measured(s, len(s.token_ids_T)) for s in stories],
        questions={name: _each(of, lambda found: map(len, found)) for name, of in texts.items()},
        rows={
            name: _each(of, partial(row_lengths, config, outcomes[name]))
            for name, of in texts.items()
        },
        story_source="counted",
        question_source="counted",
    )


def _each(
    by_language: Mapping[str, Any], change: Callable[[Any], Iterable[int]]
) -> dict[str, list[int]]:
    return {language: list(change(of)) for language, of in by_language.items()}


def _estimate(
    config: Config, corpus: Corpus, asked: Mapping[str, Sequence[Item]], assume: Assumptions
) -> Lengths:
    rates, outcomes = assume.characters_per_token, make_outcomes(config.evaluate)

    def tokens(text: str, language: str) -> int:
        return 1 + round(len(text) / rates.get(language, rates["other"]))

    def rows(name: str, items: Sequence[Item]) -> Mapping[str, list[int]]:
        texts: Mapping[str, list[Any]] = _gather(
            (item.language, text) for item in items for text in outcomes[name].prompts(item)
        )
        return {
            language: character_rows(
                config, outcomes[name], of, assume, rates.get(language, rates["other"])
            )
            for language, of in texts.items()
        }

    return Lengths(
        stories=[_measured(s, tokens(join_story(s), s.language)) for s in corpus.activation],
        questions={
            name: _gather(
                (item.language, assume.template_tokens + tokens(text, item.language))
                for item in items
                for text in outcomes[name].prompts(item)
            )
            for name, items in asked.items()
        },
        rows={name: rows(name, items) for name, items in asked.items()},
        story_source="estimated",
        question_source="estimated",
    )


def _measured(story: Telling, tokens: int) -> StoryLength:
    return StoryLength(
        pair=story.pair,
        value=story.value,
        language=story.language,
        stance=story.stance,
        setting=story.setting,
        tokens=tokens,
    )


def _resize_stories(
    stories: Sequence[StoryLength], texts: int | None, mean: float | None, assume: Assumptions
) -> Sequence[StoryLength]:
    """As `_resize`. A number of stories is given: those of every group tell the same dilemmas."""
    groups = _gather(((s.value, s.language, s.stance), s.tokens) for s in stories)
    resized = _resize(groups, texts, mean, assume)
    if texts is None:
        lengths = {group: iter(tokens) for group, tokens in resized.items()}
        return [replace(s, tokens=next(lengths[s.value, s.language, s.stance])) for s in stories]
    return [
        StoryLength(pair=f"{n}", value=v, language=g, stance=s, setting="", tokens=tokens)
        for (v, g, s), lengths in resized.items()
        for n, tokens in enumerate(lengths)
    ]


def _gather(pairs: Any) -> dict[Any, list[int]]:
    lengths: dict[Any, list[int]] = {}
    for key, length in pairs:
        lengths.setdefault(key, []).append(length)
    return lengths


def _resize(
    groups: Mapping[Any, Sequence[int]],
    texts: int | None,
    mean: float | None,
    assume: Assumptions,
) -> Mapping[Any, Sequence[int]]:
    """This many texts, divided evenly among the groups, with lengths spread evenly around the mean.

    A number that is None stays as it is; without a mean, each group keeps its own.
    """
    if texts is None and mean is None:
        return groups
    total = texts or sum(map(len, groups.values()))
    resized = {}
    for n, (group, lengths) in enumerate(groups.items()):
        number = total * (n + 1) // len(groups) - total * n // len(groups)
        if mean is None and not lengths:
            raise UserError(
                "--tokens-per-dilemma: not given, and the corpus has no dilemmas; give it"
            )
        group_mean = mean or sum(lengths) / len(lengths)
        resized[group] = spread(number, group_mean, assume.length_spread)
    return resized
