"""Tiny stores, built through `vxstore.write` as a run builds them."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import vxstore
from vxdist.asking.outcomes.choice import Choice
from vxdist.reduce.selectors.vape import Vape
from vxstore.cli.main import main
from vxstore.effect_arrays import EARLIER_EFFECT, EFFECT
from vxstore.evaluation import (
    ConditionLabels,
    ConditionRecorder,
    DilemmaLabels,
    create_evaluation,
)
from vxstore.finalise import finalise
from vxstore.groups import write_group
from vxstore.read import open_store
from vxstore.schema import POOLED, SCORES
from vxstore.write import PartCounts, PartLabels, Recorder, create

DATA = Path(__file__).parents[1] / "data"
VALUES, LANGUAGES, STANCES = ("calm", "zeal", "thrift"), ("zh", "en"), ("aligned", "violating")
RUN = {
    "model": "tiny",
    "model_revision": "abc",
    "model_fingerprint": "f0",
    "model_architecture": "TinyForCausalLM",
    "dtype": "float32",
    "corpus": "builtin:tiny",
    "corpus_digest": "c0",
    "plan_digest": "p0",
    "plan_settings": {"parts_per_group": 1, "span": "all"},
}


@pytest.fixture(scope="session")
def run_attrs() -> dict[str, Any]:
    """What a run tells of itself; a store of `make_store` carries it."""
    return RUN


@pytest.fixture(scope="session")
def make_counts() -> Callable[..., PartCounts]:
    """Random counts of one part. Sums are multiples of 1/8, so that adding them is exact."""

    def make(seed: int, num_layers: int, num_neurons: int, tokens: int = 100) -> PartCounts:
        rng = np.random.default_rng(seed)
        shape = (num_layers, num_neurons)
        return PartCounts(
            statistics={
                "active_count": rng.integers(0, tokens, shape, endpoint=True),
                "activation_sum": rng.integers(-8000, 8000, shape) / 8,
                "activation_square_sum": rng.integers(0, 8000, shape) / 8,
            },
            token_count=tokens,
            story_count=1 + seed % 7,
        )

    return make


@pytest.fixture(scope="session")
def make_routed(make_counts: Callable[..., PartCounts]) -> Callable[..., PartCounts]:
    """The same of a mixture of experts: each token is routed to two of them, in every layer.

    The last expert is given no token in layer 0 if the seed is below 4, and in layer 1 if it is
    below 2: in `make_store`, none of the first value's, and none of those in its first language.
    """

    def make(
        seed: int, num_layers: int, num_neurons: int, tokens: int = 100, num_experts: int = 3
    ) -> PartCounts:
        rng = np.random.default_rng([seed, 1])
        wish_LTE = rng.random((num_layers, tokens, num_experts))
        for layer, below in ((0, 4), (1, 2)):
            wish_LTE[layer, :, -1] += 2 * (seed < below)
        chosen_LTK = np.argsort(wish_LTE, axis=-1)[..., :2]
        routed_LE = np.sum(chosen_LTK[..., None] == np.arange(num_experts), axis=(1, 2))
        given_LN = np.repeat(routed_LE, num_neurons // num_experts, axis=1)
        counts = make_counts(seed, num_layers, num_neurons, tokens)
        return dataclasses.replace(
            counts,
            statistics={
                "active_count": rng.integers(0, given_LN, endpoint=True),
                **{
                    name: np.where(given_LN > 0, counts.statistics[name], 0)
                    for name in ("activation_sum", "activation_square_sum")
                },
            },
            routed_count_LE=routed_LE,
        )

    return make


@pytest.fixture(scope="session")
def make_store(
    tmp_path_factory: pytest.TempPathFactory,
    make_counts: Callable[..., PartCounts],
    make_routed: Callable[..., PartCounts],
) -> Callable[..., str]:
    """A store with one part for each (value, language, stance), all of them recorded."""
    built: dict[str, str] = {}

    def make(**of: Any) -> str:
        """A fresh copy; each kind is built once, for speed."""
        kind = repr(sorted(of.items()))
        if kind not in built:
            built[kind] = build(**of)
        path = tmp_path_factory.mktemp("store") / "tiny.zarr"
        shutil.copytree(built[kind], path)
        return str(path)

    def build(
        *,
        values: Sequence[str] = VALUES,
        languages: Sequence[str] = LANGUAGES,
        shape: tuple[int, int] = (4, 6),
        record: int | None = None,
        attrs: Mapping[str, Any] = RUN,
        num_experts: int = 0,
    ) -> str:
        """`record` parts are written; the store is completed unless some are left out."""
        path = str(tmp_path_factory.mktemp("built") / "tiny.zarr")
        parts = [
            PartLabels(value=value, language=language, stance=stance)
            for value in values
            for language in languages
            for stance in STANCES
        ]
        create(
            path,
            num_layers=shape[0],
            num_neurons=shape[1],
            values=values,
            languages=languages,
            parts=parts,
            attrs={**attrs, **({"experts_per_token": 2} if num_experts else {})},
            num_experts=num_experts,
        )
        recorder = Recorder(path)
        for part in range(len(parts) if record is None else record):
            if num_experts:
                counts = make_routed(part, *shape, tokens=50 + part, num_experts=num_experts)
            else:
                counts = make_counts(part, *shape, tokens=50 + part)
            recorder.write_part(part, counts)
        if record is None:
            finalise(path)
        return path

    return make


def plain_probability(path: str) -> np.ndarray[Any, Any]:
    """Active tokens / tokens of a dense store, (layer, neuron, value, language), pooled last."""
    root = vxstore.open(path).root().load()
    order = ("layer", "neuron", "value", "language")
    active, tokens = (
        np.concatenate([count, count.sum(axis=-1, keepdims=True)], axis=-1)
        for count in (root.active_count.transpose(*order).values, root.token_count.values)
    )
    return np.asarray(active / tokens)


@pytest.fixture(scope="session")
def copy_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A copy of a witness of some format, to be written to."""

    def copy(name: str) -> str:
        return str(shutil.copytree(DATA / f"{name}.zarr", tmp_path_factory.mktemp("w") / "s.zarr"))

    return copy


