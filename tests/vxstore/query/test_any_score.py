"""Scores that are not VAPE, through every query and command; numbers worked out by hand.

The store is a copy of the witness: 2 layers of 3 neurons, 2 values, 2 languages, 21 tokens each.
"""

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import vxstore
from vxdist.reduce.selectors.vape import Vape
from vxstore import query
from vxstore.errors import StoreError
from vxstore.groups import write_group
from vxstore.schema import SCORES, ArraySpec

VAPE = {**Vape.arrays, **SCORES}

MakeStore = Callable[..., str]
AddScores = Callable[..., dict[str, np.ndarray[Any, Any]]]
Ask = Callable[..., str]
WITNESS = Path(__file__).parents[2] / "data" / "format1.zarr"
ORDER = ("layer", "neuron", "value", "language")
NAN = float("nan")
MARGIN_VGLN = np.array(
    [
        [[[5, 1, 3], [2, 4, 9]], [[-1, -2, -3], [-4, -5, -6]]],  # calm: zh, en
        [[[1, 6, 2], [8, 0, 3]], [[7, 7, 1], [7, 2, NAN]]],  # zeal: zh, en
    ]
)
CHOSEN = {
    ("calm", "zh"): [(0, 0), (1, 1), (1, 2)],
    ("zeal", "zh"): [(0, 1), (1, 0), (1, 2)],
    ("calm", "en"): [(0, 0)],
    ("zeal", "en"): [(0, 0), (0, 1), (1, 0)],
}
STRENGTH_GLN = np.array([[[3, 1, 2], [9, 4, 8]], [[1, 1, 1], [1, 1, 1]], [[4, 2, 3], [0, 5, NAN]]])
TOOK_PART_LN = np.array([[True, True, False], [True, True, True]])


def add(
    path: str,
    name: str,
    array: str,
    numbers: np.ndarray[Any, Any],
    selected: np.ndarray[Any, Any],
    *,
    pooled: bool = False,
    attrs: dict[str, Any],
    **others: np.ndarray[Any, Any],
) -> None:
    """Write a score; `numbers` are by (layer, neuron, [value,] language), `others` bool arrays."""
    root = vxstore.open(path).root()
    dims = ORDER if numbers.ndim == 4 else ("layer", "neuron", "language")
    specs = {
        array: ArraySpec(dims=dims, dtype="float64", units="1", long_name="what ranks"),
        "selected": SCORES["selected"],
        **dict.fromkeys(others, VAPE["passed_filter"]),
    }
    labels: dict[str, Any] = {
        "layer": range(root.sizes["layer"]),
        "neuron": range(root.sizes["neuron"]),
        "value": [str(value) for value in root.value.values],
        "language": [str(name) for name in root.language.values] + ["pooled"] * pooled,
    }
    data = {array: numbers, "selected": selected, **others}
    write_group(path, f"scores/{name}", specs, data, labels, {"ranked_by": array, **attrs})


def add_vape(path: str) -> None:
    """A sound VAPE score as earlier versions wrote it, in place of any that is there."""
    root = vxstore.open(path).root().load()
    active, tokens = (
        np.concatenate([count, count.sum(axis=-1, keepdims=True)], axis=-1)
        for count in (root.active_count.transpose(*ORDER).values, root.token_count.values)
    )
    share = active / tokens
    with np.errstate(divide="ignore", invalid="ignore"):
        part = share / share.sum(axis=2, keepdims=True)
        entropy = -np.where(part > 0, part * np.log(part), 0 * part).sum(axis=2)
    passed = np.isfinite(entropy) & (share.max(axis=2) > 0.1)
    data = {
        "activation_probability": share,
        "entropy": entropy,
        "passed_filter": passed,
        "selected": passed[:, :, None] & (share > 0.2),
    }
    labels: dict[str, Any] = {
        "layer": range(2),
        "neuron": range(3),
        "value": ["calm", "zeal"],
        "language": ["zh", "en", "pooled"],
    }
    write_group(path, "scores/vape", VAPE, data, labels, {"settings": {"name": "vape"}})


