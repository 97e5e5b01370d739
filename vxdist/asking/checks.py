"""Checks of what is asked of which model; `vxdist estimate` makes some of them too."""

import datetime
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from vxdist.asking.outcomes import OUTCOMES, Item, Outcome, choose_items, traits_of
from vxdist.components import make_component
from vxdist.config import Config, CorpusConfig, EvaluateConfig
from vxdist.corpus import Corpus, EvaluationItem
from vxdist.corpus.editions import describe_other_edition, refuse_other_edition
from vxdist.errors import UserError
from vxdist.model.identify import check_same_model
from vxdist.model.source import ModelSource
from vxdist.output import Output
from vxdist.ranks import is_first_rank
from vxstore.read import Store


def make_outcome(settings: EvaluateConfig) -> Outcome:
    """The outcome of these settings, of several the first. Raises as `make_outcomes` does."""
    return next(iter(make_outcomes(settings).values()))


def make_outcomes(settings: EvaluateConfig) -> dict[str, Outcome]:
    """The outcomes of these settings, by name.

    Raises UserError if there is none of a name, one is named twice, or a setting is out of range.
    """
    named = [settings.outcome] if isinstance(settings.outcome, str) else settings.outcome
    if not named or len(set(named)) < len(named):
        raise UserError(f"evaluate.outcome: {named} must name at least one outcome, each once")
    found: dict[str, Outcome] = {}
    for name in named:
        outcome: Any = make_component(OUTCOMES, name, settings, "evaluate.outcome")
        if hasattr(outcome, "check"):
            outcome.check()
        found[name] = outcome
    return found


def find_asked(config: Config, corpus: Corpus, outcome: Outcome) -> list[Item]:
    """What an outcome asks about, in the order of the corpus: dilemmas, or neutral passages.

    Raises UserError if the corpus has none.
    """
    if traits_of(outcome).split == "neutral":
        spoken = {item.language for item in corpus.neutral}
        missing = [language for language in corpus.languages if language not in spoken]
        if missing:
            raise UserError(
                f"corpus.path: {config.corpus.path} has no neutral passages in "
                f"{', '.join(missing)}; add them to its neutral.jsonl, or leave harm out of "
                "evaluate.outcome"
            )
        return choose_items(outcome, corpus.neutral)
    items = find_items(config, corpus, config.evaluate.dilemmas)
    check_dilemmas(config, len(items), "evaluate.dilemmas")
    return choose_items(outcome, items)


def find_items(config: Config, corpus: Corpus, half: str) -> list[EvaluationItem]:
    """The dilemmas to ask about, in the order of the corpus; `half` is all, odd or even."""
    values = masked_values(config.evaluate, corpus)
    return [item for item in pick_half(corpus.evaluation, half) if item.value in values]


def pick_half(items: Sequence[EvaluationItem], half: str) -> list[EvaluationItem]:
    """The dilemmas whose pair has an odd, or an even, number among those of its value; or all.

    Pairs are numbered from 1 as they first appear, whatever the language, so that all tellings of a
    dilemma are in the same half.
    """
    number: dict[tuple[str, str], int] = {}
    count: dict[str, int] = {}
    for item in items:
        key = (item.value, item.pair)
        if key not in number:
            number[key] = count[item.value] = count.get(item.value, 0) + 1
    wanted = {"all": (0, 1), "odd": (1,), "even": (0,)}[half]
    return [item for item in items if number[item.value, item.pair] % 2 in wanted]


def masked_values(settings: EvaluateConfig, corpus: Corpus) -> list[str]:
    """Values whose neurons are ablated, and whose dilemmas are scored."""
    return list(corpus.values if settings.values is None else settings.values)


def check_values(settings: EvaluateConfig, corpus: Corpus) -> list[str]:
    """The masked values. Raises UserError if there is none, or one is unknown or named twice."""
    values = masked_values(settings, corpus)
    if not values or len(set(values)) < len(values):
        raise UserError(f"evaluate.values: {values} must name at least one value, each once")
    for value in values:
        if value not in corpus.values:
            raise UserError(
                f"evaluate.values: {value!r} is not in the corpus; it has "
                f"{', '.join(corpus.values)}"
            )
    return values


def check_asking(settings: EvaluateConfig) -> None:
    """Raise UserError if the least mass is no probability, or the date is none."""
    if not 0 <= settings.least_mass <= 1:
        raise UserError(f"evaluate.least_mass: {settings.least_mass} must be from 0 to 1")
    if settings.date is not None:
        read_date(settings.date)


def read_date(text: str) -> datetime.date:
    """The date that evaluate.date gives. Raises UserError if it is none."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise UserError(
            f"evaluate.date: {text!r} is no date; give one such as 2026-01-31"
        ) from error


def check_dilemmas(config: Config, number: int, key: str) -> None:
    """Raise UserError if the corpus has no evaluation dilemmas of the masked values; `key` is the
    setting that chooses a half of them."""
    if number > 0:
        return
    stage, _, name = key.partition(".")
    half = getattr(getattr(config, stage), name)
    if half != "all":
        raise UserError(
            f"{key}: {half}, but {config.corpus.path} has no such dilemmas of these values; use all"
        )
    raise UserError(
        f"corpus.path: {config.corpus.path} has no evaluation dilemmas of these values; "
        f"{stage} needs an evaluation.jsonl"
    )


def check_edition(
    config: CorpusConfig,
    store: Store,
    group: str,
    kept: Mapping[str, Any],
    identity: Mapping[str, Any],
) -> None:
    """Raise UserError if `group`, with attributes `kept`, was begun with another edition of the
    bundled seed; warn, as it begins, if the store was."""
    what = f"{store.path}/{group}"
    if "evaluation_digest" in identity:
        refuse_other_edition(what, config, "evaluation_digest", kept, identity)
    other = describe_other_edition(store.path, config, "corpus_digest", store.attrs)
    if other is not None and not kept and is_first_rank():
        print(f"warning: {other}", file=sys.stderr)


def check_model(config: Config, store: Store, source: ModelSource, output: Output) -> None:
    """Raise UserError unless the model is the one that the store was recorded with."""
    check_same_model(store, source, output.say)
    if config.model.dtype != store.attrs["dtype"]:
        raise UserError(
            f"model.dtype: {store.path} was recorded in {store.attrs['dtype']}, not "
            f"{config.model.dtype}; give the same"
        )
