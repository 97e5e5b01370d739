"""Stores with experts that are damaged, or that strangers wrote: noticed, named, mended."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import vxstore
from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.vape import Vape, VapeSettings
from vxstore.check.store import check, repair
from vxstore.errors import StoreError
from vxstore.finalise import finalise
from vxstore.io import arrays
from vxstore.write import PartCounts, Recorder

MakeStore = Callable[..., str]
Change = Callable[[dict[str, Any]], object]
SHAPE, EXPERTS, VALUES = (2, 6), 3, ("calm", "zeal")
SETTINGS = VapeSettings(
    filter_quantile=0.5,
    top_fraction=0.2,
    activation_quantile=0.5,
    min_active_tokens=1,
)
OF_EXPERTS = ("routed_count", "routed_expert", "expert", "unit")


@pytest.fixture(scope="module")
def whole(make_store: MakeStore) -> str:
    """A complete store with experts, scored. Whoever damages it mends it again."""
    path = make_store(num_experts=EXPERTS, values=VALUES, shape=SHAPE)
    write_score(path, "vape", Vape(SETTINGS))
    return path


@pytest.fixture
def copy(whole: str, tmp_path: Path) -> str:
    """A copy to damage for good."""
    return shutil.copytree(whole, tmp_path / "copy.zarr").__fspath__()


def read_all(path: str) -> list[xr.Dataset]:
    """All numbers of the counts and the score."""
    store = vxstore.open(path)
    return [of.load() for of in (store.root(), store.record(), store.scores("vape"))]


def spoil(whole: bytes, how: str, chance: random.Random) -> bytes | None:
    """What is left of a file; None if nothing is."""
    if how == "removed":
        return None
    if how == "flipped":
        at = chance.randrange(len(whole))
        return whole[:at] + bytes([whole[at] ^ (1 << chance.randrange(8))]) + whole[at + 1 :]
    return whole[: chance.randrange(1, len(whole)) if how == "cut" else 0]


@pytest.mark.parametrize("how", ["flipped", "cut", "emptied", "removed"])
@pytest.mark.parametrize("group", ["", "record/", "scores/vape/"])
def test_no_damage_goes_unnoticed(whole: str, group: str, how: str) -> None:
    truth, chance = read_all(whole), random.Random(f"{group} {how}")
    for name in (f"{group}{name}" for name in OF_EXPERTS if (Path(whole) / group / name).is_dir()):
        files = sorted(file for file in (Path(whole) / name).rglob("*") if file.is_file())
        for file in chance.sample(files, min(3, len(files))):
            before = file.read_bytes()
            left = spoil(before, how, chance)
            file.unlink() if left is None else file.write_bytes(left)
            try:
                found = [of.array.removesuffix("/zarr.json") for of in check(whole).findings]
                assert name in found, (file, found)
                # A score is held against the root's counts, so these are told of with it.
                alone = group == "" or file.name == "zarr.json" or found == [name]
                assert alone, (file, found)
                with pytest.raises(StoreError):
                    read_all(whole)
            finally:
                file.write_bytes(before)
    assert all(a.identical(b) for a, b in zip(read_all(whole), truth, strict=True))
    assert check(whole).findings == []


def record_again(path: str, make_routed: Callable[..., PartCounts], parts: list[int]) -> None:
    """As `make_store` records them."""
    for part in parts:
        counts = make_routed(part, *SHAPE, tokens=50 + part, num_experts=EXPERTS)
        Recorder(path).write_part(part, counts)
    finalise(path)


def test_repair_records_the_part_again(
    copy: str, whole: str, make_routed: Callable[..., PartCounts]
) -> None:
    (shard,) = (Path(copy) / "record" / "routed_count" / "c" / "3").rglob("0/0")
    shard.write_bytes(shard.read_bytes()[:-1])
    report = check(copy)
    assert [(of.array, of.part) for of in report.findings] == [("record/routed_count", 3)]
    repair(copy, report)
    with pytest.raises(StoreError, match="1 parts are not recorded"):
        finalise(copy)
    record_again(copy, make_routed, [3])
    assert check(copy).findings == []
    assert read_all(copy)[0].equals(read_all(whole)[0])


def test_repair_sums_the_root_again(copy: str, whole: str) -> None:
    shutil.rmtree(Path(copy) / "routed_count" / "c")
    report = check(copy)
    assert report.findings[0].array == "routed_count"
    assert report.bad_parts == []
    repair(copy, report)
    finalise(copy)
    write_score(copy, "vape", Vape(SETTINGS))
    assert read_all(copy)[0].equals(read_all(whole)[0])


@pytest.mark.parametrize("lost", ["missing", "empty", "cut"])
def test_finalise_refuses_lost_routed_counts(make_store: MakeStore, lost: str) -> None:
    path = make_store(num_experts=EXPERTS, values=VALUES, shape=SHAPE, record=8)
    (shard,) = (Path(path) / "record" / "routed_count" / "c" / "5").rglob("0/0")
    data = shard.read_bytes()
    shard.unlink() if lost == "missing" else shard.write_bytes(data[:-3] if lost == "cut" else b"")
    with pytest.raises(StoreError, match=r"part 5 is sealed, but its routed_count is lost"):
        finalise(path)
    assert not vxstore.open(path).complete


def rewrite(path: str, name: str, at: tuple[int, ...], by: int) -> None:
    """Add to one number; the checksums are right."""
    array = arrays.get_array(arrays.open_group(path, mode="r+"), name)
    data = np.asarray(array[:])
    data[at] += by
    array[:] = data


def test_numbers_that_are_well_written_and_wrong(copy: str) -> None:
    rewrite(copy, "routed_count", (0, 1, 0, 0), 1)
    found = check(copy).findings[0]
    assert (found.array, found.what) == ("routed_count", "layers 0 to 1: not the sum of its parts")
    rewrite(copy, "routed_count", (0, 1, 0, 0), -1)
    rewrite(copy, "record/routed_count", (2, 0, 1), 1)
    (found,) = check(copy).findings
    assert (found.array, found.part) == ("record/routed_count", 2)


def test_more_active_than_routed(make_store: MakeStore) -> None:
    """What is routed to one expert is said to be routed to another; their sum is right."""
    path = make_store(num_experts=EXPERTS, values=VALUES, shape=SHAPE, record=8)
    active_N = np.asarray(vxstore.open(path).record().active_count[6, 1])
    assert active_N[:2].max() > 0
    routed_E = np.asarray(vxstore.open(path).record().routed_count[6, 1])
    less = int(routed_E[0] - active_N[:2].max() + 1)
    more = min(less, 56 - int(routed_E[1]))
    for expert, by in enumerate((-less, more, less - more)):
        rewrite(path, "record/routed_count", (6, 1, expert), by)
    found = {(of.array, of.part) for of in check(path).findings}
    assert found == {("record/active_count", 6), ("record/routed_count", 6)}  # a law, and digests


def test_a_score_of_another_denominator(copy: str) -> None:
    """Divided by all tokens, as of a dense model."""
    root = vxstore.open(copy).root().load()
    share = (root.active_count / root.token_count).transpose("layer", "neuron", "value", "language")
    array = arrays.get_array(
        arrays.open_group(copy, "scores/vape", mode="r+"), "activation_probability"
    )
    array[..., :2] = share.values
    (found,) = check(copy).findings
    assert "is not that of the counts" in found.what


def strip_digests(path: Path) -> None:
    """As a stranger would write it: no digest stands in the way."""
    edit_attrs(
        path, lambda attrs: [attrs.pop(n, None) for n in ("metadata_digest", "metadata_digests")]
    )


def edit_attrs(path: Path, edit: Change) -> None:
    file = path / "zarr.json"
    doc = json.loads(file.read_text())
    edit(doc["attributes"])
    file.write_text(json.dumps(doc))


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda attrs: attrs.update(num_experts=0), "num_experts: found '0'"),
        (lambda attrs: attrs.update(num_experts=-3), "num_experts: found '-3'"),
        (lambda attrs: attrs.update(num_experts=True), "num_experts: found 'True'"),
        (lambda attrs: attrs.update(num_experts="3"), "num_experts: found '3'"),
        (lambda attrs: attrs.update(num_experts=2.0), "num_experts: found '2.0'"),
        (lambda attrs: attrs.pop("num_experts"), "found routed_count, but no num_experts"),
        (
            lambda attrs: (attrs.pop("num_experts"), attrs.update(format_version=2)),
            "num_experts: found 'None'",
        ),
        (lambda attrs: attrs.update(num_experts=4), "do not go with 4 experts"),
        (lambda attrs: attrs.update(num_experts=1 << 70), "do not go with"),
        (lambda attrs: attrs.update(num_experts=2), "do not go with 2 experts"),
        (lambda attrs: attrs.update(experts_per_token="2"), "experts_per_token: found '2'"),
        (
            lambda attrs: attrs.update(format_version=1),
            "expected at least 2 of a store with experts",
        ),
    ],
)
def test_attributes_of_strangers(copy: str, edit: Change, told: str) -> None:
    strip_digests(Path(copy))
    edit_attrs(Path(copy), edit)
    with pytest.raises(StoreError, match=told) as refusal:
        vxstore.open(copy).root()
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("group", ["", "record"])
@pytest.mark.parametrize("name", OF_EXPERTS)
def test_strangers_who_leave_something_out(copy: str, group: str, name: str) -> None:
    strip_digests(Path(copy))
    shutil.rmtree(Path(copy) / group / name)
    store = vxstore.open(copy)
    with pytest.raises(StoreError, match=f"{name}.* missing"):
        store.record() if group else store.root()


def test_labels_of_strangers(copy: str) -> None:
    """Units laid out in turn over the experts: another neuron for each number."""
    strip_digests(Path(copy))
    array = arrays.get_array(arrays.open_group(copy, mode="r+"), "expert")
    array[:] = np.array([0, 1, 2, 0, 1, 2])
    with pytest.raises(StoreError, match="the labels in expert are damaged"):
        vxstore.open(copy).root()
