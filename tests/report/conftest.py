"""Small stores with known numbers, written with vxstore's own functions."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vxdist.asking.outcomes.choice import Choice
from vxdist.config import Config, CorpusConfig, EvaluateConfig, ModelConfig, ReportConfig
from vxdist.evaluate.attributed import Predictions
from vxdist.evaluate.effects import measure, write_effects
from vxdist.reduce.selectors.vape import Vape
from vxstore.effect_arrays import EFFECT
from vxstore.evaluation import (
    ConditionLabels,
    ConditionRecorder,
    DilemmaLabels,
    create_evaluation,
)
from vxstore.experts import share, tokens_given
from vxstore.finalise import finalise
from vxstore.groups import write_group
from vxstore.read import open_store
from vxstore.schema import POOLED, SCORES, ArraySpec
from vxstore.write import PartCounts, PartLabels, Recorder, create

HOSTILE = "<script>alert(1)</script>"
Floats = NDArray[np.float64]


EARLIER = (
    "mean_shift", "shift_low", "shift_high", "flip_rate", "control_rank", "control_mean",
    "dilemma_count", "masked_count",
)  # fmt: skip
"""Arrays of the effects of an earlier version."""


@dataclass(frozen=True, kw_only=True)
class Points:
    """An outcome that is no decision: points, one number for each dilemma."""

    arrays: Mapping[str, ArraySpec] = field(
        default_factory=lambda: {
            "score": ArraySpec(
                dims=("condition", "dilemma"),
                dtype="float64",
                units="points",
                long_name="number of points for the value",
            )
        }
    )
    attrs: Mapping[str, Any] = field(
        default_factory=lambda: {
            "outcome": "points",
            "effect_of": "score",
            "decision_boundary": None,
        }
    )


@dataclass(kw_only=True)
class StoreMaker:
    """What a store is to be like; `write` writes it."""

    path: str
    values: Sequence[str] = ("kindness", HOSTILE, "thrift")
    languages: Sequence[str] = ("en", "zh")
    layers: int = 3
    neurons: int = 8
    experts: int = 0
    """The first sees every token, each other one as many of the rest."""
    model: str = "models/tiny"
    reduce: bool = True
    """Whether it holds the score vape."""
    evaluate: bool = True
    controls: int = 8
    dilemmas: int = 4
    effect: float = 0.5
    """How far each mask shifts every dilemma, in nats; control draws shift by up to 0.1."""
    verdict: bool = True
    """Whether the effects have a verdict; earlier versions wrote none."""
    outcome: Points | None = None
    """What is measured; None is the choice of letters."""
    intervention: str | None = None
    """None names none, as earlier versions did."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """More settings of the evaluation."""
    empty: tuple[str, ...] = ()
    """Values whose masks hold no neuron."""
    mass: float = 0.625
    """Probability of the two letters."""
    predictions: Callable[["StoreMaker"], Predictions] | None = None
    """What an attribution predicts of the effects; None is that there is none."""
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))

    def write(self) -> str:
        """Write the store; returns its path."""
        self._record()
        if self.reduce:
            self._scores()
        if self.evaluate:
            self._evaluation()
        return self.path

    def _record(self) -> None:
        parts = [
            PartLabels(value=v, language=g, stance="aligned")
            for v in self.values
            for g in self.languages
        ]
        create(
            self.path,
            num_layers=self.layers,
            num_neurons=self.neurons,
            values=self.values,
            languages=self.languages,
            parts=parts,
            attrs={
                "model": self.model,
                "model_revision": "",
                "model_architecture": "TinyForCausalLM",
                "activation_function": "SiLU",
                "dtype": "float32",
                "corpus": "corpora/tiny",
                "plan_settings": {"span": "response"},
                "padding": 0.03125,
                "versions": {"vxdist": "0.1.0"},
                **({"experts_per_token": 2} if self.experts else {}),
            },
            num_experts=self.experts,
        )
        recorder = Recorder(self.path)
        for n in range(len(parts)):
            count = self.rng.integers(0, 100, (self.layers, self.neurons))
            routed = None
            if self.experts:
                routed = np.full((self.layers, self.experts), (100 + n) // (self.experts - 1))
                routed[:, 0] = 100 + n
                routed[:, 1] += 100 + n - routed[:, 1:].sum(axis=1)
                count %= np.repeat(routed + 1, self.neurons // self.experts, axis=1)
            counts = PartCounts(
                statistics={
                    "active_count": count,
                    "activation_sum": count * 0.5,
                    "activation_square_sum": count * 0.25,
                },
                token_count=100 + n,
                story_count=2,
                routed_count_LE=routed,
            )
            recorder.write_part(n, counts)
        finalise(self.path)

    def _scores(self) -> None:
        """Layer 1 is selected for the first value, its first neuron for all; neuron 0/0 is dead."""
        labels = [*self.languages, POOLED]
        shape = (self.layers, self.neurons, len(self.values), len(labels))
        probability = self._probability()
        entropy = np.full((*shape[:2], len(labels)), math.log(len(self.values)))
        entropy[1] = np.linspace(0.5, 1.0, self.neurons)[::-1, None] * entropy[1, 0]
        entropy[0, 0] = np.nan
        selected = np.zeros(shape, dtype=bool)
        selected[1, :, 0] = selected[1, 0] = True
        thresholds: dict[str, float] = {"filter_threshold": 0.75, "activation_threshold": 0.7}
        if self.experts:
            entropy[0, 1] = np.nan
            thresholds["unrouted_count"] = 1
        write_group(
            self.path,
            "scores/vape",
            {**Vape.arrays, **SCORES},
            {
                "activation_probability": probability,
                "entropy": entropy,
                "passed_filter": selected.any(axis=2),
                "selected": selected,
            },
            {
                "layer": range(self.layers),
                "neuron": range(self.neurons),
                "value": list(self.values),
                "language": labels,
            },
            {
                "settings": {"name": "vape", "top_fraction": 0.01, "min_active_tokens": 1},
                "thresholds": dict.fromkeys(labels, thresholds),
            },
        )

    def _probability(self) -> Floats:
        """Activation probability, (layer, neuron, value, language), pooled last."""
        root = open_store(self.path).root().load()
        active = root.active_count.transpose("layer", "neuron", "value", "language").values
        given = np.broadcast_to(tokens_given(root, slice(None)), active.shape)
        active, given = (np.concatenate([n, n.sum(-1, keepdims=True)], -1) for n in (active, given))
        return share(active, given)

    def add_score(
        self,
        name: str,
        number: Floats,
        selected: NDArray[np.bool_],
        *,
        selector: str | None = "contrast",
    ) -> None:
        """A score of another selector, ranked by its array `contrast`, the highest first.

        `number` is by layer, neuron, perhaps value, and language. Nothing is pooled.
        """
        dims = ("layer", "neuron", "value", "language")
        spec = ArraySpec(
            dims=dims if number.ndim == 4 else (*dims[:2], "language"),
            dtype="float64",
            units="1",
            long_name="contrast between the value and the others",
        )
        write_group(
            self.path,
            f"scores/{name}",
            {"contrast": spec, **SCORES},
            {"contrast": number, "selected": selected},
            {
                "layer": range(self.layers),
                "neuron": range(self.neurons),
                "value": list(self.values),
                "language": list(self.languages),
            },
            {
                "ranked_by": "contrast",
                "ascending": False,
                **({} if selector is None else {"selector": selector}),
            },
        )

    def _evaluation(self) -> None:
        conditions = [ConditionLabels(name="intact", kind="intact", mask="", draw=-1)]
        conditions += [ConditionLabels(name=v, kind="mask", mask=v, draw=-1) for v in self.values]
        conditions += [
            ConditionLabels(name=f"{v} control {k}", kind="control", mask=v, draw=k)
            for v in self.values
            for k in range(self.controls)
        ]
        dilemmas = [
            DilemmaLabels(id=f"{v}-{g}-{n}", value=v, language=g)
            for v in self.values
            for g in self.languages
            for n in range(self.dilemmas)
        ]
        masked = np.zeros((len(conditions), self.layers, self.neurons, len(self.languages)), bool)
        for c, condition in enumerate(conditions):
            masked[c, 1] = condition.kind != "intact" and condition.mask not in self.empty
        attrs = {} if self.intervention is None else {"intervention": self.intervention}
        create_evaluation(
            self.path,
            "choice",
            conditions=conditions,
            dilemmas=dilemmas,
            languages=self.languages,
            measures=Choice.arrays if self.outcome is None else self.outcome.arrays,
            labels=Choice.labels if self.outcome is None else {},
            masked_CLNG=masked,
            attrs={**attrs, **self._outcome_attrs()},
        )
        recorder = ConditionRecorder(self.path, "choice")
        shift_CD = np.stack([self._shift(condition, len(dilemmas)) for condition in conditions])
        for c, shift_D in enumerate(shift_CD):
            recorder.write(c, self._measured(shift_D))
        self.measure_effects()
        recorder.complete()

    def _outcome_attrs(self) -> dict[str, Any]:
        prompts = {"en": f"Choose {HOSTILE}: {{a}}", "zh": "选择", "fr": "Choisissez"}
        settings = {"scores": "vape", **self.settings}
        if self.outcome is None:
            return {"settings": {"prompts": prompts, **settings}}
        return {"settings": settings, **self.outcome.attrs}

    def _shift(self, condition: ConditionLabels, dilemmas: int) -> Floats:
        spread = self.rng.uniform(-0.1, 0.1, dilemmas)
        if condition.kind == "intact" or condition.mask in self.empty:
            return 0 * spread
        return spread + self.effect * (condition.kind == "mask")

    def _measured(self, shift_D: Floats) -> dict[str, Floats]:
        if self.outcome is not None:
            return {"score": 3.0 + shift_D}
        # The first letter wins every time: positive if aligned comes first, else negative.
        intact = np.tile([2.0, -1.5], (len(shift_D), 1))
        return {
            "log_odds": intact + shift_D[:, None],
            "option_mass": np.full(intact.shape, self.mass),
        }

    def measure_effects(self) -> None:
        """Measured as `evaluate` does; without a verdict, what earlier versions wrote."""
        settings = EvaluateConfig(controls=self.controls)
        of = None if self.predictions is None else self.predictions(self)
        write_effects(self.path, "choice", settings, of)
        if self.verdict:
            return
        evaluation = open_store(self.path).unfinished_evaluation("choice")
        arrays, _ = measure(evaluation, confidence=0.95, fdr=0.1)
        labels = {"mask": self.values, "value": self.values, "language": self.languages}
        write_group(
            self.path,
            "evaluation/choice/effect",
            EFFECT,
            {name: arrays[name] for name in EARLIER},
            labels,
            {"confidence": 0.95, "bootstrap_resamples": 500, "controls": self.controls},
        )


@pytest.fixture
def maker(tmp_path: Path) -> StoreMaker:
    """A store of 3 layers x 8 neurons, 3 values and 2 languages, at tmp_path/tiny.zarr."""
    return StoreMaker(path=str(tmp_path / "tiny.zarr"))


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., Config]:
    """Settings for a store, without a corpus at hand unless one is given."""

    def make(store: str, *, corpus: str = "no/such/corpus", path: str | None = None) -> Config:
        return Config(
            model=ModelConfig(path="models/tiny"),
            corpus=CorpusConfig(path=corpus),
            report=ReportConfig(path=path, top_neurons=2),
            store=store,
        )

    return make


@pytest.fixture
def points() -> Points:
    """An outcome that is measured in points."""
    return Points()
