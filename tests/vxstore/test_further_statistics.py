"""Stores of further statistics: combined, checked and exported, also by readers without the row."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vxstore
from vxstore import query, schema
from vxstore.check.findings import RERECORD, RESTORE, RETOTAL
from vxstore.check.store import check
from vxstore.errors import StoreError
from vxstore.experts import by_neuron
from vxstore.finalise import complete, finalise, sum_layers
from vxstore.identity import refuse_other
from vxstore.io import arrays
from vxstore.statistics import DEFAULT, STATISTICS, Statistic
from vxstore.write import PartCounts, PartLabels, Recorder, create

MakeCounts = Callable[..., PartCounts]
LARGEST, SHAPE, EXPERTS = "activation_max", (4, 6), 3
NAMES = [*DEFAULT, LARGEST]
CELLS = [("calm", "zh"), ("calm", "zh"), ("calm", "en"), ("zeal", "zh"), ("zeal", "zh")]
"""Of each part; (zeal, en) has none."""
COUNTED = Statistic(
    name="large_count",
    record_dtype="int32",
    total_dtype="int64",
    combine="sum",
    bound="tokens",
    units="tokens",
    long_name="tokens on which the activation is large",
    record_long_name="the same of the part",
)
IDENTITY = {
    "model": "tiny",
    "model_fingerprint": "f0",
    "dtype": "float32",
    "corpus_digest": "c0",
    "plan_digest": "p0",
}
DIGESTS = ("metadata_digest", "metadata_digests")


def add_numbers(counts: PartCounts, seed: int) -> PartCounts:
    """The same counts with both statistics."""
    given_LN = np.full(SHAPE, counts.token_count)
    if counts.routed_count_LE is not None:
        given_LN = by_neuron(counts.routed_count_LE, SHAPE[1])
    rng = np.random.default_rng([seed, 2])
    largest_LN = rng.normal(size=SHAPE).astype(np.float32)
    further = {
        LARGEST: np.where(given_LN > 0, largest_LN, -np.inf),
        COUNTED.name: rng.integers(0, given_LN, endpoint=True),
    }
    return dataclasses.replace(counts, statistics={**counts.statistics, **further})


@pytest.fixture(scope="session")
def make_parts(make_counts: MakeCounts, make_routed: MakeCounts) -> Callable[..., list[PartCounts]]:
    """Counts of all parts; with experts, one is given no token in some parts."""

    def make(num_experts: int = 0) -> list[PartCounts]:
        of = {"num_experts": num_experts} if num_experts else {}
        make_one = make_routed if num_experts else make_counts
        return [add_numbers(make_one(n, *SHAPE, tokens=50 + n, **of), n) for n in range(len(CELLS))]

    return make


def create_at(path: str, names: Sequence[str] = NAMES, num_experts: int = 0) -> None:
    create(
        path,
        num_layers=SHAPE[0],
        num_neurons=SHAPE[1],
        values=["calm", "zeal"],
        languages=["zh", "en"],
        parts=[PartLabels(value=v, language=g, stance="aligned") for v, g in CELLS],
        attrs={**IDENTITY, "statistics": list(names)},
        num_experts=num_experts,
    )


@pytest.fixture(params=[0, EXPERTS], ids=["dense", "experts"])
def path(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    make_parts: Callable[..., list[PartCounts]],
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """A complete store with a maximum, and a statistic whose row is gone once it is created."""
    path = str(tmp_path / "s.zarr")
    with monkeypatch.context() as known:
        known.setitem(STATISTICS, COUNTED.name, COUNTED)
        create_at(path, [*NAMES, COUNTED.name], request.param)
    for part, counts in enumerate(make_parts(request.param)):
        Recorder(path).write_part(part, counts)
    finalise(path)
    return path


@contextlib.contextmanager
def changed(path: str, name: str, at: tuple[int, ...], to: float | None = None) -> Iterator[None]:
    """Another number there meanwhile, with a checksum that is right; one more by default."""
    array = arrays.get_array(arrays.open_group(path, mode="r+"), name)
    before = np.asarray(array[:])
    data = before.copy()
    data[at] = data[at] + 1 if to is None else to
    array[:] = data
    yield
    array[:] = before


def edit_attrs(path: str, group: str, edit: Callable[[dict[str, Any]], object]) -> None:
    """As a stranger would have written them: no digest stands in the way."""
    for name, change in (("", lambda attrs: [attrs.pop(n, None) for n in DIGESTS]), (group, edit)):
        file = Path(path) / name / "zarr.json"
        doc = json.loads(file.read_text())
        change(doc["attributes"])
        file.write_text(json.dumps(doc))


@settings(max_examples=12, deadline=None)
@given(
    num_experts=st.sampled_from([0, 2, 3]),
    chunk_bytes=st.sampled_from([1, 60, 1 << 20]),
    world_size=st.integers(1, 3),
    data=st.data(),
)
def test_ranks_and_order_do_not_change_a_maximum(
    tmp_path_factory: pytest.TempPathFactory,
    make_parts: Callable[..., list[PartCounts]],
    num_experts: int,
    chunk_bytes: int,
    world_size: int,
    data: st.DataObject,
) -> None:
    path = str(tmp_path_factory.mktemp("max") / "s.zarr")
    with mock.patch.object(schema, "CHUNK_BYTES", chunk_bytes):
        create_at(path, num_experts=num_experts)
    parts = make_parts(num_experts)
    for part in data.draw(st.permutations(range(len(CELLS)))):
        Recorder(path).write_part(part, parts[part])
    for rank in data.draw(st.permutations(range(world_size))):
        sum_layers(path, rank=rank, world_size=world_size)
    complete(path)
    root = vxstore.open(path).root().load()
    for value in ("calm", "zeal"):
        for language in ("zh", "en"):
            own = [p for p, cell in zip(parts, CELLS, strict=True) if cell == (value, language)]
            expected_LN = np.max(
                [np.full(SHAPE, -np.inf), *(p.statistics[LARGEST] for p in own)], axis=0
            )
            found_LN = root[LARGEST].sel(value=value, language=language).values
            np.testing.assert_array_equal(found_LN, expected_LN.astype(np.float32))
    assert check(path).findings == []


class TestUnknown:
    """A statistic that is in no table here, from the attributes of its arrays alone."""

    def test_arrays_say_what_they_obey(self, path: str) -> None:
        laws = {LARGEST: {"combine": "max"}, COUNTED.name: {"combine": "sum", "bound": "tokens"}}
        for group in ("", "record/"):
            for name in DEFAULT:
                doc = json.loads((Path(path) / group / name / "zarr.json").read_text())
                assert set(doc["attributes"]) == {"units", "long_name"}
            for name, law in laws.items():
                doc = json.loads((Path(path) / group / name / "zarr.json").read_text())
                attrs = doc["attributes"]
                assert {k: attrs[k] for k in attrs if k not in ("units", "long_name")} == law

    def test_it_is_combined_and_checked(
        self, path: str, make_parts: Callable[..., list[PartCounts]]
    ) -> None:
        counts = make_parts(vxstore.open(path).attrs.get("num_experts", 0))
        parts = [of.statistics for of in counts]
        root = vxstore.open(path).root().load()
        for name, combine in ((COUNTED.name, np.sum), (LARGEST, np.max)):
            expected_LN = combine([of[name] for of in parts[:2]], axis=0)
            found_LN = root[name].sel(value="calm", language="zh").values
            np.testing.assert_array_equal(found_LN, expected_LN.astype(found_LN.dtype))
        assert root[COUNTED.name].dtype == np.dtype("int64")
        assert (root[COUNTED.name].sel(value="zeal", language="en") == 0).all()
        assert (root[LARGEST].sel(value="zeal", language="en") == -np.inf).all()
        assert check(path).findings == []

    @pytest.mark.parametrize(("name", "part"), [(LARGEST, 0), (LARGEST, 3), (COUNTED.name, 3)])
    def test_numbers_that_are_well_written_and_wrong(self, path: str, name: str, part: int) -> None:
        with changed(path, name, (0, 0, 0, 0)):
            (found,) = check(path).findings
            combine = "max" if name == LARGEST else "sum"
            assert (found.array, found.fix) == (name, RETOTAL)
            assert found.what.endswith(f"not the {combine} of its parts")
        lost = -np.inf if name == LARGEST else -1
        for wrong in (lost, np.nan if name == LARGEST else 1000):
            with changed(path, f"record/{name}", (part, 1, 0), wrong):
                (found,) = check(path).findings
                assert (found.array, found.part) == (f"record/{name}", part)
        assert check(path).findings == []

    @pytest.mark.parametrize("name", [LARGEST, COUNTED.name])
    def test_a_lost_shard_is_no_number(self, path: str, name: str) -> None:
        (shard,) = (Path(path) / "record" / name / "c" / "2").rglob("0/0")
        shard.unlink()
        (found,) = check(path).findings
        assert (found.array, found.part, found.fix) == (f"record/{name}", 2, RERECORD)

    def test_another_law_in_the_root(self, path: str) -> None:
        edit_attrs(path, LARGEST, lambda attrs: attrs.update(combine="sum"))
        (found,) = check(path).findings
        assert (found.what, found.fix) == (
            f"{LARGEST} is missing, or its attributes are not those in record",
            RESTORE,
        )

    def test_it_is_exported_and_shown(
        self, path: str, tmp_path: Path, ask: Callable[..., str]
    ) -> None:
        root = vxstore.open(path).root().load()
        out = tmp_path / "counts.csv"
        query.export(vxstore.open(path), str(out), what="counts")
        rows = pd.read_csv(out)
        at = rows[(rows.language == "zh") & (rows.value == "calm") & (rows.layer == 1)]
        for name in (LARGEST, COUNTED.name):
            expected_N = root[name].sel(value="calm", language="zh", layer=1).values
            np.testing.assert_array_equal(at[name].to_numpy(expected_N.dtype), expected_N)
        assert (rows[(rows.language == "en") & (rows.value == "zeal")][LARGEST] == -np.inf).all()

        shown = json.loads(ask("neuron", path, "1", "0", "--format", "json"))["values"]
        of = {(row["language"], row["value"]): row for row in shown}
        cell = root.isel(layer=1, neuron=0).sel(value="calm")
        assert of["pooled", "calm"][LARGEST] == float(cell[LARGEST].max())
        assert of["pooled", "calm"][COUNTED.name] == int(cell[COUNTED.name].sum())
        assert of["en", "zeal"][LARGEST] is None
        assert LARGEST in ask("neuron", path, "1", "0")
        default = ["token_count", "active_count", "probability", "mean_activation"]
        expected = ["language", "value", *default, LARGEST, COUNTED.name]
        assert [name for name in shown[0] if name != "routed_count"] == expected


class TestStrangers:
    @pytest.mark.parametrize(
        ("group", "edit", "told"),
        [
            ("", {"statistics": "active_count"}, "statistics: found 'active_count', expected a"),
            ("", {"statistics": ["active_count", "../x"]}, "expected a list of names"),
            ("", {"statistics": ["active_count", 3]}, "expected a list of names"),
            ("", {"statistics": ["activation_sum"]}, "active_count among them"),
            ("", {"statistics": ["active_count", "active_count"]}, "distinct"),
            ("", {"statistics": ["active_count", "gone"]}, "record/gone is missing"),
            ("", {"statistics": ["active_count", "sealed"]}, "sealed: combine: found 'None'"),
            (f"record/{LARGEST}", {"combine": "min"}, f"{LARGEST}: combine: found 'min'"),
            (f"record/{LARGEST}", {"bound": "above"}, f"{LARGEST}: bound: found 'above'"),
            (f"record/{LARGEST}", {"combine": ["max"]}, "install a newer vxdist"),
            ("record/large_count", {"combine": "max"}, "found int32 by"),
        ],
    )
    @pytest.mark.parametrize("path", [0], indirect=True)
    def test_what_cannot_be_is_named(
        self, path: str, group: str, edit: dict[str, Any], told: str
    ) -> None:
        edit_attrs(path, group, lambda attrs: attrs.update(edit))
        messages = [found.what for found in check(path).findings]
        assert any(told in message for message in messages), messages

    def test_an_array_of_another_shape(self, tmp_path: Path) -> None:
        path = str(tmp_path / "s.zarr")
        create_at(path)
        edit_attrs(path, "record/token_count", lambda attrs: attrs.update(combine="sum"))
        edit_attrs(path, "", lambda attrs: attrs["statistics"].append("token_count"))
        with pytest.raises(StoreError, match=r"record/token_count: found int64 by \('part',\)"):
            Recorder(path)


class TestRecording:
    @pytest.fixture
    def empty(self, tmp_path: Path) -> str:
        path = str(tmp_path / "s.zarr")
        create_at(path)
        return path

    @pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, None])
    def test_a_maximum_that_cannot_be(
        self, empty: str, make_parts: Callable[..., list[PartCounts]], wrong: float | None
    ) -> None:
        counts = make_parts()[0]
        numbers = dict(counts.statistics)
        if wrong is None:
            del numbers[LARGEST]
        else:
            numbers[LARGEST] = numbers[LARGEST].copy()
            numbers[LARGEST][1, 4] = wrong
        told = (
            f"records {LARGEST}, and none is given"
            if wrong is None
            else f"layer 1, neuron 4: {LARGEST} is {wrong}, expected a finite number, minus inf"
        )
        with pytest.raises(ValueError, match=f"part 0: .*{told}"):
            Recorder(empty).write_part(0, dataclasses.replace(counts, statistics=numbers))
        assert not list((Path(empty) / "record" / "active_count").glob("c/*"))

    def test_a_part_without_tokens_has_no_maximum(self, empty: str) -> None:
        zeros = np.zeros(SHAPE)
        numbers = {
            "active_count": zeros.astype(int),
            "activation_sum": zeros,
            "activation_square_sum": zeros,
            LARGEST: zeros - np.inf,
        }
        for part in range(len(CELLS)):
            counts = PartCounts(statistics=numbers, token_count=0, story_count=0)
            Recorder(empty).write_part(part, counts)
        finalise(empty)
        assert (vxstore.open(empty).root()[LARGEST] == -np.inf).all()
        assert check(empty).findings == []

    def test_an_unknown_name_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="no statistic 'gone'; there are active_count, "):
            create_at(str(tmp_path / "s.zarr"), ["active_count", "gone"])
        assert list(tmp_path.iterdir()) == []

    def test_a_run_with_others_is_refused(self, empty: str) -> None:
        refuse_other(empty, {**IDENTITY, "statistics": NAMES})
        with pytest.raises(StoreError) as refusal:
            refuse_other(empty, IDENTITY)
        names = ", ".join(DEFAULT)
        told = f"locate.statistics is {names}, {LARGEST} there, {names} here."
        assert told in str(refusal.value)
