"""Law 7: a store written by an earlier version opens for ever, and stays of its own format."""

import datetime
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import vxstore
from vxdist.asking.outcomes.choice import Choice
from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.vape import Vape, VapeSettings
from vxstore.check.store import check
from vxstore.effect_arrays import EFFECT
from vxstore.errors import StoreError
from vxstore.evaluation import (
    ConditionLabels,
    ConditionRecorder,
    DilemmaLabels,
    create_evaluation,
)
from vxstore.finalise import finalise
from vxstore.groups import write_group
from vxstore.identity import begun_alike
from vxstore.io.metadata import commit
from vxstore.schema import ArraySpec
from vxstore.write import PartCounts, Recorder

DATA = Path(__file__).parents[1] / "data"
VERSIONS = {"format1": 1, "format2": 2, "format3": 3, "format3_experts": 3}
KNOWN = {"format1": ["scores/vape/activation_probability"]}
"""What a check finds: the first score was made up, and is not that of its counts."""
LATER = ("format2", "format3", "format3_experts")
SETTINGS = VapeSettings(
    filter_quantile=0.3,
    top_fraction=0.25,
    activation_quantile=0.3,
    min_active_tokens=1,
)


def test_the_first_store_still_opens() -> None:
    store = vxstore.open(str(DATA / "format1.zarr"))
    assert store.attrs["format_version"] == 1
    root = store.root().load()
    assert dict(root.sizes) == {"layer": 2, "neuron": 3, "value": 2, "language": 2}
    assert root.token_count.sel(value="calm", language="zh") == 21
    np.testing.assert_array_equal(
        root.active_count.sel(value="zeal", language="en").values, [[3, 4, 5], [6, 7, 8]]
    )
    scores = store.scores("vape")
    assert scores.selected.sum() == 2
    assert list(scores.language.values) == ["zh", "en", "pooled"]


