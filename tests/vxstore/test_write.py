"""Writing a store: what is sealed is whole, what is summed is exact, what is zero is there."""

import dataclasses
import json
import math
import random
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from vxdist.reduce.selectors.vape import Vape
from vxstore import schema
from vxstore.errors import StoreError
from vxstore.finalise import finalise
from vxstore.groups import write_group
from vxstore.identity import begun_alike, finished_alike, holds_store, refuse_other
from vxstore.io import arrays
from vxstore.read import open_store
from vxstore.write import PartCounts, PartLabels, Recorder, create

MakeCounts = Callable[..., PartCounts]
MakeStore = Callable[..., str]
SUMMED = ("active_count", "activation_sum", "activation_square_sum")
ONE_PART = [PartLabels(value="calm", language="zh", stance="aligned")]
SMALL: dict[str, Any] = {
    "num_layers": 2,
    "num_neurons": 3,
    "values": ["calm"],
    "languages": ["zh"],
    "parts": ONE_PART,
    "attrs": {},
}


def changed(counts: PartCounts, change: dict[str, Any]) -> PartCounts:
    """The same with other numbers, by name of a statistic or field."""
    fields = {name: data for name, data in change.items() if name not in counts.statistics}
    numbers = {name: data for name, data in change.items() if name in counts.statistics}
    return dataclasses.replace(counts, statistics={**counts.statistics, **numbers}, **fields)


def array(path: str, name: str) -> zarr.Array[Any]:
    """One array of the store, opened for writing."""
    found = arrays.open_group(path, mode="r+")[name]
    assert isinstance(found, zarr.Array)
    return found


def test_tokens_must_be_those_planned(tmp_path: Path, make_counts: MakeCounts) -> None:
    """Law 1: the token counts of the store are those of the plan."""
    for planned, sound in ((100, True), (101, False)):
        path = str(tmp_path / f"{planned}.zarr")
        create(path, **{**SMALL, "attrs": {"planned_token_count": planned}})
        Recorder(path).write_part(0, make_counts(1, 2, 3, tokens=100))
        if sound:
            finalise(path)
            continue
        with pytest.raises(StoreError, match="hold 100 tokens, and 101 were planned"):
            finalise(path)
        assert not open_store(path).complete


def array_files(path: str, name: str) -> list[Path]:
    """The shards (or chunks) of one array."""
    return [file for file in (Path(path) / name / "c").rglob("*") if file.is_file()]


