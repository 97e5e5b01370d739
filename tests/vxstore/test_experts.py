"""Stores of mixtures of experts: their layout, what is refused, and that sums are exact.

The expert stores here have 4 layers of 6 neurons: 3 experts of 2 units, 2 of them for each token.
"""

import dataclasses
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import vxstore
from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.vape import Vape, VapeSettings
from vxstore import read, schema
from vxstore.errors import StoreError
from vxstore.experts import by_neuron
from vxstore.finalise import complete, count_layers, finalise, sum_layers
from vxstore.write import PartCounts, PartLabels, Recorder, create

MakeStore = Callable[..., str]
MakeCounts = Callable[..., PartCounts]
EXPERTS = 3
SETTINGS = VapeSettings(
    filter_quantile=0.5,
    top_fraction=0.2,
    activation_quantile=0.5,
    min_active_tokens=1,
)


@pytest.fixture(scope="module")
def store(make_store: MakeStore) -> str:
    """A complete store with experts, scored. For reading only."""
    path = make_store(num_experts=EXPERTS)
    write_score(path, "vape", Vape(SETTINGS))
    return path


class TestLayout:
    def test_opens_bare_without_a_warning(self, store: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            root = xr.open_zarr(store).load()
            record = xr.open_zarr(store, group="record", consolidated=False).load()
            scores = xr.open_zarr(store, group="scores/vape", consolidated=False).load()
        for dataset in (root, record, scores):
            assert dataset.expert.values.tolist() == [0, 0, 1, 1, 2, 2]
            assert dataset.unit.values.tolist() == [0, 1, 0, 1, 0, 1]
            assert dataset.expert.dims == dataset.unit.dims == ("neuron",)
            assert {"expert", "unit"} <= set(dataset.coords)
        assert root.routed_count.dims == ("layer", "routed_expert", "value", "language")
        assert record.routed_count.dims == ("part", "layer", "routed_expert")
        assert (root.routed_count.dtype, record.routed_count.dtype) == ("int64", "int32")
        assert root.routed_count.attrs["units"] == record.routed_count.attrs["units"] == "tokens"
        assert root.routed_expert.values.tolist() == [0, 1, 2]
        assert (root.attrs["format_version"], root.attrs["num_experts"]) == (3, 3)

    def test_one_part_is_one_shard_and_chunks_are_checked(self, store: str) -> None:
        for name, last in (("record/routed_count", [1, 4, 3]), ("routed_count", [4, 3, 3, 2])):
            doc = json.loads((Path(store) / name / "zarr.json").read_text())
            assert doc["chunk_grid"]["configuration"]["chunk_shape"] == last
            codecs = doc["codecs"]
            if codecs[0]["name"] == "sharding_indexed":
                codecs = codecs[0]["configuration"]["codecs"]
            assert [codec["name"] for codec in codecs] == ["bytes", "zstd", "crc32c"]
            assert doc["fill_value"] == -(2**30)
            listed = json.loads((Path(store) / "zarr.json").read_text())["attributes"]
            assert f"{name}/zarr.json" in listed["metadata_digests"]

    def test_a_dense_store_has_nothing_of_it(self, make_store: MakeStore) -> None:
        path = Path(make_store())
        attrs = json.loads((path / "zarr.json").read_text())["attributes"]
        assert attrs["format_version"] == 3
        assert not {"num_experts", "coordinates"} & set(attrs)
        names = {file.name for file in path.rglob("*")}
        assert not {"routed_count", "routed_expert", "expert", "unit"} & names

    def test_an_older_reader_refuses_it(self, store: str) -> None:
        """It would divide by all tokens, and never say so."""
        with (
            mock.patch.object(read, "FORMAT_VERSION", 1),
            pytest.raises(StoreError, match=r"store format 3.*reads up to 1.*newer vxdist"),
        ):
            vxstore.open(store)

    def test_an_evaluation_has_the_labels_too(
        self, make_store: MakeStore, add_evaluation: Callable[[str], None]
    ) -> None:
        path = make_store(num_experts=EXPERTS)
        add_evaluation(path)
        evaluation = vxstore.open(path).evaluation("choice")
        assert evaluation.masked.expert.values.tolist() == [0, 0, 1, 1, 2, 2]


ONE = [PartLabels(value="calm", language="zh", stance="aligned")]
SMALL: dict[str, Any] = {
    "num_layers": 2,
    "num_neurons": 6,
    "values": ["calm"],
    "languages": ["zh"],
    "parts": ONE,
    "attrs": {"experts_per_token": 2},
    "num_experts": EXPERTS,
}


class TestRecorder:
    @pytest.fixture
    def path(self, tmp_path: Path) -> str:
        path = str(tmp_path / "s.zarr")
        create(path, **SMALL)
        return path

    @pytest.mark.parametrize(
        ("routed", "told"),
        [
            (None, "3 experts, and none are given"),
            ([[11, 9, 0], [10, 10, 0]], "from 0 to 11 .* its 10 tokens"),
            ([[-1, 11, 10], [10, 10, 0]], "from -1"),
            ([[10, 9, 0], [10, 10, 0]], "layer 0 routed 19 times, expected 2 for each of its 10"),
            ([[10, 10, 0], [10, 10, 1]], "layer 1 routed 21 times"),
            ([[10, 10, 0]], r"of shape \(1, 3\), expected \(2, 3\)"),
            ([[10, 10], [10, 10]], r"of shape \(2, 2\)"),
            (
                [[4, 6, 10], [10, 3, 7]],
                r"layer 1, expert 1, unit 1: active_count is 4, .* given 3 tokens",
            ),
        ],
    )
    def test_refuses_what_cannot_be(self, path: str, routed: Any, told: str) -> None:
        counts = PartCounts(
            statistics={
                "active_count": np.array([[4, 4, 6, 6, 10, 10], [0, 0, 3, 4, 0, 0]]),
                "activation_sum": np.zeros((2, 6)),
                "activation_square_sum": np.zeros((2, 6)),
            },
            token_count=10,
            story_count=1,
            routed_count_LE=None if routed is None else np.array(routed),
        )
        recorder = Recorder(path)
        with pytest.raises(ValueError, match=f"part 0: .*{told}"):
            recorder.write_part(0, counts)
        assert not recorder.sealed().any()
        assert not list((Path(path) / "record" / "active_count").glob("c/*"))

    def test_without_experts_per_token_any_sum_will_do(
        self, tmp_path: Path, make_routed: MakeCounts
    ) -> None:
        path = str(tmp_path / "s.zarr")
        create(path, **{**SMALL, "attrs": {}})
        counts = make_routed(9, 2, 6, tokens=50)
        assert counts.routed_count_LE is not None
        more = dataclasses.replace(counts, routed_count_LE=np.full((2, 3), 50))
        Recorder(path).write_part(0, more)
        finalise(path)

    def test_a_dense_store_refuses_routed_counts(
        self, make_store: MakeStore, make_routed: MakeCounts
    ) -> None:
        path = make_store(record=0)
        with pytest.raises(ValueError, match="0 experts, and routed counts are given"):
            Recorder(path).write_part(0, make_routed(0, 4, 6))

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"num_experts": 4}, "6 neurons cannot be shared out over 4 experts"),
            ({"num_experts": -3}, "cannot be shared out"),
            ({"attrs": {"denominator": "questions"}}, "counts tokens"),
            ({"attrs": {"num_experts": 3}}, "by itself"),
        ],
    )
    def test_create_refuses(self, tmp_path: Path, change: dict[str, Any], told: str) -> None:
        with pytest.raises(ValueError, match=told):
            create(str(tmp_path / "s.zarr"), **{**SMALL, **change})
        assert list(tmp_path.iterdir()) == []


