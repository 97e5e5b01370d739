"""What follows from other numbers is computed again, so that a check needs no digests to see it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from vxdist.config import EvaluateConfig
from vxdist.evaluate.doses import write_doses
from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.vape import Vape, VapeSettings
from vxstore.begun import remove_group
from vxstore.check.effects import broken_doses, broken_effects
from vxstore.check.store import check, repair
from vxstore.check.vape import broken_vape
from vxstore.errors import StoreError
from vxstore.finalise import finalise
from vxstore.io import arrays
from vxstore.io.digests import digest, read_seal
from vxstore.io.metadata import next_revision
from vxstore.read import open_store
from vxstore.write import PartCounts, Recorder

MakeStore = Callable[..., str]


@pytest.fixture(scope="module")
def evaluated(make_store: MakeStore, add_effects: Callable[..., None]) -> str:
    """Two evaluations of a dose each, with effects, and their curve."""
    path = make_store()
    same = {"scores": "vape", "controls": 4}
    half = {"settings": {**same, "dose": 0.5}, "intervention": "scale"}
    add_effects(path, controls=4, attrs={"settings": same}, empty=("zeal",))
    add_effects(path, "half", controls=4, shifts=(-0.5, 0.25), attrs=half)
    write_doses(path, "half", EvaluateConfig(controls=4))
    return path


def spoil(dataset: xr.Dataset, name: str) -> xr.Dataset:
    """The dataset with one number changed, one that is there."""
    array = dataset[name].copy(deep=True)
    at = tuple(np.argwhere(~np.isnan(array.values))[0])
    array.values[at] += 0.25 if array.dtype.kind == "f" else 1
    return dataset.assign({name: array})


EFFECTS = (
    "mean_shift", "control_shift", "control_mean", "control_sd", "se_total", "control_rank",
    "flip_rate", "dilemma_count", "masked_count", "q_value",
)  # fmt: skip


@pytest.mark.parametrize("name", EFFECTS)
def test_an_effect_that_its_conditions_do_not_show(evaluated: str, name: str) -> None:
    store = open_store(evaluated)
    evaluation, effect = store.evaluation("choice").load(), store.effect("choice").load()
    assert list(broken_effects(evaluation, effect, None)) == []
    assert name in [array for array, _ in broken_effects(evaluation, spoil(effect, name), None)]


def test_the_verdict_is_of_the_arrays(evaluated: str) -> None:
    store = open_store(evaluated)
    evaluation, effect = store.evaluation("choice").load(), store.effect("choice").load()
    cell = effect.sel(mask="calm", value="calm", language="zh")
    numbers = {
        key: float(cell[of])
        for key, of in (("shift", "mean_shift"), ("p", "p_value"), ("q", "q_value"))
    }
    for key, wrong in ((None, None), ("shift", "mean_shift"), ("p", "p_value"), ("q", "q_value")):
        found = {"mask": "calm", "language": "zh", **numbers}
        if key is not None:
            found[key] += 0.01
        concluded = effect.assign_attrs(verdict={"found": [found]})
        broken = [name for name, _ in broken_effects(evaluation, concluded, None)]
        assert broken == ([] if wrong is None else [wrong])


def test_harm_is_that_of_the_other_evaluation(evaluated: str) -> None:
    store = open_store(evaluated)
    evaluation, effect = store.evaluation("choice").load(), store.effect("choice").load()
    harm = effect.isel(value=[0])
    first = harm.isel(value=0, drop=True)
    known = effect.assign(harm_shift=first["mean_shift"], harm_p=first["p_value"])
    assert list(broken_effects(evaluation, known, harm)) == []
    assert [n for n, _ in broken_effects(evaluation, spoil(known, "harm_p"), harm)] == ["harm_p"]


@pytest.mark.parametrize("name", ["dose", "mean_shift", "slope", "control_slope_mean", "q_value"])
def test_a_dose_curve(evaluated: str, name: str) -> None:
    store = open_store(evaluated)
    dose = store.dose("half").load()
    members = {of: store.evaluation(of).load() for of in ("choice", "half")}
    assert list(broken_doses(dose, members)) == []
    assert name in [array for array, _ in broken_doses(spoil(dose, name), members)]


@pytest.mark.parametrize("name", ["entropy", "passed_filter", "selected"])
def test_a_vape_score(make_store: MakeStore, name: str) -> None:
    path = make_store()
    options = {"filter_quantile": 0.5, "top_fraction": 0.3, "activation_quantile": 0.5}
    write_score(path, "vape", Vape(VapeSettings(**options)))
    scores = open_store(path).scores("vape").load()
    rng = np.random.default_rng(0)
    noticed = 0
    for layer in range(scores.sizes["layer"]):
        block = scores.isel(layer=layer)
        assert list(broken_vape(scores, block, "")) == []
        for _ in range(10):
            array = block[name].copy(deep=True)
            at = tuple(rng.integers(0, n) for n in array.shape)
            before = array.values[at]
            array.values[at] = not before if array.dtype == bool else before + 0.01
            found = [of for of, _ in broken_vape(scores, block.assign({name: array}), "")]
            noticed += name in found or bool(np.isnan(before))
    assert noticed >= 36  # of neurons that tie at the cut any may be selected


def test_seals_vouch_for_every_part(make_store: MakeStore) -> None:
    """Digests are those of the files; so a reader in any language can verify them."""
    path = make_store(record=12)
    record = arrays.open_group(path, "record")
    for part, text in enumerate(arrays.read_strings(arrays.get_array(record, "seal"))):
        chunks = read_seal(text, "part", part)
        assert chunks is not None
        assert {"active_count", "token_count", "story_count"} <= set(chunks)
        for name, expected in chunks.items():
            key = arrays.entry_key(arrays.get_array(record, name), part)
            assert digest(Path(path, "record", name, key).read_bytes()) == expected
    assert "seals_digest" not in open_store(path).attrs
    finalise(path)
    assert len(open_store(path).attrs["seals_digest"]) == 64
    assert read_seal(text, "part", 0) is None


def test_parts_exchanged_before_the_store_is_complete(make_store: MakeStore) -> None:
    path = make_store(record=12)
    for array in Path(path, "record").glob("*/c"):
        if (array / "2").exists() and (array / "3").exists():
            (array / "2").rename(array / "x")
            (array / "3").rename(array / "2")
            (array / "x").rename(array / "3")
    # The labels along `part` are one chunk each, and stay.
    assert check(path).bad_parts == [2, 3]


def test_a_part_without_a_seal_is_recorded_again(
    make_store: MakeStore, counts_of: Callable[[xr.Dataset, int], PartCounts]
) -> None:
    path = make_store()
    record = open_store(path).record().load()
    Path(path, "record/seal/c/4").unlink()
    report = check(path)
    assert [(f.array, f.part) for f in report.findings] == [("record/seal", 4)]
    repair(path, report)
    Recorder(path).write_part(4, counts_of(record, 4))
    finalise(path)
    assert check(path).findings == []


def test_a_store_that_an_earlier_version_began_is_finished(
    copy_of: Callable[[str], str], counts_of: Callable[[xr.Dataset, int], PartCounts]
) -> None:
    """It has no seals, and gets none."""
    path = copy_of("format3")
    record = open_store(path).record().load()
    Path(path, "record/token_count/c/1").unlink()
    repair(path, check(path))
    Recorder(path).write_part(1, counts_of(record, 1))
    finalise(path)
    report = check(path)
    assert (report.findings, report.unvouched[0]) == ([], "record")
    assert open_store(path).record().load().equals(record)
    write_score(path, "new", Vape(VapeSettings(filter_quantile=0.3, activation_quantile=0.3)))
    assert check(path).unvouched == ["record", "scores/vape", *report.unvouched[2:]]


def test_every_write_of_the_root_counts(make_store: MakeStore, tmp_path: Path) -> None:
    path = make_store(record=12)
    first = next_revision(path)
    finalise(path)
    write_score(path, "vape", Vape(VapeSettings(filter_quantile=0.5)))
    doc: Any = json.loads(Path(path, "scores/vape/zarr.json").read_text())
    assert (doc["attributes"]["revision"], next_revision(path)) == (first + 1, first + 2)
    assert "revision" not in open_store(path).scores("vape").attrs
    killed = str(shutil.copytree(path, tmp_path / "killed.zarr"))
    remove_group(killed, "scores/vape")
    assert not Path(killed, "scores/vape").exists()
    with pytest.raises(StoreError, match="scores/vape"):
        open_store(killed).scores("vape")