@pytest.mark.parametrize("name", VERSIONS)
def test_nothing_is_wrong_with_a_witness(name: str) -> None:
    path = str(DATA / f"{name}.zarr")
    assert vxstore.open(path).attrs["format_version"] == VERSIONS[name]
    assert [finding.array for finding in check(path).findings] == KNOWN.get(name, [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert xr.open_zarr(path).load().sizes["value"] == 2


@pytest.mark.parametrize("name", LATER)
def test_the_counts_of_a_witness(name: str) -> None:
    """Part p has 20 + p tokens; with experts, the first is given 6 + p of them in layer 0, and 9 in
    layer 1."""
    store = vxstore.open(str(DATA / f"{name}.zarr"))
    record = store.record().load()
    part, layer, neuron = np.indices((8, 2, 4))
    tokens = np.broadcast_to(20 + np.arange(8)[:, None, None], part.shape)
    if name != "format3":
        first = np.where(layer == 0, 6 + part, 9)
        tokens = np.where(neuron < 2, first, tokens - first)
        np.testing.assert_array_equal(
            record.routed_count.transpose("part", "layer", "routed_expert"), tokens[..., ::2]
        )
    active = (7 * part + 3 * layer + 5 * neuron) % (tokens + 1)
    order = ("part", "layer", "neuron")
    np.testing.assert_array_equal(record.active_count.transpose(*order), active)
    np.testing.assert_array_equal(record.activation_sum.transpose(*order), (active - 4) / 8)
    np.testing.assert_array_equal(record.activation_square_sum.transpose(*order), active / 4)
    assert record.token_count.values.tolist() == [20, 21, 22, 23, 24, 25, 26, 27]
    assert record.story_count.values.tolist() == [2, 3] * 4
    assert record.value.values.tolist() == ["calm"] * 4 + ["zeal"] * 4
    assert record.language.values.tolist() == ["zh", "zh", "en", "en"] * 2
    assert record.stance.values.tolist() == ["aligned", "violating"] * 4
    root = store.root().load()
    assert root.token_count.transpose("value", "language").values.tolist() == [[41, 45], [49, 53]]
    summed = active.reshape(2, 2, 2, 2, 4).sum(axis=2)
    found = root.active_count.transpose("value", "language", "layer", "neuron")
    np.testing.assert_array_equal(found, summed)


@pytest.mark.parametrize("name", LATER)
def test_the_score_of_a_witness(name: str) -> None:
    scores = vxstore.open(str(DATA / f"{name}.zarr")).scores("vape").load()
    assert scores.language.values.tolist() == ["zh", "en", "pooled"]
    entropy, selected = {
        "format3": (
            [[0.692975, 0.672441, 0.676468, 0.68179], [0.660149, 0.690993, 0.687449, 0.680994]],
            [[[0, 0, 1], [1, 1, 1]], [[1, 1, 0], [1, 1, 1]]],
        )
    }.get(
        name,
        (
            [[0.681769, 0.693087, 0.683698, 0.686548], [0.690923, 0.673012, 0.691065, 0.685647]],
            [[[1, 0, 0], [0, 1, 1]], [[0, 1, 1], [1, 0, 0]]],
        ),
    )
    found = scores.entropy.sel(language="pooled").transpose("layer", "neuron")
    np.testing.assert_allclose(found, entropy, atol=1e-6)
    by_layer = scores.selected.sum("neuron").transpose("layer", "value", "language")
    assert by_layer.values.tolist() == selected


@pytest.mark.parametrize("name", LATER)
def test_the_evaluation_of_a_witness(name: str) -> None:
    store = vxstore.open(str(DATA / f"{name}.zarr"))
    evaluation = store.evaluation("choice").load()
    assert evaluation.kind.values.tolist() == ["intact", "mask", "mask", "control", "control"]
    assert evaluation["mask"].values.tolist() == ["", "calm", "zeal", "calm", "zeal"]
    assert evaluation.value.values.tolist() == ["calm", "calm", "zeal", "zeal"]
    assert evaluation.dilemma_language.values.tolist() == ["zh", "en"] * 2
    assert float(evaluation.log_odds.sel(condition="zeal").isel(dilemma=1, order=0)) == 0.25 - 2
    assert evaluation.masked.sum().item() == 4 * 2
    effect = store.effect("choice").load()
    assert effect.mean_shift.dims == ("mask", "value", "language")
    assert float(effect.mean_shift.sel(mask="zeal", value="calm", language="en")) == 5
    assert int(effect.dilemma_count.sel(mask="zeal", value="calm", language="en")) == 5 + 6
    assert effect.masked_count.sel(language="en").values.tolist() == [1 + 7, 3 + 7]
    assert effect.attrs["controls"] == 1


@pytest.mark.parametrize("name", VERSIONS)
def test_xarray_opens_a_witness_whole_from_format_3(name: str) -> None:
    path = str(DATA / f"{name}.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if VERSIONS[name] < 3:
            with pytest.raises(ValueError, match="not aligned with its parents"):
                xr.open_datatree(path, engine="zarr")
            return
        tree = xr.open_datatree(path, engine="zarr").load()
    assert float(tree["evaluation/choice/effect/mean_shift"].sum()) == sum(range(8))
    assert tree["scores/vape"].scored_language.values.tolist() == ["zh", "en", "pooled"]


def evaluate(path: str) -> None:
    """A small evaluation with its effects."""
    shape = vxstore.open(path).root().sizes
    create_evaluation(
        path,
        "new",
        conditions=[ConditionLabels(name="intact", kind="intact", mask="", draw=-1)],
        dilemmas=[DilemmaLabels(id="d", value="zeal", language="zh")],
        languages=["zh", "en"],
        measures=Choice.arrays,
        labels=Choice.labels,
        masked_CLNG=np.zeros((1, shape["layer"], shape["neuron"], 2), dtype=bool),
        attrs={},
    )
    recorder = ConditionRecorder(path, "new")
    recorder.write(0, {"log_odds": np.zeros((1, 2)), "option_mass": np.ones((1, 2))})
    size = {"mask": 1, "value": 1, "language": 2}
    specs = {name: spec for name, spec in EFFECT.items() if "draw" not in spec.dims}
    effect = {name: np.zeros([size[dim] for dim in spec.dims]) for name, spec in specs.items()}
    labels = {"mask": ["zeal"], "value": ["zeal"], "language": ["zh", "en"]}
    write_group(path, "evaluation/new/effect", EFFECT, effect, labels, {})
    recorder.complete()


@pytest.mark.parametrize("name", VERSIONS)
def test_what_is_added_is_of_the_format_of_the_store(
    copy_of: Callable[[str], str], name: str
) -> None:
    """By plain zarr, as the page says of each format."""
    path = copy_of(name)
    write_score(path, "new", Vape(SETTINGS))
    evaluate(path)
    root: Any = zarr.open_group(path, mode="r")
    assert root.attrs["format_version"] == VERSIONS[name]
    is_new = VERSIONS[name] >= 3
    language, value = ("scored_language", "dilemma_value") if is_new else ("language", "value")
    scores, evaluation = root["scores/new"], root["evaluation/new"]
    assert scores["entropy"].metadata.dimension_names == ("layer", "neuron", language)
    assert list(scores[language][:]) == ["zh", "en", "pooled"]
    assert list(evaluation[value][:]) == ["zeal"]
    assert value in evaluation.attrs["coordinates"].split()
    shift = evaluation["effect/mean_shift"]
    assert shift.metadata.dimension_names == ("mask", value, "language")
    store = vxstore.open(path)
    assert store.scores("new").entropy.dims == ("layer", "neuron", "language")
    assert store.evaluation("new").value.values.tolist() == ["zeal"]
    assert store.effect("new").mean_shift.dims == ("mask", "value", "language")
    assert [finding.array for finding in check(path).findings] == KNOWN.get(name, [])


def test_when_an_evaluation_was_begun(copy_of: Callable[[str], str]) -> None:
    """A date; that of an early version says only that it was."""
    path = copy_of("format2")
    evaluate(path)
    assert vxstore.open(path).evaluation("choice").attrs["created"] is True
    created = datetime.datetime.fromisoformat(vxstore.open(path).evaluation("new").attrs["created"])
    assert created.tzinfo is not None
    for name in ("choice", "new"):
        assert begun_alike(path, f"evaluation/{name}", {}, "evaluate.name")
        with pytest.raises(StoreError, match="other settings"):
            begun_alike(path, f"evaluation/{name}", {"settings": {"seed": 1}}, "evaluate.name")


@pytest.mark.parametrize("name", VERSIONS)
def test_a_part_recorded_again_leaves_the_format(
    copy_of: Callable[[str], str], counts_of: Callable[[xr.Dataset, int], PartCounts], name: str
) -> None:
    path = copy_of(name)
    store = vxstore.open(path)
    before, record = store.root().load(), store.record().load()
    commit(path, {"state": "recording"})
    Recorder(path).unseal(3)
    Recorder(path).write_part(3, counts_of(record, 3))
    finalise(path)
    again = vxstore.open(path)
    assert again.attrs["format_version"] == VERSIONS[name]
    assert again.root().load().equals(before)
    assert again.record().load().equals(record)


@settings(deadline=None, max_examples=25)
@given(
    labels=st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=5, unique=True),
    name=st.sampled_from(sorted(VERSIONS)),
)
def test_any_labels_are_read_back(
    copy_of: Callable[[str], str], labels: list[str], name: str
) -> None:
    """By their names in memory, in any format and in a group of any name."""
    path = copy_of(name)
    spec = ArraySpec(dims=("layer", "language"), dtype="float64", units="1", long_name="any")
    data = np.arange(2.0 * len(labels)).reshape(2, -1)
    coordinates: dict[str, Any] = {"layer": range(2), "language": labels}
    write_group(path, "scores/effect", {"x": spec}, {"x": data}, coordinates, {})
    scores = vxstore.open(path).scores("effect").load()
    assert scores.language.values.tolist() == labels
    np.testing.assert_array_equal(scores.x.transpose("layer", "language"), data)
    if VERSIONS[name] >= 3:
        xr.open_datatree(path, engine="zarr").load()