@pytest.fixture(scope="session")
def counts_of() -> Callable[[xr.Dataset, int], PartCounts]:
    """What a part was recorded with, from the record."""

    def read(record: xr.Dataset, part: int) -> PartCounts:
        by_layer = {
            str(name): counts.values
            for name, counts in record.isel(part=part).items()
            if "layer" in counts.dims
        }
        return PartCounts(
            routed_count_LE=by_layer.pop("routed_count", None),
            statistics=by_layer,
            token_count=int(record["token_count"][part]),
            story_count=int(record["story_count"][part]),
        )

    return read


@pytest.fixture(scope="session")
def add_scores() -> Callable[..., dict[str, np.ndarray[Any, Any]]]:
    """Random scores for a store; returns what was written. Few entropies, so that many tie.

    Probabilities are those of the counts; values and languages are as in the store.
    """

    def add(
        path: str,
        *,
        name: str = "vape",
        values: Sequence[str] = VALUES,
        languages: Sequence[str] = LANGUAGES,
        shape: tuple[int, int] = (4, 6),
        seed: int = 0,
        share: float = 0.4,
    ) -> dict[str, np.ndarray[Any, Any]]:
        rng = np.random.default_rng(seed)
        labels = (*languages, POOLED)
        selected = rng.random((*shape, len(values), len(labels))) < share
        data: dict[str, np.ndarray[Any, Any]] = {
            "activation_probability": plain_probability(path),
            "entropy": rng.integers(1, 6, (*shape, len(labels))) / 7,
            "passed_filter": np.asarray(selected.any(axis=2)),
            "selected": selected,
        }
        cut = {"entropy_cut": 5 / 7, "entropy_maximum": float(np.log(len(values)))}
        counts = {"selected_count": 3, "passed_count": 1234567, "dead_count": 0}
        thresholds = {"filter_threshold": 0.1234567890123, "activation_threshold": 0.2}
        coordinates: dict[str, Any] = {
            "layer": range(shape[0]),
            "neuron": range(shape[1]),
            "value": values,
            "language": labels,
        }
        attrs = {
            "settings": {"name": name, "top_fraction": 0.01},
            "thresholds": dict.fromkeys(labels, cut | counts | thresholds),
        }
        write_group(path, f"scores/{name}", {**Vape.arrays, **SCORES}, data, coordinates, attrs)
        return data

    return add


@pytest.fixture(scope="session")
def add_evaluation() -> Callable[[str], None]:
    """A finished evaluation `choice` of a store of the usual values and languages."""

    def add(path: str) -> None:
        conditions = [
            ConditionLabels(name="intact", kind="intact", mask="", draw=-1),
            ConditionLabels(name="calm", kind="mask", mask="calm", draw=-1),
        ]
        dilemmas = [DilemmaLabels(id=f"d-{g}", value="calm", language=g) for g in LANGUAGES]
        create_evaluation(
            path,
            "choice",
            conditions=conditions,
            dilemmas=dilemmas,
            languages=LANGUAGES,
            measures=Choice.arrays,
            labels=Choice.labels,
            masked_CLNG=np.zeros((2, 4, 6, 2), dtype=bool),
            attrs={"settings": {"name": "choice", "scores": "vape", "controls": 0}},
        )
        recorder = ConditionRecorder(path, "choice")
        for condition in range(2):
            zeros, halves = np.zeros((2, 2)), np.full((2, 2), 0.5)
            recorder.write(condition, {"log_odds": zeros, "option_mass": halves})
        size = {"mask": 1, "value": 1, "language": 2}
        effect = {
            name: np.zeros([size[dim] for dim in spec.dims])
            for name, spec in EFFECT.items()
            if "draw" not in spec.dims
        }
        labels = {"mask": ["calm"], "value": ["calm"], "language": list(LANGUAGES)}
        group = "evaluation/choice/effect"
        write_group(path, group, EFFECT, effect, labels, {"confidence": 0.95})
        recorder.complete()

    return add


