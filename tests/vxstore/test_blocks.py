"""Stores of models whose layers differ, or have several blocks (format 4).

Here layer 0 has a dense block of 5 neurons; layer 1 a dense block of 2 and 3 experts of 2, two of
them for each token; layer 2 has none.
"""

import dataclasses
import itertools
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import xarray as xr
import zarr

import vxstore
from vxstore import read
from vxstore.blocks import Block, Blocks, read_blocks
from vxstore.check.store import check
from vxstore.cli.main import main
from vxstore.errors import StoreError, UserError
from vxstore.experts import tokens_given
from vxstore.finalise import finalise
from vxstore.groups import write_group
from vxstore.io.metadata import commit
from vxstore.mask_file import read_mask
from vxstore.query.clusters import clusters
from vxstore.query.describe import describe
from vxstore.query.export import count_rows
from vxstore.query.neurons import neuron
from vxstore.quotients import quotient
from vxstore.schema import ArraySpec
from vxstore.write import PartCounts, PartLabels, Recorder, create

LAYERS = (
    (Block(units=5),),
    (Block(units=2), Block(units=2, experts=3, experts_per_token=2)),
    (),
)
PLACES = {
    "block": [[0] * 5 + [-1] * 3, [0, 0] + [1] * 6, [-1] * 8],
    "expert": [[-1] * 8, [-1, -1, 0, 0, 1, 1, 2, 2], [-1] * 8],
    "unit": [[0, 1, 2, 3, 4, -1, -1, -1], [0, 1] * 4, [-1] * 8],
}
VALUES, LANGUAGES = ("calm", "zeal"), ("zh", "en")
PARTS = [
    PartLabels(value=value, language=language, stance=stance)
    for value, language, stance in itertools.product(VALUES, LANGUAGES, ("aligned", "violating"))
]
NEW: dict[str, Any] = {
    "num_layers": 3,
    "num_neurons": 8,
    "values": VALUES,
    "languages": LANGUAGES,
    "parts": PARTS,
    "attrs": {"model": "tiny", "statistics": ["active_count", "activation_sum", "activation_max"]},
    "blocks": LAYERS,
}


def routed_of(part: int) -> list[int]:
    """Of 20 + part tokens; to expert 2 none in the first four parts."""
    tokens = 20 + part
    last = 0 if part < 4 else 5
    return [tokens, tokens - last, last]


def given_of(part: int) -> np.ndarray[Any, Any]:
    """Tokens that each neuron is given, by hand."""
    tokens = 20 + part
    routed = np.repeat(routed_of(part), 2).tolist()
    return np.array([[tokens] * 5 + [0] * 3, [tokens] * 2 + routed, [0] * 8])


