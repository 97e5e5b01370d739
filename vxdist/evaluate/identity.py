"""What an evaluation was made of: a resume must agree in all of it, or it would mix two."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from vxdist.asking.identity import describe_asking, describe_batches
from vxdist.asking.outcomes import Item, Outcome, Traits, is_tested, traits_of
from vxdist.config import Config, EvaluateConfig
from vxdist.corpus import Corpus
from vxdist.hooks.interventions import Intervention
from vxstore.defaults import DEFAULT_INTERVENTION, DEFAULT_OUTCOME
from vxstore.read import Store

SETTINGS = ("controls", "control_pool", "seed")
"""Settings of evaluate that decide what is measured, beside those of the outcome and the
intervention. What a mask file holds does too: `selection_digest` says it, wherever the file is."""
ABSENT: Mapping[str, Any] = {
    "outcome": DEFAULT_OUTCOME,
    "intervention": DEFAULT_INTERVENTION,
    "half": "all",
    "draws": "random",
    "control_dilemmas": "all",
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

    @property
    def measuring(self) -> EvaluateConfig:
        """The settings that effects are measured with: those of the run, with its own draws."""
        return dataclasses.replace(self.settings, controls=self.controls)

    @property
    def control_dilemmas(self) -> str:
        """What control draws are asked about: all, if the texts have no values, or have no effect
        to test."""
        return self.settings.control_dilemmas if is_tested(self.outcome) else "all"

    @property
    def draws(self) -> str:
        """How draws are chosen: at random for outcomes that no attribution predicts, and beside
        the outcome of the run that is attributed."""
        attributed = self.config.attributed_outcome
        beside = attributed in self.config.evaluation_names and self.kind != attributed
        return self.settings.draws if hasattr(self.outcome, "log_odds") and not beside else "random"


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
    return {
        "settings": settings,
        "outcome": this.kind,
        "intervention": evaluate.intervention,
        "asking": describe_asking(evaluate),
        "half": evaluate.dilemmas,
        "draws": this.draws,
        "control_dilemmas": this.control_dilemmas,
        **describe_batches(config, evaluate),
    }


def known_to(kept: Mapping[str, Any], identity: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an identity that a begun evaluation of an earlier version can be compared in."""
    return {key: of for key, of in identity.items() if key in kept or key in ABSENT or not kept}
