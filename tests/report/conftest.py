"""Small stores with known numbers, written with vxstore's own functions."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vxdist.config import (
    Config,
    CorpusConfig,
    EvaluateConfig,
    LocateConfig,
    ModelConfig,
    ReduceConfig,
    ReportConfig,
    TrainerConfig,
)
from vxstore.evaluation import (
    ConditionLabels,
    ConditionRecorder,
    DilemmaLabels,
    create_evaluation,
)
from vxstore.finalise import finalise
from vxstore.groups import write_group
from vxstore.schema import EFFECT, POOLED, SCORES
from vxstore.write import PartCounts, PartLabels, Recorder, create

HOSTILE = "<script>alert(1)</script>"


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
    evaluate: bool = True
    controls: int = 3
    dilemmas: int = 4
    effect: float = 0.5
    """How far each mask shifts every dilemma, in nats; control draws shift by up to 0.1."""
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))

    def write(self) -> str:
        """Write the store; returns its path."""
        self._record()
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
        probability = self.rng.uniform(0.2, 0.8, shape)
        entropy = np.full((*shape[:2], len(labels)), math.log(len(self.values)))
        entropy[1] = np.linspace(0.5, 1.0, self.neurons)[::-1, None] * entropy[1, 0]
        entropy[0, 0] = np.nan
        selected = np.zeros(shape, dtype=bool)
        selected[1, :, 0] = selected[1, 0] = True
        thresholds: dict[str, float] = {"filter_threshold": 0.75, "activation_threshold": 0.7}
        if self.experts:
            entropy[0, 1] = probability[0, 1] = np.nan
            thresholds["unrouted_count"] = 1
        write_group(
            self.path,
            "scores/vape",
            SCORES,
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
        masked[1:, 1] = True
        create_evaluation(
            self.path,
            "choice",
            conditions=conditions,
            dilemmas=dilemmas,
            languages=self.languages,
            masked_CLNG=masked,
            attrs={"settings": {"scores": "vape", "prompts": {"en": f"Choose {HOSTILE}: {{a}}"}}},
        )
        recorder = ConditionRecorder(self.path, "choice")
        # The first letter wins every time: positive if aligned comes first, else negative.
        intact = np.tile([2.0, -1.5], (len(dilemmas), 1))
        for c, condition in enumerate(conditions):
            spread = self.rng.uniform(-0.1, 0.1, (len(dilemmas), 1))
            shift = {"intact": 0.0, "mask": self.effect + spread, "control": spread}[condition.kind]
            recorder.write(c, intact + shift, np.full(intact.shape, 0.625))
        write_group(
            self.path,
            "evaluation/choice/effect",
            EFFECT,
            self._effects(recorder, conditions, dilemmas, masked),
            {
                "mask": list(self.values),
                "value": list(self.values),
                "language": list(self.languages),
            },
            {"confidence": 0.95, "bootstrap_resamples": 500, "controls": self.controls},
        )
        recorder.complete()

    def _effects(
        self,
        recorder: ConditionRecorder,
        conditions: list[ConditionLabels],
        dilemmas: list[DilemmaLabels],
        masked: np.ndarray[Any, Any],
    ) -> dict[str, np.ndarray[Any, Any]]:
        log_odds = np.asarray(recorder.array("log_odds")[:]).mean(axis=-1)
        shape = (len(self.values), len(self.values), len(self.languages))
        found = {name: np.full(shape, np.nan) for name in EFFECT if name != "masked_count"}
        for m, v, g in np.ndindex(shape):
            of = [d.value == self.values[v] and d.language == self.languages[g] for d in dilemmas]
            shift = (log_odds - log_odds[0])[:, of].mean(axis=1)
            draws = [c.kind == "control" and c.mask == self.values[m] for c in conditions]
            mean = shift[1 + m]
            found["mean_shift"][m, v, g] = mean
            found["shift_low"][m, v, g] = mean - 0.125
            found["shift_high"][m, v, g] = mean + 0.125
            found["flip_rate"][m, v, g] = 0.25
            found["dilemma_count"][m, v, g] = sum(of)
            if self.controls:
                found["control_mean"][m, v, g] = shift[draws].mean()
                found["control_rank"][m, v, g] = (shift[draws] < mean).mean()
        found["masked_count"] = masked[1 : 1 + len(self.values)].sum(axis=(1, 2))
        return {name: a.astype(EFFECT[name].dtype) for name, a in found.items()}


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
            locate=LocateConfig(),
            reduce=ReduceConfig(),
            evaluate=EvaluateConfig(),
            report=ReportConfig(path=path, top_neurons=2),
            trainer=TrainerConfig(),
            store=store,
        )

    return make