def add_difference(path: str) -> None:
    """Mean activation for a value less the mean over values; the uppermost tenth is selected."""
    root = vxstore.open(path).root().load()
    mean = root.activation_sum / root.token_count
    score = (mean - mean.mean("value")).transpose(*ORDER)
    selected = (score >= score.quantile(0.9)).values
    attrs = {"settings": {"name": "difference"}, "ascending": False}
    add(path, "difference", "score", score.values, selected, attrs=attrs)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The witness with VAPE and three scores of other kinds. For reading only.

    `margin` ranks by value, descending, without pooled; `strength` once per language, pooled too,
    some neurons not taking part.
    """
    path = str(tmp_path_factory.mktemp("any") / "s.zarr")
    shutil.copytree(WITNESS, path)
    add_vape(path)
    add_difference(path)
    selected = np.zeros((2, 3, 2, 2), dtype=bool)
    for (value, language), places in CHOSEN.items():
        for layer, neuron in places:
            selected[layer, neuron, int(value == "zeal"), int(language == "en")] = True
    margin = MARGIN_VGLN.transpose(2, 3, 0, 1)
    thresholds = {"zh": {"margin_cut": 2.5, "selected_count": 5}, "en": {"margin_cut": None}}
    attrs = {"selector": "margin", "settings": {"size": 3}, "thresholds": thresholds}
    add(path, "margin", "margin", margin, selected, attrs={**attrs, "ascending": False})
    add(path, "negated", "minus", -margin, selected, attrs={})
    add(path, "reverse", "margin", margin, ~selected & (margin > -9), attrs={"ascending": True})
    strength = STRENGTH_GLN.transpose(1, 2, 0)
    took_part = np.repeat(TOOK_PART_LN[..., None], 3, axis=-1)
    chosen = np.repeat((took_part & (strength >= 3))[:, :, None], 2, axis=2)
    chosen[:, :, 0] = False  # of zeal only
    attrs = {"ranked_among": "eligible", "ascending": False}
    add(path, "strength", "strength", strength, chosen, pooled=True, attrs=attrs,
        eligible=took_part)  # fmt: skip
    return path


SCORE_NAMES = ("difference", "margin", "negated", "reverse", "strength", "vape")


class TestEveryCommand:
    @pytest.mark.parametrize("form", ["table", "json", "csv"])
    @pytest.mark.parametrize("score", SCORE_NAMES)
    def test_answers(self, ask: Ask, store: str, tmp_path: Path, score: str, form: str) -> None:
        for asked in (
            ["top"],
            ["top", "--value", "zeal", "--language", "en"],
            ["neuron", "1", "1"],
            ["layers"],
            ["compare", store],
            ["compare", store, "--score-b", "vape"],
            ["export", str(tmp_path / "x.csv")],
            ["export", str(tmp_path / "x.mask.json"), "--value", "zeal"],
        ):
            out = ask(asked[0], store, *asked[1:], "--score", score, "--format", form)
            assert out if form != "json" else json.loads(out) is not None

    @pytest.mark.parametrize("form", ["table", "json", "csv"])
    def test_info_and_check(self, ask: Ask, store: str, form: str) -> None:
        assert "difference" in ask("info", store, "--format", form)
        answer = ask("check", store, "--format", form)
        assert json.loads(answer)["findings"] == [] if form == "json" else answer


class TestTop:
    def test_of_all_values_ranks_by_the_best_of_a_neurons_own(self, store: str) -> None:
        found = query.top(vxstore.open(store), score="margin")
        assert list(found.drop(columns=["level", "claim"])) == [
            "language", "layer", "neuron", "margin", "value_count", "values"
        ]  # fmt: skip
        assert set(found.level) == {0}
        assert set(found.claim) == {"listed"}
        rows = [
            tuple(row.values()) for row in found.drop(columns=["level", "claim"]).to_dict("records")
        ]
        assert rows == [
            ("zh", 1, 2, 9.0, 2, ["calm", "zeal"]),
            ("zh", 1, 0, 8.0, 1, ["zeal"]),
            ("zh", 0, 1, 6.0, 1, ["zeal"]),
            ("zh", 0, 0, 5.0, 1, ["calm"]),
            ("zh", 1, 1, 4.0, 1, ["calm"]),
            ("en", 0, 0, 7.0, 2, ["calm", "zeal"]),  # ties by layer and neuron
            ("en", 0, 1, 7.0, 1, ["zeal"]),
            ("en", 1, 0, 7.0, 1, ["zeal"]),
        ]

    def test_of_one_value_ranks_by_its_number(self, store: str) -> None:
        found = query.top(vxstore.open(store), score="margin", value="zeal", language="zh")
        names = ["layer", "neuron", "margin", "probability", "mean_other_probability"]
        rows = [tuple(row.values()) for row in found[names].to_dict("records")]
        # Active counts in zh are 3 x layer + neuron for both values, of 21 tokens.
        assert rows == [
            (1, 0, 8.0, 3 / 21, 3 / 21),
            (0, 1, 6.0, 1 / 21, 1 / 21),
            (1, 2, 3.0, 5 / 21, 5 / 21),
        ]

    def test_one_ranking_for_all_values(self, store: str) -> None:
        found = query.top(vxstore.open(store), score="strength", value="zeal", language="pooled")
        assert found.strength.tolist() == [5.0, 4.0]
        # Pooled: the counts of both languages over 42 tokens.
        assert found.probability.tolist() == [(4 + 7) / 42, (0 + 3) / 42]
        assert found.mean_other_probability.tolist() == [(4 + 4) / 42, 0]

    def test_negated_numbers_ascending_say_the_same(self, store: str) -> None:
        one, other = (query.top(vxstore.open(store), score=s) for s in ("margin", "negated"))
        other["margin"] = -other.pop("minus")
        pd.testing.assert_frame_equal(one, other[list(one)])

    def test_title_and_heading(self, ask: Ask, store: str) -> None:
        out = ask("top", store, "--score", "margin")
        assert out.startswith("selected neurons, highest margin margin first\n")
        assert re.search(r"^language +layer +neuron +margin +level +values +which *$", out, re.M)
        out = ask("top", store, "--score", "vape")
        assert out.startswith("selected neurons, lowest vape entropy first\n")

    def test_small_numbers_are_legible(self, ask: Ask, store: str, tmp_path: Path) -> None:
        path = shutil.copytree(store, tmp_path / "s.zarr").__fspath__()
        tiny = MARGIN_VGLN.transpose(2, 3, 0, 1) * 1e-9
        add(path, "tiny", "gradient", tiny, tiny > 0, attrs={"ascending": False})
        assert "9.00000e-09" in ask("top", path, "--score", "tiny")
        assert "9.00000e-09" in ask("neuron", path, "1", "2", "--score", "tiny")


class TestNeuron:
    def test_a_rank_for_each_value(self, store: str) -> None:
        about = query.neuron(vxstore.open(store), 1, 2, score="margin")
        assert (about["ranked_by"], about["ascending"]) == ("margin", False)
        assert "languages" not in about
        table = about["values"].set_index(["language", "value"])
        found = {
            cell: (row.margin, row["rank"], row.ranked_count, row.selected)
            for cell, row in table.loc[["zh", "en"]].iterrows()
        }
        assert found.pop(("en", "zeal"))[1:] == (None, 5, False)
        assert found == {
            ("zh", "calm"): (9.0, 1, 6, True),
            ("zh", "zeal"): (3.0, 3, 6, True),
            ("en", "calm"): (-6.0, 6, 6, False),
        }
        assert table.loc["pooled", ["margin", "rank", "selected"]].isna().all(axis=None)
        assert table.active_count.loc["pooled"].tolist() == [5 + 5, 5 + 8]

    def test_a_rank_among_those_that_took_part(self, store: str) -> None:
        found = query.neuron(vxstore.open(store), 1, 1, score="strength")["languages"]
        assert found.to_dict("list") == {
            "language": ["zh", "en", "pooled"],
            "strength": [4.0, 1.0, 5.0],
            "eligible": [True, True, True],
            # 9, 8, 4, ...; all tie; 5 is the highest. One neuron of six was not eligible, and the
            # last has no number when pooled.
            "rank": [3, 4, 1],
            "ranked_count": [5, 5, 4],
        }
        left_out = query.neuron(vxstore.open(store), 0, 2, score="strength")["languages"]
        assert left_out["rank"].tolist() == [None] * 3

    def test_table_and_csv(self, ask: Ask, store: str) -> None:
        out = ask("neuron", store, "1", "2", "--score", "margin")
        assert re.search(r"^zh +calm +9.000000 +1 +6 *$", out, re.M)
        assert re.search(r"^en +zeal +- +- +5 +no number$", out, re.M)
        assert not re.search(r"^pooled +calm +-", out, re.M)
        out = ask("neuron", store, "0", "2", "--score", "strength")
        assert len(re.findall(" did not take part$", out, re.M)) == 3
        out = ask("neuron", store, "1", "2", "--score", "margin", "--format", "csv")
        rows = list(csv.DictReader(io.StringIO(out)))
        assert [row["rank"] for row in rows] == ["1", "3", "6", "", "", ""]
        assert [row["ranked_count"] for row in rows] == ["6", "6", "6", "5", "", ""]

    def test_a_score_without_pooled_leaves_its_row_empty(self, ask: Ask, tmp_path: Path) -> None:
        path = shutil.copytree(WITNESS, tmp_path / "s.zarr").__fspath__()
        numbers = np.arange(12.0).reshape(2, 3, 2)
        add(path, "plain", "rise", numbers, np.ones((2, 3, 2, 2), dtype=bool), attrs={})
        found = query.neuron(vxstore.open(path), 0, 0, score="plain")
        assert found["languages"].language.tolist() == ["zh", "en"]
        out = ask("neuron", path, "0", "0", "--score", "plain", "--format", "csv")
        rows = list(csv.DictReader(io.StringIO(out)))
        assert [row["ranked_count"] for row in rows] == ["6", "6", "6", "6", "", ""]


class TestLayersAndExport:
    def test_layers(self, store: str) -> None:
        found = query.layers(vxstore.open(store), score="margin").set_index(
            ["language", "layer", "value"]
        )
        counts = {
            (g, layer, v): 0 for g in ("zh", "en") for layer in (0, 1) for v in ("calm", "zeal")
        }
        for (value, language), places in CHOSEN.items():
            for layer, _ in places:
                counts[language, layer, value] += 1
        assert found.selected_count.to_dict() == counts
        assert found.distinct_count.loc[("zh", slice(None), "calm")].tolist() == [2, 3]

    @pytest.mark.parametrize("ending", [".csv", ".parquet"])
    def test_rows(self, store: str, tmp_path: Path, ending: str) -> None:
        if ending == ".parquet":
            pytest.importorskip("pyarrow")
        out = tmp_path / f"x{ending}"
        assert query.export(vxstore.open(store), str(out), score="margin") == 10
        table = pd.read_csv(out) if ending == ".csv" else pd.read_parquet(out)
        assert list(table)[:5] == ["language", "value", "layer", "neuron", "margin"]
        for row in table.to_dict("records"):
            v, g = int(row["value"] == "zeal"), int(row["language"] == "en")
            layer, neuron = row["layer"], row["neuron"]
            assert (layer, neuron) in CHOSEN[row["value"], row["language"]]
            assert row["margin"] == MARGIN_VGLN[v, g, layer, neuron]
            extra = 3 if (v, g) == (1, 1) else 0  # the counts of zeal in en are 3 more
            assert row["probability"] == (3 * layer + neuron + extra) / 21

    def test_mask(self, store: str) -> None:
        content = query.mask(vxstore.open(store), score="margin")
        assert content["score"] == "margin"
        assert content["masks"]["calm"] == {"zh": {"0": [0], "1": [1, 2]}, "en": {"0": [0]}}

    def test_info(self, ask: Ask, store: str) -> None:
        scores = query.describe(vxstore.open(store))["scores"]
        about = {key: scores["margin"][key] for key in ("selector", "ranked_by", "ascending")}
        assert about == {"selector": "margin", "ranked_by": "margin", "ascending": False}
        assert scores["vape"]["selector"] == "vape"
        assert scores["vape"]["ranked_by"] == "entropy"
        assert "selector" not in scores["strength"]
        out = ask("info", store)
        assert "margin, ranked by margin, highest first\nsize 3\n" in out
        assert re.search(r"^language +selected +margin cut$", out, re.M)
        assert re.search(r"^zh +5 +2.500000$", out, re.M)
        assert re.search(r"^en +- +-$", out, re.M)


class TestCompare:
    def test_orders_are_alike_whatever_their_sign(self, store: str) -> None:
        opened = vxstore.open(store)
        for other, expected in (("margin", 1.0), ("negated", 1.0), ("reverse", -1.0)):
            found = query.compare(opened, opened, score="margin", score_b=other)
            assert (found["ranked_by_a"], found["score_b"]) == ("margin", other)
            ranking = found["ranking"]
            assert ranking[["language", "value"]].to_numpy().tolist() == [
                ["zh", "calm"], ["zh", "zeal"], ["en", "calm"], ["en", "zeal"]
            ]  # fmt: skip
            assert ranking.alive_spearman.tolist() == pytest.approx([expected] * 4)
            assert ranking.alive_count.tolist() == [6, 6, 6, 5]
            jaccard = found["selection"].jaccard
            assert (jaccard == (0 if other == "reverse" else 1)).all()

    def test_rankings_of_other_dimensions(self, store: str) -> None:
        opened = vxstore.open(store)
        ranking = query.compare(opened, opened, score="margin", score_b="strength")["ranking"]
        # Those that took part: margin of calm in zh 5, 1, 2, 4, 9 against 3, 1, 9, 4, 8.
        row = ranking.to_dict("records")[0]
        assert (row["language"], row["value"]) == ("zh", "calm")
        assert (row["alive_count"], row["passed_count"]) == (6, 5)
        # Ranks 4 1 2 3 5 and 2 1 5 3 4: 1 - 6 x (4 + 0 + 9 + 0 + 1) / (5 x 24).
        assert row["passed_spearman"] == pytest.approx(1 - 6 * 14 / 120)

    def test_with_vape(self, store: str, ask: Ask) -> None:
        opened = vxstore.open(store)
        found = query.compare(opened, opened, score="vape", score_b="strength")
        assert found["ranking"].language.tolist() == ["zh", "en", "pooled"]
        assert "value" not in found["ranking"]
        out = ask("compare", store, store, "--score", "vape", "--score-b", "strength")
        assert "rank correlation by entropy and strength (Spearman)" in out
        out = ask(
            "compare", store, store, "--score", "margin", "--score-b", "vape", "--format", "csv"
        )
        assert len(out.splitlines()) == 1 + 4


class TestExperts:
    def test_every_command(self, ask: Ask, make_store: MakeStore, tmp_path: Path) -> None:
        """Probabilities are of the tokens routed to a neuron's expert."""
        path = make_store(num_experts=3)
        root = vxstore.open(path).root().load()
        numbers = np.random.default_rng(0).normal(size=(4, 6, 3, 2))
        add(path, "gap", "gap", numbers, numbers > 1, attrs={"ascending": False})
        top = query.top(vxstore.open(path), value="zeal", language="en")
        assert len(top)
        for row in top.to_dict("records"):
            cell = root.sel(value="zeal", language="en").isel(layer=row["layer"])
            routed = int(cell.routed_count[row["expert"]])
            assert row["probability"] == int(cell.active_count[row["neuron"]]) / routed
            assert row["gap"] == numbers[row["layer"], row["neuron"], 1, 1]
        for form in ("table", "json", "csv"):
            for asked in (
                ["info"], ["top"], ["layers"], ["check"], ["neuron", "3", "2.1"],
                ["neuron", "L3/E2/U1"], ["top", "--value", "calm"], ["compare", path],
                ["export", str(tmp_path / "x.csv"), "--force"],
            ):  # fmt: skip
                assert ask(asked[0], path, *asked[1:], "--format", form)