@pytest.fixture(scope="module")
def victim(full_store: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A complete store to spoil; whoever does so mends it again."""
    path = tmp_path_factory.mktemp("victim") / "s.zarr"
    shutil.copytree(full_store, path)
    return str(path)


class TestFinalise:
    @settings(max_examples=12, deadline=None)
    @given(
        num_values=st.integers(1, 3),
        num_languages=st.integers(1, 2),
        shape=st.tuples(st.integers(1, 6), st.integers(1, 5)),
        chunk_bytes=st.sampled_from([1, 50, 100, 1 << 20]),
        data=st.data(),
    )
    def test_sums_the_parts_exactly(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        make_counts: MakeCounts,
        num_values: int,
        num_languages: int,
        shape: tuple[int, int],
        chunk_bytes: int,
        data: st.DataObject,
    ) -> None:
        cells = [(v, g) for v in range(num_values) for g in range(num_languages)]
        cell_of_part = data.draw(st.lists(st.sampled_from(cells), min_size=1, max_size=8))
        order = data.draw(st.permutations(range(len(cell_of_part))))
        path = str(tmp_path_factory.mktemp("sum") / "s.zarr")
        counts = [make_counts(seed, *shape) for seed in range(len(cell_of_part))]
        with mock.patch.object(schema, "CHUNK_BYTES", chunk_bytes):
            create(
                path,
                num_layers=shape[0],
                num_neurons=shape[1],
                values=[f"v{v}" for v in range(num_values)],
                languages=[f"g{g}" for g in range(num_languages)],
                parts=[
                    PartLabels(value=f"v{v}", language=f"g{g}", stance="aligned")
                    for v, g in cell_of_part
                ],
                attrs={},
            )
        for part in order:
            Recorder(path).write_part(part, counts[part])
        finalise(path)

        root = open_store(path).root().load()
        for value, language in cells:
            there = [
                c for c, cell in zip(counts, cell_of_part, strict=True) if cell == (value, language)
            ]
            of_cell = root.isel(value=value, language=language)
            for name in SUMMED:
                expected = sum((c.statistics[name] for c in there), np.zeros(shape))
                np.testing.assert_array_equal(of_cell[name].values, expected)
            assert int(of_cell.token_count) == sum(c.token_count for c in there)
            assert int(of_cell.story_count) == sum(c.story_count for c in there)

    def test_counts_stay_exact_beyond_float64(self, tmp_path: Path) -> None:
        """Sums past 2**53 would lose their last digit in any float."""
        path = str(tmp_path / "s.zarr")
        create(path, **SMALL)
        zeros = np.zeros((2, 3))
        Recorder(path).write_part(
            0,
            PartCounts(
                statistics={
                    "active_count": np.full((2, 3), 2**31 - 1),
                    "activation_sum": zeros,
                    "activation_square_sum": zeros,
                },
                token_count=2**31 - 1,
                story_count=1,
            ),
        )
        array(path, "record/token_count")[:] = np.array([2**53 + 1])
        finalise(path)
        root = open_store(path).root()
        assert int(root.token_count[0, 0]) == 2**53 + 1
        assert int(root.active_count[0, 0, 0, 0]) == 2**31 - 1

    def test_refuses_while_a_part_is_missing(self, make_store: MakeStore) -> None:
        path = make_store(record=5)
        with pytest.raises(StoreError, match="7 parts are not recorded"):
            finalise(path)
        assert not open_store(path).complete

    @pytest.mark.parametrize("lost", ["missing", "empty"])
    @pytest.mark.parametrize("name", SUMMED)
    def test_refuses_a_sealed_part_whose_shard_is_lost(
        self, make_store: MakeStore, name: str, lost: str
    ) -> None:
        """Both read as zeros: files are renamed without fsync, so a power cut can empty them."""
        path = make_store(record=12)
        (shard,) = (Path(path) / "record" / name / "c" / "5").rglob("0/0")
        shard.unlink()
        if lost == "empty":
            shard.touch()
        with pytest.raises(StoreError):
            finalise(path)
        assert not open_store(path).complete

    def test_a_sealed_part_is_not_written_again(
        self, make_store: MakeStore, make_counts: MakeCounts
    ) -> None:
        path = make_store(record=12)
        with pytest.raises(StoreError, match="part 3 is sealed already"):
            Recorder(path).write_part(3, make_counts(3, 4, 6, tokens=53))
        finalise(path)
        assert int(open_store(path).root().token_count.sum()) == sum(50 + p for p in range(12))


class TestRecorder:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"active_count": np.array([[0, 1, -1], [0, 0, 0]])},
                r"layer 0, neuron 2: active_count is -1, expected .* from 0 .* given 10 tokens",
            ),
            ({"active_count": np.array([[0, 1, 11], [0, 0, 0]])}, "is 11, .* given 10 tokens"),
            ({"active_count": np.full((2, 3), 2**32 + 5)}, "more than int32 holds"),
            ({"token_count": -1}, "tokens"),
            ({"token_count": 2**31}, "more than int32 holds"),
            ({"activation_sum": np.array([[0, 0, 0], [0, np.nan, 0]])}, "layer 1"),
            ({"activation_sum": np.array([[0, -np.inf, 0], [0, 0, 0]])}, "layer 0"),
            ({"activation_square_sum": np.array([[0, 0, 0], [0, 0, np.inf]])}, "layer 1"),
            ({"activation_square_sum": np.array([[np.nan, 0, 0], [0, 0, 0]])}, "layer 0"),
        ],
    )
    def test_refuses_what_cannot_be(
        self, tmp_path: Path, make_counts: MakeCounts, change: dict[str, Any], message: str
    ) -> None:
        path = str(tmp_path / "s.zarr")
        create(path, **SMALL)
        recorder = Recorder(path)
        with pytest.raises(ValueError, match=f"part 0: .*{message}"):
            recorder.write_part(0, changed(make_counts(1, 2, 3, tokens=10), change))
        assert not recorder.sealed().any()
        for name in schema.RECORD:
            assert not array_files(path, f"record/{name}"), f"{name} was written"

    @pytest.mark.filterwarnings("ignore:overflow encountered")
    def test_refuses_a_sum_that_float32_cannot_hold(
        self, tmp_path: Path, make_counts: MakeCounts
    ) -> None:
        path = str(tmp_path / "s.zarr")
        create(path, **SMALL)
        too_large = {"activation_square_sum": np.full((2, 3), 1e39)}
        counts = changed(make_counts(1, 2, 3), too_large)
        with pytest.raises(ValueError, match="is inf, expected a finite number"):
            Recorder(path).write_part(0, counts)
        assert not Recorder(path).sealed().any()

    def test_does_not_seal_what_was_not_written(
        self, tmp_path: Path, make_counts: MakeCounts
    ) -> None:
        path = str(tmp_path / "s.zarr")
        create(path, **SMALL)
        with pytest.raises(AssertionError, match="is not"):
            Recorder(path).write_part(0, make_counts(1, 3, 3))
        assert not Recorder(path).sealed().any()

    def test_seals_part_by_part(self, make_store: MakeStore) -> None:
        sealed = Recorder(make_store(record=5)).sealed()
        assert sealed.tolist() == [True] * 5 + [False] * 7

    def test_keeps_integers(self, make_store: MakeStore, make_counts: MakeCounts) -> None:
        record = open_store(make_store(record=1)).record()
        assert record.active_count.dtype == np.dtype("int32")
        written = make_counts(0, 4, 6, tokens=50).statistics["active_count"]
        np.testing.assert_array_equal(record.active_count.values[0], written)


class TestZeros:
    """A chunk that is not there is damage, so a zero must be there."""

    def zero_store(self, tmp_path: Path) -> str:
        path = str(tmp_path / "s.zarr")
        with mock.patch.object(schema, "CHUNK_BYTES", 1):  # one layer a chunk
            create(path, **SMALL)
        zeros = np.zeros((2, 3))
        Recorder(path).write_part(
            0,
            PartCounts(
                statistics={
                    "active_count": zeros.astype(int),
                    "activation_sum": zeros,
                    "activation_square_sum": zeros,
                },
                token_count=0,
                story_count=0,
            ),
        )
        finalise(path)
        return path

    def test_no_shard_is_left_out(self, tmp_path: Path) -> None:
        path = self.zero_store(tmp_path)
        names = [*schema.ROOT, *(f"record/{name}" for name in schema.RECORD)]
        shards = {name: array(path, name).shards or array(path, name).chunks for name in names}
        expected = {
            name: math.prod(
                -(-n // s) for n, s in zip(array(path, name).shape, shards[name], strict=True)
            )
            for name in names
        }
        assert {name: len(array_files(path, name)) for name in names} == expected

    def test_no_chunk_within_a_shard_is_left_out(
        self, tmp_path: Path, make_counts: MakeCounts
    ) -> None:
        """The shard's index, at its end, gives offset and size of each chunk; all ones: absent."""
        path = str(tmp_path / "s.zarr")
        with mock.patch.object(schema, "CHUNK_BYTES", 1):
            create(path, **SMALL)
        counts = make_counts(1, 2, 3)
        for number_LN in counts.statistics.values():
            number_LN[0] = 0
        Recorder(path).write_part(0, counts)
        for name in SUMMED:
            (shard,) = array_files(path, f"record/{name}")
            index = np.frombuffer(shard.read_bytes()[-(2 * 16 + 4) : -4], dtype="<u8")
            assert (index != np.iinfo(np.uint64).max).all(), name


class TestChecksums:
    def test_every_chunk_carries_one(self, full_store: str) -> None:
        seen = 0
        for file in Path(full_store).rglob("zarr.json"):
            meta = json.loads(file.read_text())
            if meta["node_type"] != "array":
                continue
            seen += 1
            codecs = meta["codecs"]
            if codecs[0]["name"] == "sharding_indexed":
                index = codecs[0]["configuration"]["index_codecs"]
                assert "crc32c" in [codec["name"] for codec in index], file
                codecs = codecs[0]["configuration"]["codecs"]
            zstd = [codec["configuration"] for codec in codecs if codec["name"] == "zstd"]
            assert [c["checksum"] for c in zstd] == [True], file
        assert seen > 40

    @settings(max_examples=150, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), flip=st.integers(1, 255))
    def test_flipped_bits_are_noticed(self, victim: str, seed: int, flip: int) -> None:
        chance = random.Random(seed)
        names = [*schema.ROOT, *(f"record/{name}" for name in schema.RECORD)]
        name = chance.choice(names)
        intact = np.asarray(array(victim, name)[:])
        file = chance.choice(sorted(array_files(victim, name)))
        whole = file.read_bytes()
        at = chance.randrange(len(whole))
        file.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
        try:
            read = np.asarray(array(victim, name)[:])
        except (RuntimeError, ValueError):
            return  # noticed
        finally:
            file.write_bytes(whole)
        # A bit that means nothing was hit.
        np.testing.assert_array_equal(read, intact)

    def test_a_file_cut_short_is_noticed(self, victim: str) -> None:
        for name in SUMMED:
            file = array_files(victim, f"record/{name}")[0]
            whole = file.read_bytes()
            for length in (1, 3, len(whole) // 2, len(whole) - 1):
                file.write_bytes(whole[:length])
                with pytest.raises((RuntimeError, ValueError, OSError)):
                    array(victim, f"record/{name}")[:]
            file.write_bytes(whole)


class TestWriteRegion:
    @pytest.fixture
    def halves(self, tmp_path: Path) -> zarr.Array[Any]:
        """An array whose chunks hold two entries each."""
        group = zarr.open_group(str(tmp_path / "z"), mode="w", zarr_format=3)
        return arrays.create_array(
            group, "token_count", schema.RECORD["token_count"], (4,), chunks=(2,)
        )

    def test_refuses_part_of_a_chunk(self, halves: zarr.Array[Any]) -> None:
        with pytest.raises(AssertionError, match="whole shards"):
            arrays.write_region(halves, 0, np.asarray(1, dtype="int64"))

    @pytest.mark.parametrize(
        "data", [np.zeros((2, 4), "int32"), np.zeros(3, "int32"), np.zeros((2, 3), "int64")]
    )
    def test_refuses_another_shape_or_type(
        self, make_store: MakeStore, data: np.ndarray[Any, Any]
    ) -> None:
        path = make_store(shape=(2, 3), record=0)
        with pytest.raises(AssertionError, match="is not"):
            arrays.write_region(array(path, "record/active_count"), 0, data)


class TestCreate:
    def test_refuses_a_folder_of_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(StoreError, match="not a vxstore"):
            create(str(tmp_path), **SMALL)
        assert (tmp_path / "thesis.tex").read_text() == "years of work"

    def test_refuses_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "notes.txt"
        file.write_text("notes")
        with pytest.raises(StoreError, match="not a vxstore"):
            create(str(file), **SMALL)
        assert file.read_text() == "notes"

    def test_refuses_another_zarr_group(self, tmp_path: Path) -> None:
        zarr.open_group(str(tmp_path / "g"), mode="w", zarr_format=3, attributes={"a": 1})
        with pytest.raises(StoreError, match="not a vxstore"):
            create(str(tmp_path / "g"), **SMALL)

    def test_refuses_a_store(self, make_store: MakeStore) -> None:
        path = make_store(record=1)
        with pytest.raises(StoreError, match="already holds a store"):
            create(path, **SMALL)
        assert Recorder(path).sealed().sum() == 1

    def test_takes_an_empty_folder(self, tmp_path: Path) -> None:
        create(str(tmp_path), **SMALL)
        assert holds_store(str(tmp_path))

    @pytest.mark.parametrize("survived", [0, 1, 4, 9])
    def test_begins_again_where_one_was_cut_short(self, tmp_path: Path, survived: int) -> None:
        path = str(tmp_path / "s.zarr")
        steps = [*(mock.DEFAULT for _ in range(survived)), KeyboardInterrupt]
        write = mock.Mock(wraps=arrays.write_coordinate, side_effect=steps)
        with mock.patch.object(arrays, "write_coordinate", write), pytest.raises(KeyboardInterrupt):
            create(path, **SMALL)
        assert not holds_store(path)
        with pytest.raises(StoreError, match="never fully created"):
            open_store(path)
        create(path, **SMALL)
        assert holds_store(path)
        assert open_store(path).record().sizes == {"part": 1, "layer": 2, "neuron": 3}

    def test_begins_again_where_the_first_file_was_cut_short(self, tmp_path: Path) -> None:
        """zarr writes a temporary file and renames it; a kill in between leaves that alone."""
        path = tmp_path / "s.zarr"
        path.mkdir()
        (path / "zarr.0123456789abcdef.partial").write_text('{"attributes"')
        create(str(path), **SMALL)
        assert holds_store(str(path))


class TestRefuseOther:
    def test_the_same_run_may_go_on(self, full_store: str, run_attrs: dict[str, Any]) -> None:
        refuse_other(full_store, run_attrs)

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (
                {"model": "huge", "model_fingerprint": "f1", "plan_digest": "p1"},
                ["model is tiny there, huge here"],
            ),
            ({"model_fingerprint": "f1"}, ["model tiny has other content now"]),
            ({"dtype": "bfloat16"}, ["model.dtype is float32 there, bfloat16 here"]),
            ({"compile": "layers"}, ["model.compile is none there, layers here"]),
            (
                {"corpus": "mine", "corpus_digest": "c1", "plan_digest": "p1"},
                ["corpus is builtin:tiny there, mine here"],
            ),
            ({"corpus_digest": "c1"}, ["corpus builtin:tiny has other content now"]),
            (
                {"plan_digest": "p1", "plan_settings": {"parts_per_group": 4, "span": "response"}},
                ["locate.parts_per_group is 1 there, 4 here", "locate.span is all there, response"],
            ),
            ({"plan_digest": "p1"}, ["the tokenizer gives other tokens"]),
            (
                {"dtype": "float16", "corpus_digest": "c1", "corpus": "mine"},
                ["model.dtype is float32 there, float16 here", "corpus is builtin:tiny there"],
            ),
        ],
    )
    def test_names_what_differs(
        self, full_store: str, run_attrs: dict[str, Any], change: dict[str, Any], told: list[str]
    ) -> None:
        with pytest.raises(StoreError, match="made by another run") as caught:
            refuse_other(full_store, {**run_attrs, **change})
        message = str(caught.value)
        assert "\n" not in message
        for words in told:
            assert words in message
        assert message.count(" there") == sum(words.count(" there") for words in told)

    @pytest.mark.parametrize(
        ("record", "fix"),
        [
            (3, "finish it with the vxdist that began it"),
            (None, "the stages after locate can use it as it is"),
        ],
    )
    def test_parts_that_another_version_cut(
        self,
        make_store: Callable[..., str],
        run_attrs: dict[str, Any],
        record: int | None,
        fix: str,
    ) -> None:
        """Whatever the settings are: restoring them would not help."""
        path = make_store(record=record)
        settings = {"parts_per_group": 12, "span": "all"}
        here = {"plan_version": 2, "plan_digest": "p1", "plan_settings": settings}
        with pytest.raises(StoreError) as caught:
            refuse_other(path, {**run_attrs, **here})
        assert str(caught.value) == (
            f"{path} was made by an earlier version of vxdist, whose parts hold other stories "
            f"(plan 1, here 2). Choose another store, or {fix}"
        )
        with pytest.raises(StoreError, match="model is tiny there, huge here"):
            refuse_other(path, {**run_attrs, **here, "model": "huge", "model_fingerprint": "f1"})