def counts_of(part: int) -> PartCounts:
    given_LN = given_of(part)
    layer, neuron = np.indices(given_LN.shape)
    active_LN = (7 * part + 3 * layer + 5 * neuron) % (given_LN + 1)
    return PartCounts(
        statistics={
            "active_count": active_LN,
            "activation_sum": (active_LN - 4) / 8 * (given_LN > 0),
            "activation_max": np.where(given_LN > 0, active_LN / 4, -np.inf),
        },
        token_count=20 + part,
        story_count=2 + part % 2,
        routed_count_LE=np.array([[0, 0, 0], routed_of(part), [0, 0, 0]]),
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A complete store. For reading only."""
    path = str(tmp_path_factory.mktemp("blocks") / "s.zarr")
    create(path, **NEW)
    for part in range(len(PARTS)):
        Recorder(path).write_part(part, counts_of(part))
    finalise(path)
    return path


@pytest.fixture
def new(tmp_path: Path) -> str:
    create(str(tmp_path / "s.zarr"), **NEW)
    return str(tmp_path / "s.zarr")


def test_xarray_shows_the_places(path: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = xr.open_zarr(path).load()
        tree = xr.open_datatree(path, engine="zarr").load()
    record = vxstore.open(path).record()
    for dataset in (plain, record, tree["record"], vxstore.open(path).root()):
        for name, expected in PLACES.items():
            assert dataset[name].dims == ("layer", "neuron")
            assert dataset[name].values.tolist() == expected
            assert name in dataset.coords
    assert plain.attrs["format_version"] == 4
    assert plain.attrs["blocks"] == [
        [{"units": 5}],
        [{"units": 2}, {"units": 2, "experts": 3, "experts_per_token": 2}],
        [],
    ]
    assert "num_experts" not in plain.attrs
    assert dict(plain.sizes)["routed_expert"] == 3


def test_each_block_has_its_own_denominator(path: str) -> None:
    root = vxstore.open(path).root().load()
    given_LNVG = tokens_given(root, slice(None))
    for v, g in itertools.product(range(2), range(2)):
        parts = [4 * v + 2 * g, 4 * v + 2 * g + 1]
        np.testing.assert_array_equal(given_LNVG[:, :, v, g], sum(map(given_of, parts)))
    np.testing.assert_array_equal(tokens_given(root, slice(1, 2)), given_LNVG[1:2])
    active_LNVG = root.active_count.transpose("layer", "neuron", "value", "language").values
    assert (active_LNVG <= given_LNVG).all()
    share_NVG = quotient(root, "active_count", 1, VALUES, ["zh", "pooled"])
    assert np.isnan(share_NVG[6:, 0]).all()  # no token of the first value was routed to expert 2
    assert not np.isnan(np.delete(share_NVG, np.s_[6:], axis=0)).any()
    expected = active_LNVG[1, 3, 1].sum() / given_LNVG[1, 3, 1].sum()
    assert share_NVG[3, 1, 1] == expected
    assert np.isnan(quotient(root, "active_count", 0, VALUES, ["zh"])[5:]).all()
    assert np.isneginf(root.activation_max.values[2]).all()


def test_a_check_finds_nothing(path: str) -> None:
    report = check(path)
    assert report.findings == []
    assert repr(vxstore.open(path)).count("3 layers x 0 to 8") == 1


def test_derived_groups_have_the_places(path: str, tmp_path: Path) -> None:
    copy = str(shutil.copytree(path, tmp_path / "s.zarr"))
    spec = ArraySpec(dims=("layer", "neuron"), dtype="float64", units="1", long_name="any")
    coordinates = {"layer": range(3), "neuron": range(8)}
    write_group(copy, "scores/any", {"x": spec}, {"x": np.zeros((3, 8))}, coordinates, {})
    scores = vxstore.open(copy).scores("any").load()
    assert {name: scores[name].values.tolist() for name in PLACES} == PLACES


def test_an_older_reader_refuses_it(path: str) -> None:
    with (
        mock.patch.object(read, "FORMAT_VERSION", 3),
        pytest.raises(StoreError, match=r"store format 4.*reads up to 3.*newer vxdist"),
    ):
        vxstore.open(path)


@pytest.mark.parametrize(
    ("layer", "neuron", "name", "number", "told"),
    [
        (0, 6, "active_count", 1, r"layer 0, block -1, expert -1, unit -1: active_count is 1, .*"),
        (0, 6, "activation_sum", 0.5, "activation_sum has numbers of neurons that do not exist"),
        (0, 6, "activation_max", 0.5, r"layer 0, block -1, .*minus infinity without tokens"),
        (1, 6, "active_count", 1, r"layer 1, block 1, expert 2, unit 0: active_count is 1, .*0 t"),
        (1, 1, "active_count", 21, r"layer 1, block 0, expert -1, unit 1: active_count is 21"),
        (1, 0, "activation_max", -np.inf, "layer 1, block 0"),
    ],
)
def test_numbers_that_cannot_be(
    new: str, layer: int, neuron: int, name: str, number: float, told: str
) -> None:
    counts = counts_of(0)
    changed = {key: of.copy() for key, of in counts.statistics.items()}
    changed[name][layer, neuron] = number
    with pytest.raises(ValueError, match=f"part 0: {told}"):
        Recorder(new).write_part(0, dataclasses.replace(counts, statistics=changed))
    assert not Recorder(new).sealed().any()


@pytest.mark.parametrize(
    ("routed", "told"),
    [
        (None, "3 experts, and none are given"),
        ([[0, 0, 0], [20, 19, 0], [0, 0, 0]], "layer 1 routed 39 times, expected 2 for each of"),
        ([[1, 0, 0], [20, 20, 0], [0, 0, 0]], "layer 0 routed 1 times, expected 0 for each of"),
    ],
)
def test_routed_counts_that_cannot_be(new: str, routed: Any, told: str) -> None:
    changed = None if routed is None else np.array(routed)
    with pytest.raises(ValueError, match=told):
        Recorder(new).write_part(0, dataclasses.replace(counts_of(0), routed_count_LE=changed))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"num_neurons": 9}, r"\(3, 9\) layers and neurons, expected \(3, 8\)"),
        ({"num_layers": 2}, r"\(2, 8\) layers and neurons, expected \(3, 8\)"),
        ({"num_experts": 3}, "num_experts is of layers that are alike"),
        ({"blocks": [[Block(units=8)]] * 3}, "expected layers that differ"),
        ({"blocks": [[], [], []]}, "expected layers that differ"),
        ({"attrs": {"denominator": "questions"}}, "tokens counted"),
    ],
)
def test_create_refuses(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        create(str(tmp_path / "s.zarr"), **{**NEW, **change})
    assert list(tmp_path.iterdir()) == []


def test_dense_layers_of_two_widths(tmp_path: Path) -> None:
    """No expert, so no routed counts; padded all the same."""
    path = str(tmp_path / "s.zarr")
    layers = [[Block(units=2)], [Block(units=4)]]
    create(path, **{**NEW, "num_layers": 2, "num_neurons": 4, "parts": PARTS[:1], "blocks": layers})
    counts = PartCounts(
        statistics={
            "active_count": np.array([[3, 4, 0, 0], [1, 2, 3, 4]]),
            "activation_sum": np.array([[3, 4, 0, 0], [1, 2, 3, 4.0]]),
            "activation_max": np.array([[3, 4, -np.inf, -np.inf], [1, 2, 3, 4.0]]),
        },
        token_count=10,
        story_count=1,
    )
    Recorder(path).write_part(0, counts)
    finalise(path)
    assert not list(Path(path).rglob("routed*"))
    assert check(path).findings == []
    root = vxstore.open(path).root()
    assert tokens_given(root, slice(0, 1))[0, :, 0, 0].tolist() == [10, 10, 0, 0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda attrs: attrs.pop("blocks"), "blocks: there are none in a store of format 4"),
        (lambda attrs: attrs.update(format_version=3), "there are some in a store of format 3"),
        (lambda attrs: attrs.update(blocks=[[{"units": 5}]]), "expected layers that differ"),
        (lambda attrs: attrs.update(blocks={"units": 5}), "expected a list of blocks"),
        (lambda attrs: attrs["blocks"][1].append({"units": 0}), "expected numbers above zero"),
        (lambda attrs: attrs["blocks"][1].append({"width": 1}), "expected units, experts"),
        (lambda attrs: attrs["blocks"][1].append({"units": 1}), "found .3, 8, 3. layers"),
    ],
)
def test_damaged_attributes_are_named(
    path: str, tmp_path: Path, change: Callable[[dict[str, Any]], Any], told: str
) -> None:
    copy = str(shutil.copytree(path, tmp_path / "s.zarr"))
    attrs = json.loads((Path(copy) / "zarr.json").read_text())["attributes"]
    changed = json.loads(json.dumps(attrs))
    change(changed)
    file = Path(copy) / "zarr.json"
    doc = json.loads(file.read_text())
    doc["attributes"] = {k: v for k, v in changed.items() if not k.startswith("metadata_digest")}
    file.write_text(json.dumps(doc))
    with pytest.raises(StoreError, match=told):
        vxstore.open(copy).root()


def test_places_and_numbers_are_inverse() -> None:
    blocks = Blocks(LAYERS)
    assert read_blocks({"blocks": blocks.described()}) == blocks
    for layer, width in enumerate((5, 8, 0)):
        for number in range(width):
            place = blocks.place(layer, number)
            at = (place["block"], place["expert"], place["unit"])
            assert blocks.find("s", layer, at) == number
    placed = blocks.place(np.array([1, 0, 1]), np.array([7, 4, 0]))
    assert {name: of.tolist() for name, of in placed.items()} == {
        "block": [1, 0, 0], "expert": [2, -1, -1], "unit": [1, 4, 0],
    }  # fmt: skip
    for at, told in (((2, 0, 0), "no block 2"), ((1, 3, 0), "no expert 3"), ((0, -1, 2), "unit 2")):
        with pytest.raises(StoreError, match=told):
            blocks.find("s", 1, at)


def test_one_neuron(path: str) -> None:
    """By number, or by block, expert and unit; divided by what its block was given."""
    store = vxstore.open(path)
    dense, routed = neuron(store, 1, (0, -1, 1)), neuron(store, 1, (1, 2, 1))
    assert (dense["neuron"], dense["block"], dense["expert"], dense["unit"]) == (1, 0, -1, 1)
    assert (routed["neuron"], routed["block"], routed["expert"], routed["unit"]) == (7, 1, 2, 1)
    assert "routed_count" not in dense["values"]
    assert routed["values"].routed_count.tolist() == [0, 10, 0, 10, 0, 20]
    assert routed["values"].probability.isna().tolist() == [True, False] * 3
    expected = sum(counts_of(part).statistics["active_count"][1, 1] for part in (0, 1)) / 41
    assert dense["values"].probability[0] == expected
    assert clusters(store, 1, 7).routed_count.sum() == 40
    assert clusters(store, 1, 1).token_count.sum() == 2 * sum(range(20, 28))
    for at, told in (
        ((1, 2), "expected block, expert and unit"),
        (5, "layer 0 has no neuron 5; it has 5"),
        (8, "has no neuron 8; there are 0 to 7"),
    ):
        with pytest.raises(StoreError, match=told):
            neuron(store, 0, at)
    with pytest.raises(StoreError, match="layer 2 has no neuron 0; it has 0"):
        neuron(store, 2, 0)


def test_counts_are_exported_of_neurons_that_exist(path: str) -> None:
    tables = list(count_rows(vxstore.open(path), languages=["zh"]))
    assert [len(table) for table in tables] == [2 * 5, 2 * 8, 0]
    table = tables[1][tables[1].value == "calm"]
    assert table.columns[2:7].tolist() == ["layer", "neuron", "block", "expert", "unit"]
    assert table.expert.tolist() == PLACES["expert"][1]
    assert table.routed_count.tolist() == [41] * 6 + [0, 0]
    assert table.token_count.tolist() == [41] * 8
    assert tables[0].routed_count.equals(tables[0].token_count)


def test_what_a_store_is_of(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    about = describe(vxstore.open(path))
    assert about["blocks"] == read_blocks(about).described()  # type: ignore[union-attr]
    assert "experts" not in about
    for place, told in (
        ("L1/B1/E2/U1", "layer 1, block 1, expert 2, unit 1 (neuron 7) of tiny"),
        ("L1/B0/U1", "layer 1, block 0, unit 1 (neuron 1) of tiny"),
    ):
        assert main(["neuron", path, place]) == 0
        assert told in capsys.readouterr().out
    assert main(["neuron", path, "L1/E2/U1"]) == 2
    assert "expected block, expert and unit" in capsys.readouterr().err
    assert main(["info", path]) == 0
    assert "3 layers x 0 to 8" in capsys.readouterr().out


def test_places_that_are_not_those_of_the_blocks(path: str, tmp_path: Path) -> None:
    copy = str(shutil.copytree(path, tmp_path / "s.zarr"))
    unit = zarr.open_array(f"{copy}/unit", mode="r+")
    unit[0, 0] = 3
    found = [(finding.array, finding.what) for finding in check(copy).findings]
    assert ("unit", "not those of the blocks") in found


def test_masks_hold_neurons_that_exist(path: str, tmp_path: Path) -> None:
    copy = str(shutil.copytree(path, tmp_path / "s.zarr"))
    commit(copy, {"model_fingerprint": "f0"})
    mask = {
        "format": "vxdist-mask", "format_version": 1, "model": "tiny", "model_fingerprint": "f0",
        "layers": 3, "neurons": 8, "masks": {"calm": {"zh": {"0": [4], "1": [7]}}},
    }  # fmt: skip
    file, store = tmp_path / "m.mask.json", vxstore.open(copy)
    about: dict[str, Any] = {"value": "calm", "language": "zh", "shape_LN": (3, 8), "store": store}
    file.write_text(json.dumps(mask))
    assert np.argwhere(read_mask(str(file), **about)).tolist() == [[0, 4], [1, 7]]
    mask["masks"]["calm"]["zh"]["0"] = [5]  # type: ignore[index]
    file.write_text(json.dumps(mask))
    with pytest.raises(UserError, match=r"layer 0: found neuron 5, expected one of its 5$"):
        read_mask(str(file), **about)


def test_the_witness_of_format_4() -> None:
    witness = str(Path(__file__).parents[1] / "data" / "format4.zarr")
    store = vxstore.open(witness)
    assert store.attrs["format_version"] == 4
    assert check(witness).findings == []
    record = store.record().load()
    for part in range(len(PARTS)):
        counts = counts_of(part)
        for name, expected in counts.statistics.items():
            found = record[name].isel(part=part).transpose("layer", "neuron")
            np.testing.assert_array_equal(found, expected)
        routed = record.routed_count.isel(part=part).transpose("layer", "routed_expert")
        np.testing.assert_array_equal(routed, counts.routed_count_LE)
    root = store.root().load()
    assert {name: root[name].values.tolist() for name in PLACES} == PLACES
    given_LNVG = tokens_given(root, slice(None))
    np.testing.assert_array_equal(given_LNVG[..., 0, 0], given_of(0) + given_of(1))