class TestDefaultScore:
    def test_the_only_one(self, ask: Ask, tmp_path: Path, make_store: MakeStore,
                          add_scores: AddScores) -> None:  # fmt: skip
        path = make_store()
        add_scores(path, name="strict")
        assert query.default_score(vxstore.open(path)) == "strict"
        for asked in (
            ["top"], ["neuron", "0", "1"], ["layers"], ["compare", path],
            ["export", str(tmp_path / "x.csv")], ["export", str(tmp_path / "x.mask.json")],
        ):  # fmt: skip
            assert ask(asked[0], path, *asked[1:])
        assert ask("top", path).startswith("selected neurons, lowest strict entropy first")
        assert query.mask(vxstore.open(path))["score"] == "strict"

    def test_several_without_vape_are_listed(
        self, fail: Ask, tmp_path: Path, make_store: MakeStore, add_scores: AddScores
    ) -> None:
        path = make_store()
        for name in ("strict", "wide"):
            add_scores(path, name=name)
        out = str(tmp_path / "x.csv")
        for asked in (
            ["top"],
            ["neuron", "0", "1"],
            ["layers"],
            ["compare", path],
            ["export", out],
        ):
            said = fail(asked[0], path, *asked[1:])
            assert "has several scores, strict, wide; name the one to use" in said
        add_scores(path)
        assert query.default_score(vxstore.open(path)) == "vape"

    def test_each_store_has_its_own(self, make_store: MakeStore, add_scores: AddScores) -> None:
        paths = [make_store(), make_store()]
        for path, name in zip(paths, ("strict", "wide"), strict=True):
            add_scores(path, name=name)
        found = query.compare(*(vxstore.open(path) for path in paths))
        assert (found["score_a"], found["score_b"]) == ("strict", "wide")

    def test_none(self, fail: Ask, make_store: MakeStore) -> None:
        assert "has no finished score; run `vxdist reduce`" in fail("top", make_store())

    def test_evaluations(
        self, make_store: MakeStore, add_evaluation: Callable[[str], None]
    ) -> None:
        path = make_store()
        with pytest.raises(StoreError, match="no finished evaluation; run `vxdist evaluate`"):
            query.default_evaluation(vxstore.open(path))
        add_evaluation(path)
        assert query.default_evaluation(vxstore.open(path)) == "choice"