class TestDerivedGroups:
    def test_is_marked_complete_last(self, make_store: MakeStore) -> None:
        path = make_store()
        with (
            mock.patch.object(arrays, "write_array", side_effect=KeyboardInterrupt),
            pytest.raises(KeyboardInterrupt),
        ):
            write_group(path, "scores/new", Vape.arrays, {"entropy": np.zeros((4, 6, 1))}, {}, {})
        assert open_store(path).names("scores") == []
        assert not finished_alike(path, "scores/new", {}, "reduce.name")

    def test_tells_alike_from_other(self, full_store: str) -> None:
        same = {"settings": {"name": "vape", "top_fraction": 0.01}}
        assert finished_alike(full_store, "scores/vape", same, "reduce.name")
        assert not finished_alike(full_store, "scores/none", same, "reduce.name")
        assert begun_alike(full_store, "evaluation/choice", {}, "evaluate.name")
        other = {"settings": {"name": "vape", "top_fraction": 0.5}}
        with pytest.raises(StoreError, match=r"top_fraction is 0.01 there, 0.5 here.*reduce\.name"):
            finished_alike(full_store, "scores/vape", other, "reduce.name")


def test_chunks_hold_whole_layers_of_about_a_megabyte() -> None:
    for num_layers, layer_bytes in ((32, 14336 * 4), (80, 28672 * 4), (7, 2 << 20), (1, 1)):
        layers = schema.layers_per_chunk(num_layers, layer_bytes)
        assert num_layers % layers == 0
        assert layers == 1 or layers * layer_bytes <= 1 << 20
        divisors = [d for d in range(1, num_layers + 1) if num_layers % d == 0]
        larger = [b for a, b in pairwise(divisors) if a == layers]
        assert all(n * layer_bytes > 1 << 20 for n in larger)
