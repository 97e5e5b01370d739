"""How long the texts of a run are, in tokens: counted, or estimated where that cannot be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vxdist.config import Config, ForecastConfig
from vxdist.corpus import Corpus, EvaluationItem
from vxdist.errors import UserError
from vxdist.estimate.units import check_amount
from vxdist.evaluate.prompts import ask
from vxdist.model.load import ModelShape, load_tokenizer
from vxdist.model.source import ModelSource
from vxdist.plan import tokenize_stories
from vxdist.plan.texts import join_story

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
"""Any of these makes a tokenizer."""

MOST = 10_000_000
"""Texts, or tokens of one, beyond which a number is surely a slip."""

Group = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Tokens of each text: of stories by (value, language, stance), of questions by language."""

    stories: Mapping[Group, Sequence[int]]
    questions: Mapping[str, Sequence[int]]
    story_source: str
    question_source: str
    """Where the numbers are from: `counted`, `estimated` or `given`."""


@dataclass(frozen=True, kw_only=True)
class Imagined:
    """A corpus that does not exist yet; None leaves it to the one that is configured."""

    stories: int | None = None
    tokens_per_story: float | None = None
    dilemmas: int | None = None
    tokens_per_dilemma: float | None = None


def measure_texts(
    config: Config,
    corpus: Corpus,
    source: ModelSource,
    shape: ModelShape,
    imagined: Imagined,
    assume: ForecastConfig,
) -> Lengths:
    """Lengths of all stories, and of all questions of one condition.

    Raises UserError if a number given is not above 0, or a text that was counted is longer than
    the model reads.
    """
    for name, number in vars(imagined).items():
        check_amount(name, number, MOST)
    wanted = corpus.values if config.evaluate.values is None else config.evaluate.values
    dilemmas = [item for item in corpus.evaluation if item.value in wanted]
    if any((source.directory / name).is_file() for name in TOKENIZER_FILES):
        known = _count(config, corpus, dilemmas, source, shape)
    else:
        known = _estimate(config, corpus, dilemmas, assume)
    return Lengths(
        stories=_imagine(known.stories, imagined.stories, imagined.tokens_per_story, assume),
        questions=_imagine(
            {language: known.questions.get(language, []) for language in corpus.languages},
            None if imagined.dilemmas is None else 2 * imagined.dilemmas,
            imagined.tokens_per_dilemma,
            assume,
        ),
        story_source=_from(known.story_source, imagined.tokens_per_story),
        question_source=_from(known.question_source, imagined.tokens_per_dilemma),
    )


def _from(source: str, given: float | None) -> str:
    return source if given is None else "given"


def _count(
    config: Config,
    corpus: Corpus,
    dilemmas: Sequence[EvaluationItem],
    source: ModelSource,
    shape: ModelShape,
) -> Lengths:
    tokenizer: Any = load_tokenizer(source, shape)
    limit = shape.max_length
    stories = tokenize_stories(
        corpus.activation, tokenizer, span=config.locate.span, max_length=limit
    )
    questions = ask(dilemmas, tokenizer, config.evaluate, limit)
    return Lengths(
        stories=_gather(((s.value, s.language, s.stance), len(s.token_ids_T)) for s in stories),
        questions=_gather((q.language, len(q.token_ids_T)) for q in questions),
        story_source="counted",
        question_source="counted",
    )


def _estimate(
    config: Config, corpus: Corpus, dilemmas: Sequence[EvaluationItem], assume: ForecastConfig
) -> Lengths:
    rates, prompts = assume.characters_per_token, config.evaluate.prompts

    def tokens(text: str, language: str) -> int:
        return 1 + round(len(text) / rates.get(language, rates["other"]))

    def question(item: EvaluationItem) -> str:
        return "".join((prompts.get(item.language, ""), item.dilemma, item.aligned, item.violating))

    return Lengths(
        stories=_gather(
            (
                (s.value, s.language, s.stance),
                tokens(join_story(s), s.language),
            )
            for s in corpus.activation
        ),
        questions=_gather(
            (item.language, assume.template_tokens + tokens(question(item), item.language))
            for item in dilemmas
            for _ in (0, 1)
        ),
        story_source="estimated",
        question_source="estimated",
    )


def _gather(pairs: Any) -> dict[Any, list[int]]:
    lengths: dict[Any, list[int]] = {}
    for key, length in pairs:
        lengths.setdefault(key, []).append(length)
    return lengths


def _imagine(
    known: Mapping[Any, Sequence[int]],
    texts: int | None,
    mean: float | None,
    assume: ForecastConfig,
) -> Mapping[Any, Sequence[int]]:
    """As many texts, shared out evenly over the groups, spread evenly around their mean length.

    What is None stays as it is known; each group keeps its own mean then.
    """
    if texts is None and mean is None:
        return known
    total = texts or sum(map(len, known.values()))
    imagined = {}
    for n, (group, lengths) in enumerate(known.items()):
        number = total * (n + 1) // len(known) - total * n // len(known)
        if mean is None and not lengths:
            raise UserError(
                "--tokens-per-dilemma: not given, and the corpus has no dilemmas to measure"
            )
        middle = mean or sum(lengths) / len(lengths)
        imagined[group] = _spread(number, middle, assume.length_spread)
    return imagined


def _spread(number: int, mean: float, spread: float) -> list[int]:
    """Lengths from mean x (1 - spread) to mean x (1 + spread), in even steps."""
    step = 2 * spread * mean / max(1, number - 1)
    return [max(1, round(mean * (1 - spread) + step * i)) for i in range(number)]