@pytest.fixture(scope="session")
def add_effects() -> Callable[..., None]:
    """An evaluation with two control draws for each mask, and effects known by hand.

    Two dilemmas for each masked value and language, at +0.5 and -0.25 when intact. The first mask
    shifts its own in the first language by -1, the second its own in the second by +0.5; nothing
    else does anything, but for the draws, which shift all by -0.125 and +0.125. Each mask holds
    three neurons, but for those that are `empty`. `predictions` are those of an attribution.
    """
    from vxdist.config import EvaluateConfig
    from vxdist.evaluate.effects import write_effects

    def add(
        path: str,
        name: str = "choice",
        *,
        masks: Sequence[str] = VALUES[:2],
        languages: Sequence[str] = LANGUAGES,
        controls: int = 2,
        shifts: Sequence[float] = (-1.0, 0.5),
        attrs: Mapping[str, Any] | None = None,
        empty: Sequence[str] = (),
        predictions: Any = None,
    ) -> None:
        conditions = [ConditionLabels(name="intact", kind="intact", mask="", draw=-1)]
        conditions += [ConditionLabels(name=m, kind="mask", mask=m, draw=-1) for m in masks]
        conditions += [
            ConditionLabels(name=f"{m} control {k}", kind="control", mask=m, draw=k)
            for m in masks
            for k in range(controls)
        ]
        dilemmas = [
            DilemmaLabels(id=f"{v}-e{n}-{g}", value=v, language=g)
            for v in masks
            for g in languages
            for n in (1, 2)
        ]
        masked = np.zeros((len(conditions), 4, 6, len(languages)), dtype=bool)
        masked[[n for n, mask in enumerate(masks, start=1) if mask not in empty], 0, :3] = True
        settings = {"name": name, "scores": "vape", "controls": controls}
        create_evaluation(
            path,
            name,
            conditions=conditions,
            dilemmas=dilemmas,
            languages=languages,
            measures=Choice.arrays,
            labels=Choice.labels,
            masked_CLNG=masked,
            attrs={"settings": settings, **(attrs or {})},
        )
        recorder = ConditionRecorder(path, name)
        own = {(masks[i], masks[i], languages[i]): shift for i, shift in enumerate(shifts)}
        for c, of in enumerate(conditions):
            after = np.array([0.5, -0.25] * (len(dilemmas) // 2))
            if of.kind == "control":
                after += 0.125 * (-1) ** (of.draw + 1)
            if of.kind == "mask":
                after += [own.get((of.mask, d.value, d.language), 0.0) for d in dilemmas]
            log_odds = after[:, None] + [1.0, -1.0]
            recorder.write(c, {"log_odds": log_odds, "option_mass": np.full(log_odds.shape, 0.5)})
        write_effects(path, name, EvaluateConfig(controls=controls), predictions)
        recorder.complete()

    return add


EARLIER = (
    "mean_shift", "shift_low", "shift_high", "flip_rate", "control_rank", "control_mean",
    "dilemma_count", "masked_count",
)  # fmt: skip
"""Arrays of the effects of the first version."""


@pytest.fixture(scope="session")
def forget_verdict() -> Callable[..., None]:
    """Write the effects of `choice` as they were before there were p; with or without a verdict."""

    def forget(path: str, verdict: Mapping[str, Any] | None = None) -> None:
        effect = open_store(path).effect("choice").load()
        labels: dict[str, Any] = {
            dim: [str(x) for x in effect[dim].values] for dim in ("mask", "value", "language")
        }
        attrs = {"confidence": 0.95, "bootstrap_resamples": 50, "controls": 2}
        data = {name: effect[name].values for name in EARLIER}
        if verdict is not None:
            attrs |= {"seed": 0, "verdict": dict(verdict)}
            labels["draw"] = range(effect.sizes["draw"])
            shift, draws = effect["mean_shift"].values, effect["control_shift"].values
            data |= {"control_shift": draws, "passes": shift != 0, "placebo_passes": draws > 1}
        specs = {**EFFECT, **EARLIER_EFFECT}
        write_group(path, "evaluation/choice/effect", specs, data, labels, attrs)

    return forget


@pytest.fixture(scope="session")
def full_store(
    make_store: Callable[..., str],
    add_scores: Callable[..., dict[str, np.ndarray[Any, Any]]],
    add_evaluation: Callable[[str], None],
) -> str:
    """A complete store with scores and an evaluation. For reading only."""
    path = make_store()
    add_scores(path)
    add_evaluation(path)
    return path


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that should do; returns its standard output."""

    def run(*arguments: str) -> str:
        code = main(arguments)
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        return out

    return run


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that should not do; returns its one line on standard error."""

    def run(*arguments: str) -> str:
        code = main(arguments)
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    return run
