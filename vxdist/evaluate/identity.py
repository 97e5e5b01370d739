"""What an evaluation was made of: a resume must agree in all of it, or it would mix two."""

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from vxdist.config import Config, EvaluateConfig
from vxdist.corpus import Corpus
from vxdist.evaluate.checks import read_date
from vxdist.evaluate.outcomes import Item, Outcome, Question, Traits, traits_of
from vxdist.evaluate.prompting import Today
from vxdist.hooks.interventions import Intervention
from vxstore.defaults import DEFAULT_INTERVENTION, DEFAULT_OUTCOME
from vxstore.read import Store

SETTINGS = ("controls", "control_pool", "seed")
"""Settings of evaluate that decide what is measured, beside those of the outcome and the
intervention. What a mask file holds does too: `selection_digest` says it, wherever the file is."""
ABSENT: Mapping[str, Any] = {
    "outcome": DEFAULT_OUTCOME,
    "intervention": DEFAULT_INTERVENTION,
    "asking": {"chat": "auto", "template": "{}", "system": None, "answer_prefix": "null"},
}
"""What the attributes mean that earlier versions did not write."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What an evaluation is made of; `kind` is the name of its outcome."""

    config: Config
    store: Store
    name: str
    kind: str
    score: str
    values: list[str]
    languages: list[str]
    items: list[Item]
    outcome: Outcome
    intervention: Intervention
    scores: xr.Dataset
    selected: xr.DataArray

    @property
    def group(self) -> str:
        return f"evaluation/{self.name}"

    @property
    def settings(self) -> EvaluateConfig:
        return self.config.evaluate

    @property
    def traits(self) -> Traits:
        return traits_of(self.outcome)

    @property
    def controls(self) -> int:
        """Control draws of each mask."""
        most, wanted = self.traits.most_controls, self.settings.controls
        return wanted if most is None else min(most, wanted)


def describe(this: Run, corpus: Corpus) -> dict[str, Any]:
    """What an evaluation was made of, but for its questions."""
    found = _describe_settings(this)
    named = {"name": this.name, "scores": this.score, "values": this.values}
    bits = np.packbits(this.selected.values).tobytes()
    is_neutral = this.traits.split == "neutral"
    return {
        **found,
        "settings": {**named, **found["settings"]},
        **(
            {"neutral_digest": corpus.neutral_digest()}
            if is_neutral
            else {"evaluation_digest": corpus.evaluation_digest()}
        ),
        "selection_digest": hashlib.sha256(bits).hexdigest(),
    }


def _describe_settings(this: Run) -> Any:
    """The part of the identity that settings say, as attributes of the evaluation.

    Mappings that are compared whole are kept as JSON.
    """
    config, evaluate = this.config, this.config.evaluate
    settings = {key: getattr(evaluate, key) for key in SETTINGS}
    for component in (this.outcome, this.intervention):
        if component.settings is not None:
            settings |= dataclasses.asdict(component.settings)
    asking = {
        "chat": evaluate.chat,
        "template": _as_json(evaluate.template),
        "system": evaluate.system,
        "answer_prefix": _as_json(evaluate.answer_prefix),
    }
    found = {
        "settings": settings,
        "outcome": this.kind,
        "intervention": evaluate.intervention,
        "asking": asking,
    }
    if config.model.dtype != "float32":
        # Numbers of 16 bits depend on what a question shares its batch with.
        keys = ("tokens_per_batch", "max_padding")
        found["batches"] = {key: getattr(evaluate, key) for key in keys}
    return found


def choose_today(config: Config, kept: Mapping[str, Any]) -> Today:
    """The date that chat templates see: that of the settings, or of the evaluation if it was begun
    (`kept` are its attributes), or else today's, UTC."""
    if config.evaluate.date is not None:
        return Today(date=read_date(config.evaluate.date), given=True)
    if isinstance(kept.get("date"), str):
        was_given = kept.get("config", {}).get("evaluate", {}).get("date") is not None
        return Today(date=read_date(kept["date"]), given=was_given)
    return Today(date=datetime.datetime.now(datetime.UTC).date(), given=False)


def digest_questions(questions: Sequence[Question]) -> str:
    """SHA-256 of all that the model reads, and of the tokens that are its answers."""
    digest = hashlib.sha256()
    for question in questions:
        ids = question.token_ids_T.tolist()
        whole = [question.language, list(question.at), ids, question.answers]
        digest.update(json.dumps(whole).encode() + b"\n")
    return digest.hexdigest()


def known_to(kept: Mapping[str, Any], identity: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an identity that a begun evaluation of an earlier version can be compared in."""
    return {key: of for key, of in identity.items() if key in kept or key in ABSENT or not kept}


def _as_json(setting: Any) -> str:
    return json.dumps(setting, ensure_ascii=False, sort_keys=True)
