"""What is divided by what in a store with experts, against plain loops over its parts.

4 layers of 6 neurons: 3 experts of 2 units, 2 of them for each token.
"""

import dataclasses
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import vxstore
from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.vape import Vape, VapeSettings
from vxstore import query
from vxstore.check.store import check
from vxstore.errors import StoreError
from vxstore.experts import by_neuron, share
from vxstore.finalise import finalise
from vxstore.write import PartCounts, PartLabels, Recorder, create

MakeStore = Callable[..., str]
Ask = Callable[..., str]
UNITS, LABELS = 2, ("zh", "en", "pooled")
SETTINGS = VapeSettings(
    filter_quantile=0.5,
    top_fraction=0.2,
    activation_quantile=0.5,
    min_active_tokens=1,
)


NOTHING = PartCounts(
    statistics={
        "active_count": np.zeros((2, 6), dtype=int),
        "activation_sum": np.zeros((2, 6)),
        "activation_square_sum": np.zeros((2, 6)),
    },
    token_count=5,
    story_count=1,
)


@pytest.fixture(scope="module")
def store(make_store: MakeStore) -> str:
    """A complete store with experts, scored. For reading only."""
    path = make_store(num_experts=3)
    write_score(path, "vape", Vape(SETTINGS))
    return path


def plain_probability(path: str) -> dict[tuple[int, int, str, str], float | None]:
    """By (layer, neuron, value, language), in whole numbers from the parts; None if undefined."""
    record = vxstore.open(path).record().load()
    active_PLN, routed_PLE = record.active_count.values, record.routed_count.values
    labels = list(zip(record.value.values.tolist(), record.language.values.tolist(), strict=True))
    found: dict[tuple[int, int, str, str], float | None] = {}
    for layer, neuron in np.ndindex(active_PLN.shape[1:]):
        for value in dict.fromkeys(value for value, _ in labels):
            for language in LABELS:
                active = routed = 0
                for part, (of, written_in) in enumerate(labels):
                    if of == value and language in ("pooled", written_in):
                        active += int(active_PLN[part, layer, neuron])
                        routed += int(routed_PLE[part, layer, neuron // UNITS])
                found[layer, neuron, value, language] = active / routed if routed else None
    return found


class TestScore:
    def test_probabilities_are_of_the_tokens_routed(self, make_store: MakeStore) -> None:
        path = make_store(num_experts=3)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a division by zero would warn
            write_score(path, "vape", Vape(SETTINGS))
        scores = vxstore.open(path).scores("vape").load().activation_probability
        labels = [scores.indexes[dim].tolist() for dim in ("value", "language")]
        undefined = 0
        for (layer, neuron, *names), expected in plain_probability(path).items():
            at = (of.index(name) for of, name in zip(labels, names, strict=True))
            found = float(scores.values[layer, neuron, *at])
            undefined += expected is None
            if expected is None:
                assert np.isnan(found)
            else:
                assert found == expected
        assert undefined == 2 * 3 + 2  # layer 0 in zh, en and pooled; layer 1 in zh

    def test_the_unrouted_take_no_part_and_are_counted(self, store: str) -> None:
        scores = vxstore.open(store).scores("vape").load()
        unknown = scores.activation_probability.isnull().any("value")
        assert unknown.sum(("layer", "neuron")).values.tolist() == [4, 2, 2]
        assert not (scores.passed_filter & unknown).any()
        assert not (scores.selected & unknown).any()
        assert scores.entropy.isnull().sum() >= unknown.sum()
        for g, language in enumerate(LABELS):
            told = scores.attrs["thresholds"][language]
            assert told["unrouted_count"] == [4, 2, 2][g]
            assert told["dead_count"] == int(scores.entropy[..., g].isnull().sum()) - [4, 2, 2][g]
            known = scores.activation_probability[..., g].values[~unknown[..., g].values]
            flat = np.sort(known, axis=None)
            assert told["filter_threshold"] == flat[round(flat.size * 0.5) - 1]

    def test_all_unrouted(self, tmp_path: Path) -> None:
        """Each expert sees one value: no threshold, no neuron, no error."""
        path = str(tmp_path / "s.zarr")
        create(path, num_layers=2, num_neurons=6, values=["a", "b"], languages=["zh"],
               parts=[PartLabels(value=v, language="zh", stance="aligned") for v in ("a", "b")],
               attrs={"experts_per_token": 1}, num_experts=2)  # fmt: skip
        for part in range(2):
            routed_LE = np.zeros((2, 2), dtype=int)
            routed_LE[:, part] = 10
            counts = dataclasses.replace(NOTHING, token_count=10, routed_count_LE=routed_LE)
            active_LN = by_neuron(routed_LE, 6) // 2
            changed = {**counts.statistics, "active_count": active_LN}
            Recorder(path).write_part(part, dataclasses.replace(counts, statistics=changed))
        finalise(path)
        told = write_score(path, "vape", Vape(SETTINGS))["pooled"]
        assert (told["unrouted_count"], told["dead_count"], told["selected_count"]) == (12, 0, 0)
        assert told["filter_threshold"] is told["activation_threshold"] is None
        assert "NaN" not in (Path(path) / "scores" / "vape" / "zarr.json").read_text()
        assert check(path).findings == []

    def test_a_dense_score_has_no_such_count(self, make_store: MakeStore) -> None:
        for told in write_score(make_store(), "vape", Vape(SETTINGS)).values():
            assert "unrouted_count" not in told

    def test_a_value_without_tokens_is_refused(self, tmp_path: Path) -> None:
        """Dense or not: there is nothing to divide by."""
        path = str(tmp_path / "s.zarr")
        create(path, num_layers=2, num_neurons=6, values=["calm", "zeal"], languages=["zh"],
               parts=[PartLabels(value="calm", language="zh", stance="aligned")],
               attrs={})  # fmt: skip
        Recorder(path).write_part(0, NOTHING)
        finalise(path)
        with pytest.raises(StoreError, match="no tokens of value zeal in language zh"):
            write_score(path, "vape", Vape(SETTINGS))


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=20),
    st.sampled_from(["int64", "float32", "float64"]),
)
def test_share_is_nan_where_nothing_was_seen(pairs: list[tuple[int, int]], kind: str) -> None:
    count, among = (np.array(side, dtype=kind) for side in zip(*pairs, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = share(count, among)
    assert found.dtype == (np.dtype("float64") if kind == "int64" else np.dtype(kind))
    for of, a, b in zip(found, count, among, strict=True):
        assert np.isnan(of) if b == 0 else of == found.dtype.type(a) / found.dtype.type(b)


class TestQueries:
    @pytest.mark.parametrize("at", [(0, 0), (0, 5), (1, 4), (3, 3)])
    def test_a_neuron_is_told_of_the_tokens_of_its_expert(
        self, store: str, at: tuple[int, int]
    ) -> None:
        told = query.neuron(vxstore.open(store), *at)
        assert (told["expert"], told["unit"]) == divmod(at[1], UNITS)
        assert query.neuron(vxstore.open(store), at[0], divmod(at[1], UNITS))["neuron"] == at[1]
        record = vxstore.open(store).record().load()
        for row in told["values"].to_dict("records"):
            parts = record.value == row["value"]
            if row["language"] != "pooled":
                parts = parts & (record.language == row["language"])
            of = record.isel(part=np.flatnonzero(parts), layer=at[0])
            routed = int(of.routed_count[:, at[1] // UNITS].sum())
            assert (row["token_count"], row["routed_count"]) == (int(of.token_count.sum()), routed)
            assert row["active_count"] == int(of.active_count[:, at[1]].sum())
            if routed:
                assert row["probability"] == row["active_count"] / routed
                assert row["mean_activation"] == float(of.activation_sum[:, at[1]].sum()) / routed
            else:
                assert np.isnan(row["probability"])
                assert np.isnan(row["mean_activation"])

    def test_probabilities_are_those_of_the_score(self, store: str) -> None:
        scores = vxstore.open(store).scores("vape").load()
        for at in ((0, 0), (0, 5), (1, 4), (3, 2)):
            values = query.neuron(vxstore.open(store), *at)["values"]
            kept = scores.activation_probability[at].sel(
                value=xr.DataArray(values.value), language=xr.DataArray(values.language)
            )
            np.testing.assert_array_equal(values.probability, kept)

    def test_lists_say_expert_and_unit(self, store: str) -> None:
        opened = vxstore.open(store)
        for table in (
            query.top(opened),
            query.top(opened, value="calm", language="pooled"),
            query.selected_rows(opened),
            *query.count_rows(opened),
        ):
            assert len(table)
            assert (table.expert == table.neuron // UNITS).all()
            assert (table.unit == table.neuron % UNITS).all()
            after = list(table).index("neuron") + 1
            assert list(table)[after : after + 2] == ["expert", "unit"]

    def test_exported_counts_have_their_denominator(self, store: str, tmp_path: Path) -> None:
        out = tmp_path / "counts.csv"
        query.export(vxstore.open(store), str(out), what="counts")
        expected = plain_probability(store)
        table = pd.read_csv(out)
        assert len(table) == 4 * 6 * 3 * 2
        for row in table.to_dict("records"):
            p = expected[row["layer"], row["neuron"], row["value"], row["language"]]
            assert p == (row["active_count"] / row["routed_count"] if row["routed_count"] else None)

    def test_a_mask_file_says_how_many_experts(self, store: str) -> None:
        assert query.mask(vxstore.open(store))["experts"] == 3

    def test_dense_answers_are_as_they_were(self, full_store: str) -> None:
        opened = vxstore.open(full_store)
        assert not {"expert", "unit", "experts"} & set(query.neuron(opened, 0, 0))
        assert "routed_count" not in query.neuron(opened, 0, 0)["values"]
        assert "expert" not in query.top(opened)
        assert "experts" not in query.describe(opened)
        assert "experts" not in query.mask(opened)


class TestCommands:
    def test_neuron(self, ask: Ask, fail: Ask, store: str, full_store: str) -> None:
        out = ask("neuron", store, "0", "5")
        assert out.startswith("layer 0, expert 2, unit 1 (neuron 5) of tiny\n")
        assert out.count("unrouted for a value") == 3
        assert max(map(len, out.splitlines())) <= 80
        assert ask("neuron", store, "0", "2.1") == ask("neuron", store, "L0/E2/U1") == out
        told = json.loads(ask("neuron", store, "0", "5", "--format", "json"))
        assert (told["expert"], told["unit"]) == (2, 1)
        assert told["values"][0]["probability"] is None
        assert "no expert 3; there are 0 to 2" in fail("neuron", store, "0", "3.0")
        assert "no unit 2; there are 0 to 1" in fail("neuron", store, "0", "1.2")
        assert "EXPERT.UNIT" in fail("neuron", store, "0", "1.x")
        assert "has no experts" in fail("neuron", full_store, "0", "1.1")
        assert "has no experts" in fail("neuron", full_store, "L0/E1/U1")

    def test_info_and_top(self, ask: Ask, store: str) -> None:
        out = ask("info", store)
        assert "4 layers x 6 (3 experts x 2 units)" in out
        assert "2 for each token; p is active tokens / tokens routed to the neuron's expert" in out
        assert "unrouted" in out
        assert "expert  unit" in ask("top", store)
        assert "unrouted_count" in ask("select", store, "--name", "vape", "--format", "csv")