def test_a_column_is_never_called_twice(store: str, tmp_path: Path, ask: Ask) -> None:
    """An array called as a column of the tables gets another name there."""
    path = shutil.copytree(store, tmp_path / "s.zarr").__fspath__()
    numbers = MARGIN_VGLN.transpose(2, 3, 0, 1)
    for array in ("probability", "rank", "value_count"):
        add(path, "clash", array, numbers, numbers > 2, attrs={"ascending": False})
        top = query.top(vxstore.open(path), score="clash", value="calm", language="zh")
        assert top[f"score_{array}"].tolist() == [9.0, 5.0, 4.0, 3.0]
        assert top.probability.tolist() == [5 / 21, 0, 4 / 21, 2 / 21]
        for asked in (
            ["top"],
            ["neuron", "1", "2"],
            ["export", str(tmp_path / "x.csv"), "--force"],
        ):
            assert ask(asked[0], path, *asked[1:], "--score", "clash")


def test_names_of_arrays_steer_no_terminal(store: str, tmp_path: Path, ask: Ask) -> None:
    path = shutil.copytree(store, tmp_path / "s.zarr").__fspath__()
    numbers = MARGIN_VGLN.transpose(2, 3, 0, 1)
    add(path, "odd", "\x1b[2Jx", numbers, numbers > 2, attrs={"ascending": False})
    out = tmp_path / "x.csv"
    for form in ("table", "json", "csv"):
        for asked in (
            ["top"], ["neuron", "1", "2"], ["info"], ["compare", path, "--score-b", "vape"],
            ["export", str(out), "--force"],
        ):  # fmt: skip
            score = [] if asked[0] == "info" else ["--score", "odd"]
            assert "\x1b" not in ask(asked[0], path, *asked[1:], *score, "--format", form)
    assert "\x1b" not in out.read_text()


