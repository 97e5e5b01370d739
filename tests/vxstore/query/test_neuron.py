"""What is told of one neuron, against the counts and plain loops."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vxstore
from vxdist.reduce.selectors.vape import Vape
from vxstore import query
from vxstore.errors import StoreError
from vxstore.groups import write_group
from vxstore.query.ranks import count_ahead
from vxstore.schema import SCORES

MakeStore = Callable[..., str]
AddScores = Callable[..., dict[str, np.ndarray[Any, Any]]]
Ask = Callable[..., str]
LABELS = ("zh", "en", "pooled")


class TestCounts:
    @pytest.mark.parametrize("at", [(0, 0), (3, 5), (2, 1)])
    def test_are_those_of_the_root(self, full_store: str, at: tuple[int, int]) -> None:
        root = vxstore.open(full_store).root().load()
        found = query.neuron(vxstore.open(full_store), *at)["values"]
        assert len(found) == 9
        for row in found.to_dict("records"):
            cell = root.isel(layer=at[0], neuron=at[1]).sel(value=row["value"])
            if row["language"] == "pooled":
                cell = cell.sum("language")
            else:
                cell = cell.sel(language=row["language"])
            assert row["token_count"] == int(cell.token_count)
            assert row["active_count"] == int(cell.active_count)
            assert row["probability"] == int(cell.active_count) / int(cell.token_count)
            assert row["mean_activation"] == float(cell.activation_sum) / int(cell.token_count)

    def test_without_scores(self, make_store: MakeStore) -> None:
        told = query.neuron(vxstore.open(make_store()), 1, 2)
        assert told["score"] is None
        assert "languages" not in told
        assert "selected" not in told["values"]

    def test_without_sums(self, make_store: MakeStore) -> None:
        store = vxstore.open(make_store())
        root = store.root().drop_vars(["activation_sum", "activation_square_sum"])
        store.root = lambda: root  # type: ignore[method-assign]
        found = query.neuron(store, 1, 2)["values"]
        assert list(found)[-1] == "probability"

    def test_other_layers_are_not_read(self, make_store: MakeStore) -> None:
        """All chunks but those of layer 1 are gone, and nobody notices."""
        path = make_store(shape=(3, 20_000))
        for name in ("active_count", "activation_sum", "activation_square_sum"):
            layers = sorted((Path(path) / name / "c").iterdir())
            assert len(layers) == 3
            for layer in (layers[0], layers[2]):
                shutil.rmtree(layer)
        assert len(query.neuron(vxstore.open(path), 1, 7)["values"]) == 9
        with pytest.raises(StoreError, match="damaged in active_count"):
            query.neuron(vxstore.open(path), 2, 7)


class TestScores:
    @pytest.mark.parametrize("at", [(0, 0), (3, 5), (2, 1), (1, 4)])
    def test_agree_with_plain_loops(
        self, make_store: MakeStore, add_scores: AddScores, at: tuple[int, int]
    ) -> None:
        path = make_store()
        data = add_scores(path, seed=3)
        told = query.neuron(vxstore.open(path), *at)
        assert told["score"] == "vape"
        selected = told["values"].set_index(["language", "value"]).selected
        for g, row in enumerate(told["languages"].to_dict("records")):
            assert row["language"] == LABELS[g]
            assert row["entropy"] == data["entropy"][*at, g]
            passed = [
                (data["entropy"][layer, neuron, g], layer, neuron)
                for layer in range(4)
                for neuron in range(6)
                if data["passed_filter"][layer, neuron, g]
            ]
            mine = (row["entropy"], *at)
            assert row["ranked_count"] == len(passed)
            assert row["passed_filter"] is (mine in passed)
            assert row["rank"] == (sorted(passed).index(mine) + 1 if mine in passed else None)
            for v, value in enumerate(("calm", "zeal", "thrift")):
                assert selected[row["language"], value] == data["selected"][*at, v, g]

    @given(st.data())
    def test_ranks_are_a_permutation(self, data: st.DataObject) -> None:
        few = st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=12, max_size=12)
        entropy_LN = np.array(data.draw(few)).reshape(3, 4)
        passed = st.lists(st.booleans(), min_size=12, max_size=12)
        passed_LN = np.array(data.draw(passed)).reshape(3, 4)
        placed = sorted(
            (1 + int(count_ahead(entropy_LN, passed_LN, entropy_LN[at], 4 * at[0] + at[1])), at)
            for at in np.ndindex(3, 4)
            if passed_LN[at]
        )
        assert [r for r, _ in placed] == list(range(1, int(passed_LN.sum()) + 1))
        assert [entropy_LN[at] for _, at in placed] == sorted(entropy_LN[passed_LN])

    def test_a_dead_neuron(self, make_store: MakeStore, add_scores: AddScores, ask: Ask) -> None:
        path = make_store()
        data = add_scores(path)
        data["entropy"][1, 1], data["passed_filter"][1, 1] = np.nan, False
        data["passed_filter"][1, 2] = False
        labels: dict[str, Any] = {
            "layer": range(4),
            "neuron": range(6),
            "value": ["calm", "zeal", "thrift"],
            "language": LABELS,
        }
        write_group(path, "scores/dead", {**Vape.arrays, **SCORES}, data, labels, {})
        told = query.neuron(vxstore.open(path), 1, 1, score="dead")["languages"]
        assert told.entropy.isna().all()
        assert told["rank"].tolist() == [None] * 3
        assert len(re.findall("dead$", ask("neuron", path, "1", "1", "--score", "dead"), re.M)) == 3
        out = ask("neuron", path, "1", "2", "--score", "dead")
        assert len(re.findall("did not pass the filter$", out, re.M)) == 3


class TestRefusals:
    @pytest.mark.parametrize(
        ("at", "known"),
        [
            ((4, 0), "no layer 4; there are 0 to 3"),
            ((-1, 0), "no layer -1; there are 0 to 3"),
            ((0, 6), "no neuron 6; there are 0 to 5"),
        ],
    )
    def test_out_of_range(self, full_store: str, at: tuple[int, int], known: str) -> None:
        with pytest.raises(StoreError, match=known):
            query.neuron(vxstore.open(full_store), *at)

    def test_unfinished(self, make_store: MakeStore) -> None:
        with pytest.raises(StoreError, match="7 of 12 parts are missing"):
            query.neuron(vxstore.open(make_store(record=5)), 0, 0)

    def test_no_such_score(self, full_store: str, make_store: MakeStore) -> None:
        with pytest.raises(StoreError, match=r"no finished scores/lape \(there: vape\)"):
            query.neuron(vxstore.open(full_store), 0, 0, score="lape")
        with pytest.raises(StoreError, match=r"\(there: none\)"):
            query.neuron(vxstore.open(make_store()), 0, 0, score="vape")


class TestCommand:
    @pytest.mark.parametrize("place", [["L2/N1"], ["l2/n1"], ["2", "1"]])
    def test_ways_to_name_a_neuron(self, ask: Ask, full_store: str, place: list[str]) -> None:
        assert ask("neuron", full_store, *place).startswith("layer 2, neuron 1 of tiny\n")
        assert ask("neuron", full_store, "--score", "vape", *place)

    def test_options_may_come_between(self, ask: Ask, full_store: str) -> None:
        out = ask("neuron", full_store, "2", "1", "--format", "json")
        assert json.loads(out)["neuron"] == 1

    def test_a_number_as_tables_print_it(self, ask: Ask, make_store: MakeStore) -> None:
        path = make_store(shape=(2, 1200))
        for place in (["1", "1,114"], ["1", "1114"], ["L1/N1,114"], ["L1/N1114"]):
            assert ask("neuron", path, *place).startswith("layer 1, neuron 1,114 of tiny\n")

    @pytest.mark.parametrize(
        "place",
        [["2"], ["2", "1", "0"], ["L2"], ["L2/U1"], ["L2/N"], ["2/1"], ["two", "one"], [""]],
    )
    def test_what_is_not_a_neuron(self, fail: Ask, full_store: str, place: list[str]) -> None:
        known = "expected LAYER NEURON, LAYER EXPERT.UNIT, L29/N1114 or L3/E2/U5"
        assert known in fail("neuron", full_store, *place)

    def test_table(self, ask: Ask, full_store: str) -> None:
        out = ask("neuron", full_store, "2", "1")
        assert out.startswith("layer 2, neuron 1 of tiny\n")
        assert max(map(len, out.splitlines())) <= 80
        values = query.neuron(vxstore.open(full_store), 2, 1)["values"]
        for row in values.to_dict("records"):
            yes = " +yes *" if row["selected"] else " *"
            pattern = (
                rf"^{row['language']} +{row['value']} +{row['token_count']} "
                rf"+{row['active_count']} +{row['probability']:.6f} "
                rf"+{row['mean_activation']:.6f}{yes}$"
            )
            assert re.search(pattern, out, re.M)

    def test_json_and_csv_tell_the_same(self, ask: Ask, full_store: str) -> None:
        told = query.neuron(vxstore.open(full_store), 2, 1)
        found = json.loads(ask("neuron", full_store, "2", "1", "--format", "json"))
        for key in ("values", "languages"):
            assert found[key] == told[key].to_dict("records")
        out = ask("neuron", full_store, "2", "1", "--format", "csv")
        rows = [line.split(",") for line in out.splitlines()]
        table = pd.DataFrame(rows[1:], columns=rows[0])
        assert table.probability.astype(float).tolist() == told["values"].probability.tolist()
        entropy = dict(zip(told["languages"].language, told["languages"].entropy, strict=True))
        assert table.entropy.astype(float).tolist() == [entropy[g] for g in table.language]