class TestFinalise:
    @settings(max_examples=6, deadline=None)
    @given(
        num_layers=st.integers(2, 5),
        num_experts=st.integers(2, 4),
        units=st.integers(1, 3),
        chunk_bytes=st.sampled_from([1, 60, 1 << 20]),
        world_size=st.integers(1, 3),
        data=st.data(),
    )
    def test_ranks_sum_routed_counts_exactly(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        make_routed: MakeCounts,
        num_layers: int,
        num_experts: int,
        units: int,
        chunk_bytes: int,
        world_size: int,
        data: st.DataObject,
    ) -> None:
        cells = data.draw(st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=5))
        path = str(tmp_path_factory.mktemp("sum") / "s.zarr")
        counts = [
            make_routed(n, num_layers, num_experts * units, 20 + n, num_experts)
            for n in range(len(cells))
        ]
        with mock.patch.object(schema, "CHUNK_BYTES", chunk_bytes):
            create(
                path,
                num_layers=num_layers,
                num_neurons=num_experts * units,
                values=["a", "b"],
                languages=["zh"],
                parts=[PartLabels(value=v, language="zh", stance="aligned") for v in cells],
                attrs={"experts_per_token": 2},
                num_experts=num_experts,
            )
        for part, of in enumerate(counts):
            Recorder(path).write_part(part, of)
        for rank in data.draw(st.permutations(range(world_size))):
            due, done = count_layers(path, rank=rank, world_size=world_size), [0]
            sum_layers(path, rank=rank, world_size=world_size, advance=done.append)
            assert sum(done) == due
        complete(path)
        root = vxstore.open(path).root().load()
        for v, value in enumerate(("a", "b")):
            there = [c for c, cell in zip(counts, cells, strict=True) if cell == value]
            expected = np.zeros((num_layers, num_experts), dtype=np.int64)
            for of in there:
                assert of.routed_count_LE is not None
                expected += of.routed_count_LE
            np.testing.assert_array_equal(root.routed_count[:, :, v, 0], expected)
        total = root.routed_count.sum("routed_expert")
        assert (total == 2 * root.token_count).all()
        given_LNVG = by_neuron(root.routed_count.values, root.sizes["neuron"])
        assert (root.active_count.values <= given_LNVG).all()