HOSTILE: tuple[dict[str, Any], ...] = (
    {"ranked_by": "nope"}, {"ranked_by": 3}, {"ranked_by": ["margin"]}, {"ranked_by": None},
    {"ranked_by": "layer"}, {"ranked_by": "selected"}, {"ascending": "no"}, {"ascending": None},
    {"ranked_among": "nope"}, {"ranked_among": "margin"}, {"ranked_among": {}},
    {"selector": ["x"]}, {"selector": "vape"}, {"thresholds": [1]}, {"thresholds": {"zh": 7}},
    {"thresholds": {"zh": {"x": {"y": "\x1b[2J"}}}}, {"settings": [1, 2]}, {"settings": "all"},
)  # fmt: skip


@pytest.mark.parametrize("attrs", HOSTILE, ids=str)
def test_hostile_declarations(
    store: str, tmp_path: Path, attrs: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Answered or refused in one line, by every command."""
    from vxstore.cli.main import main

    path = shutil.copytree(store, tmp_path / "s.zarr")
    for file, change in (("zarr.json", None), ("scores/margin/zarr.json", attrs)):
        doc = json.loads((path / file).read_text())
        doc["attributes"] |= change or {}
        doc["attributes"].pop("metadata_digest", None)
        doc["attributes"].pop("metadata_digests", None)
        (path / file).write_text(json.dumps(doc))
    out = str(tmp_path / "x.csv")
    codes = set()
    for asked in (
        ["top"], ["top", "--value", "calm"], ["neuron", "0", "1"], ["layers"], ["check"], ["info"],
        ["compare", str(path)], ["compare", str(path), "--score-b", "vape"],
        ["export", out, "--force"], ["export", f"{out}.json", "--force"],
    ):  # fmt: skip
        score = [] if asked[0] in ("check", "info") else ["--score", "margin"]
        codes.add(main([asked[0], str(path), *asked[1:], *score]))
        said = capsys.readouterr()
        assert said.err.count("\n") <= 1, said.err
        assert "\x1b" not in said.out + said.err
    assert codes <= {0, 2}
    if not {"thresholds", "settings"} & set(attrs) and attrs != {"selector": ["x"]}:
        assert 2 in codes
