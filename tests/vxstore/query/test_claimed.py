"""Levels, tests and null checks through every query and command, against plain loops."""

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
from vxstore import query
from vxstore.cli.main import main
from vxstore.errors import StoreError
from vxstore.groups import write_group
from vxstore.schema import SCORES, ArraySpec

Arrays = dict[str, np.ndarray[Any, Any]]
Make = Callable[..., Any]
Ask = Callable[..., str]
VALUES, LABELS = ["calm", "zeal", "thrift"], ["zh", "en", "pooled"]
CLAIMED = {1: "q_value", 2: "q_beyond", 3: "q_exclusive", 4: "q_stance"}


@pytest.fixture(scope="module")
def tested(make_store: Make, add_scores: Make, add_tests: Make) -> tuple[str, Arrays]:
    """A store with a tested score, and the arrays of that. For reading only."""
    path = make_store()
    return path, add_scores(path, seed=1) | add_tests(path)


def level_of(data: Arrays, at: tuple[int, ...]) -> int:
    having = [level for level, array in CLAIMED.items() if data[array][at] <= np.float32(0.1)]
    return max(having, default=0 if data["selected"][at] else -1)


class TestTop:
    def test_of_selected_neurons(self, tested: tuple[str, Arrays]) -> None:
        path, data = tested
        top = query.top(vxstore.open(path), value="zeal", language="zh", k=100)
        assert len(top) == data["selected"][:, :, 1, 0].sum()
        for row in top.to_dict("records"):
            at = (row["layer"], row["neuron"], 1, 0)
            assert row["level"] == level_of(data, at)
            assert (
                row["claim"]
                == ["listed", "differs", "stands out", "exclusive", "stance"][row["level"]]
            )
            assert (row["p_value"], row["q_value"]) == (data["p_value"][at], data["q_value"][at])

    def test_without_a_value_tells_the_best_of_a_neurons_own(
        self, tested: tuple[str, Arrays]
    ) -> None:
        path, data = tested
        for row in query.top(vxstore.open(path), language="en", k=100).to_dict("records"):
            own = [(row["layer"], row["neuron"], VALUES.index(v), 1) for v in row["values"]]
            assert row["level"] == max(level_of(data, at) for at in own)
            assert row["q_value"] == min(data["q_value"][at] for at in own)

    @pytest.mark.parametrize("level", [1, 3, 4])
    @pytest.mark.parametrize("value", [None, "calm"])
    def test_of_a_claim(self, tested: tuple[str, Arrays], level: int, value: str | None) -> None:
        """Selected or not; by t, unless the score ranks all of them."""
        path, data = tested
        found = query.top(vxstore.open(path), level=level, value=value, language="zh", k=100)
        has = data[CLAIMED[level]][..., 0] <= np.float32(0.1)
        if value is not None:
            has &= np.arange(3) == VALUES.index(value)
        by_t = not data["passed_filter"][..., 0][has.any(axis=2)].all()
        assert by_t or (level, value) != (4, None)  # which some of the cases try
        t = np.where(has, data["t_value"][..., 0], -np.inf).max(axis=2)
        key = -t if by_t else data["entropy"][..., 0]
        expected = sorted(zip(*np.nonzero(has.any(axis=2)), strict=True), key=lambda at: key[at])
        assert list(zip(found.layer, found.neuron, strict=True)) == expected
        assert found.attrs["ranked_by"] == ("t_value" if by_t else "entropy")
        assert found.level.min() >= level
        assert found.t_value.tolist() == [float(t[at]) for at in expected]
        assert CLAIMED[level] in found

    def test_the_score_ranks_if_it_ranks_them_all(
        self, make_store: Make, add_scores: Make, add_tests: Make
    ) -> None:
        path = make_store()
        data = add_scores(path, share=1.0) | add_tests(path)
        found = query.top(vxstore.open(path), level=1, language="zh", k=100)
        assert found.attrs["ranked_by"] == "entropy"
        assert found.entropy.is_monotonic_increasing
        assert len(found) == (data["q_value"][..., 0] <= np.float32(0.1)).any(axis=2).sum()

    def test_table(self, tested: tuple[str, Arrays], ask: Ask) -> None:
        path, _ = tested
        out = ask("top", path, "--level", "4", "--value", "calm")
        assert "neurons that have claim 4 stance for calm, highest vape t_value first" in out
        assert re.search(r"^zh +0 +0 .* 4 stance ", out, re.M)
        assert re.search(r"^language +0 listed +1 differs +2 stands out +3 excl", out, re.M)
        rows = json.loads(ask("top", path, "--level", "4", "--format", "json"))
        assert {(row["level"], row["claim"]) for row in rows} == {(4, "stance")}
        assert "0 listed" in ask("top", path)

    def test_none_has_it(self, tested: tuple[str, Arrays], ask: Ask) -> None:
        path, _ = tested
        out = ask("top", path, "--level", "2")
        assert "zh: no neuron has claim 2 stands out\n" in out
        assert "none is selected" not in out
        out = ask("top", path, "--level", "4", "--language", "pooled")
        said = "pooled: no neuron has claim 4 stance (not tested: fewer than 6 clusters of both"
        assert said in out

    def test_refusals(
        self, tested: tuple[str, Arrays], fail: Ask, make_store: Make, add_scores: Make,
        add_tests: Make,
    ) -> None:  # fmt: skip
        path, _ = tested
        assert "has no level 7; there are 0 listed, 1 differs, 2" in fail(
            "top", path, "--level", "7"
        )
        path = make_store()
        add_scores(path)
        said = fail("top", path, "--level", "1")
        assert "the score vape is not tested, so nothing is claimed of its neurons" in said
        assert "`vxdist reduce --reduce.name NAME` makes one that is tested" in said
        reason = {"untested": "fewer than 6 clusters of calm"}
        tests = {"zh": reason, "en": {"untested": "no twins"}, "pooled": reason}
        add_tests(path, attrs={"tests": tests, "null": {}})
        said = fail("top", path, "--level", "1")
        assert "fewer than 6 clusters of calm (zh, pooled); no twins (en)" in said


def test_counts_of_claims(tested: tuple[str, Arrays]) -> None:
    path, data = tested
    for value in (None, "thrift"):
        counted = query.claimed(vxstore.open(path), value=value)
        for row in counted.to_dict("records"):
            g = LABELS.index(row["language"])
            array = CLAIMED.get(row["level"])
            of = data["selected"] if array is None else data[array] <= np.float32(0.1)
            has = of[..., g] if value is None else of[:, :, 2:, g]
            assert (row["assignments"], row["neurons"]) == (has.sum(), has.any(axis=2).sum())


class TestNeuron:
    def test_numbers_and_levels(self, tested: tuple[str, Arrays]) -> None:
        path, data = tested
        about = query.neuron(vxstore.open(path), 0, 1)
        assert len(about["claims"]) == 9
        for row in about["claims"].to_dict("records"):
            at = (0, 1, VALUES.index(row["value"]), LABELS.index(row["language"]))
            assert row["level"] == level_of(data, at)
            for name in ("t_value", "p_value", *CLAIMED.values(), "auc", "stability"):
                assert row[name] == pytest.approx(float(data[name][at]), nan_ok=True)
        for row in about["rivals"].to_dict("records"):
            at = (0, 1, LABELS.index(row["language"]))
            assert row["rival"] == [*VALUES, None][data["rival"][at]]
            assert row["q_omnibus"] == data["q_omnibus"][at]

    def test_table_csv_and_json(self, tested: tuple[str, Arrays], ask: Ask) -> None:
        path, _ = tested
        out = ask("neuron", path, "L0/N1")
        assert re.search(r"^zh +calm +4 stance .* 0\.01 ", out, re.M)
        assert "rival (second most active for): zh" in out
        rows = pd.read_csv(pd.io.common.StringIO(ask("neuron", path, "0", "1", "--format", "csv")))
        assert {"level", "claim", "q_stance", "auc", "rival"} <= set(rows)
        assert len(rows) == 9
        about = json.loads(ask("neuron", path, "0", "1", "--format", "json"))
        assert {"claims", "rivals", "clusters"} <= set(about)

    def test_without_tests_the_level_is_listed(
        self, make_store: Make, add_scores: Make, ask: Ask
    ) -> None:
        path = make_store()
        data = add_scores(path)
        about = query.neuron(vxstore.open(path), 2, 3)
        selected = np.moveaxis(data["selected"][2, 3], 0, 1).reshape(-1)
        assert about["claims"].level.tolist() == (selected.astype(int) - 1).tolist()
        assert "rivals" not in about
        assert "stance" not in ask("neuron", path, "2", "3")


class TestClusters:
    def test_sums_over_the_tellings(self, make_store: Make, add_clusters: Make, ask: Ask) -> None:
        path = make_store()
        before = query.clusters(vxstore.open(path), 1, 2)
        # Without numbers every part is its own: two stances in each of two languages.
        assert before.cluster.tolist() == [0, 1] * 3 + [2, 3] * 3 + [0, 1, 2, 3] * 3
        add_clusters(path, [1, 1, 1, 0] * 3)
        found = query.clusters(vxstore.open(path), 1, 2).set_index(["language", "value", "cluster"])
        record = vxstore.open(path).record().load()
        active = record.active_count.values[:, 1, 2]
        tokens = record.token_count.values
        for v, value in enumerate(VALUES):
            parts = {("zh", 1): [0, 1], ("en", 1): [2], ("en", 0): [3],
                     ("pooled", 1): [0, 1, 2], ("pooled", 0): [3]}  # fmt: skip
            for (language, cluster), at in parts.items():
                row = found.loc[language, value, cluster]
                expected = [n + 4 * v for n in at]
                assert row.token_count == tokens[expected].sum()
                assert row.active_count == active[expected].sum()
                assert row.probability == row.active_count / row.token_count
        assert len(found) == 5 * 3
        out = ask("neuron", path, "1", "2", "--clusters")
        rate = found.loc["pooled", "calm", 0].probability
        assert re.search(rf"^pooled\ncluster +calm .*\n.*\n +0 +{rate:.1%} ", out, re.M)
        assert len(ask("neuron", path, "1", "2", "--clusters", "--format", "csv").split()) == 16

    def test_of_an_expert_by_the_tokens_routed_to_it(self, make_store: Make, ask: Ask) -> None:
        path = make_store(num_experts=3)
        found = query.clusters(vxstore.open(path), 0, (2, 1))
        record = vxstore.open(path).record().load()
        assert found.routed_count.sum() == 2 * int(record.routed_count.values[:, 0, 2].sum())
        assert found.active_count.sum() == 2 * int(record.active_count.values[:, 0, 5].sum())
        # The last expert sees nothing of the first value here, in four parts, nor pooled.
        assert found.probability.isna().sum() == 2 * 4
        assert "routed to its expert" in ask("neuron", path, "L0/E2/U1", "--clusters")


class TestNull:
    def test_tables(self, tested: tuple[str, Arrays]) -> None:
        path, data = tested
        found = query.null(vxstore.open(path))
        levels = found["levels"].set_index(["language", "level"])
        for g, language in enumerate(LABELS):
            selected = data["selected"][..., g]
            assert levels.loc[(language, 0), "neurons"] == selected.any(axis=2).sum()
            assert levels.loc[(language, 0), "assignments"] == selected.sum()
            has = data["q_value"][..., g] <= np.float32(0.1)
            assert levels.loc[(language, 1), "assignments"] == has.sum()
        assert levels.loc[("zh", 1), "any_rate"] == 0.09
        assert levels.calibrated.loc["pooled"].tolist() == ["", "yes", "yes", "no", "not tested"]
        assert found["list"].below_cut_high.tolist() == [111.0] * 3
        assert found["topic"].settings.tolist() == [12, 33414, 12]
        assert found["topic"].length_F.tolist() == [7.8] * 3
        assert found["spread"].z_sd.tolist() == [1.25, 1.5, 1.75] * 3
        assert found["stability"].observed.tolist() == [0.338] * 3
        assert found["shuffles"] == dict.fromkeys(LABELS, 200)

    def test_sentences_follow_from_the_numbers(self, tested: tuple[str, Arrays], ask: Ask) -> None:
        path, _ = tested
        said = query.null(vxstore.open(path))["sentences"]
        topic = "Settings distinguish stories at least as well as values: most of these neurons"
        assert said["en"]["topic"].startswith(f"{topic} follow topic (33,414 findings")
        assert "Values distinguish stories more often than settings do" in said["zh"]["topic"]
        assert "differ in length (F = 7.8, p = 1e-11), so some" in said["zh"]["topic"]
        assert (
            "With shuffled labels 3 exclusive (45.5%) finds something more" in said["zh"]["levels"]
        )
        assert "Level 4 stance is not tested: fewer than 6" in said["pooled"]["levels"]
        assert "level 1 supports 556 of 2,265 assignments to values (24.5%)" in said["zh"]["list"]
        assert "no more alike than" in said["zh"]["list"]
        assert "with shuffled labels no less (0.35)" in said["zh"]["stability"]
        out = " ".join(ask("null", path).split())
        for text in said["en"].values():
            assert text in out
        assert json.loads(ask("null", path, "--format", "json"))["sentences"] == said
        assert ask("null", path, "--format", "csv").startswith("language,level,claim,assignments,")

    def test_without_a_null(
        self, make_store: Make, add_scores: Make, add_tests: Make, ask: Ask
    ) -> None:
        path = make_store()
        add_scores(path)
        add_tests(path, attrs={"null": {}})
        assert "No null was computed." in ask("null", path)
        found = query.null(vxstore.open(path))
        assert found["shuffles"] == dict.fromkeys(LABELS, 0)
        assert found["list"].empty

    def test_of_what_is_not_tested(
        self, make_store: Make, add_scores: Make, add_tests: Make, ask: Ask
    ) -> None:
        path = make_store()
        add_scores(path)
        assert "untested: the score was made by an earlier vxdist" in ask("null", path)
        tests = {"zh": {"untested": "fewer than 6 clusters of calm"}, "en": {"found": {}}}
        add_tests(path, attrs={"tests": tests})
        found = query.null(vxstore.open(path))
        assert found["untested"]["zh"] == "fewer than 6 clusters of calm"
        assert "en" not in found["untested"]
        assert "untested: fewer than 6 clusters of calm." in ask("null", path)


class TestExportAndInfo:
    def test_rows_have_level_p_and_q(
        self, tested: tuple[str, Arrays], make_store: Make, add_scores: Make
    ) -> None:
        path, data = tested
        rows = query.selected_rows(vxstore.open(path), languages=LABELS)
        assert list(rows)[4:8] == ["entropy", "level", "p_value", "q_value"]
        for row in rows.to_dict("records"):
            at = (row["layer"], row["neuron"], VALUES.index(row["value"]),
                  LABELS.index(row["language"]))  # fmt: skip
            assert row["level"] == level_of(data, at)
            assert (row["p_value"], row["q_value"]) == (data["p_value"][at], data["q_value"][at])
        untested = make_store()
        add_scores(untested, seed=1)
        assert "level" not in query.selected_rows(vxstore.open(untested))

    def test_mask_files_stay_as_they_are(
        self, make_store: Make, add_scores: Make, add_tests: Make, tmp_path: Path
    ) -> None:
        path = make_store()
        add_scores(path)
        files = [str(tmp_path / f"{n}.mask.json") for n in "ab"]
        query.export(vxstore.open(path), files[0])
        add_tests(path)
        query.export(vxstore.open(path), files[1])
        assert Path(files[0]).read_bytes() == Path(files[1]).read_bytes()

    def test_info(self, tested: tuple[str, Arrays], ask: Ask) -> None:
        path, data = tested
        out = ask("info", path)
        counts = [int((data[a][..., 0] <= np.float32(0.1)).sum()) for a in CLAIMED.values()]
        assert re.search(r"^zh +" + " +".join(map(str, counts)) + "$", out, re.M)
        assert re.search(r"^tested +1 differs +2 stands out +3 exclusive +4 stance$", out, re.M)


def add_own(path: str) -> None:
    """A score of a selector that is here alone: each value has its own ranking, by a t_value."""
    rng = np.random.default_rng(3)
    root = vxstore.open(path).root()
    shape = (root.sizes["layer"], root.sizes["neuron"], 3, 2)
    spec = ArraySpec(dims=("layer", "neuron", "value", "language"), dtype="float64", units="1",
                     long_name="luck")  # fmt: skip
    labels = {"layer": range(shape[0]), "neuron": range(shape[1]), "value": VALUES,
              "language": LABELS[:2]}  # fmt: skip
    write_group(
        path, "scores/own", {"luck": spec, **SCORES},
        {"luck": rng.normal(size=shape), "selected": rng.random(shape) < 0.3}, labels,
        {"selector": "own", "ranked_by": "luck", "ascending": False},
    )  # fmt: skip


COMMANDS = (
    ["top"], ["top", "--value", "zeal"], ["neuron", "0", "1"], ["neuron", "0", "1", "--clusters"],
    ["null"], ["layers"], ["info"], ["check"], ["compare", "SELF"], ["export", "OUT", "--force"],
)  # fmt: skip


@pytest.mark.parametrize("experts", [0, 3])
@pytest.mark.parametrize("has_tests", [False, True])
def test_any_selector_through_every_command(
    make_store: Make, add_tests: Make, ask: Ask, tmp_path: Path, experts: int, has_tests: bool
) -> None:
    path = make_store(num_experts=experts)
    add_own(path)
    if has_tests:
        add_tests(path, "own")
    out = str(tmp_path / "x.csv")
    levels = [["top", "--level", str(n)] for n in (0, 1, 2, 4)] if has_tests else []
    for command in (*COMMANDS, *levels):
        for form in ("table", "json", "csv"):
            rest = [path if x == "SELF" else out if x == "OUT" else x for x in command[1:]]
            said = ask(command[0], path, *rest, "--format", form)
            assert form != "json" or json.loads(said) is not None
    assert ("level" in pd.read_csv(out)) == has_tests
    assert query.null(vxstore.open(path))["list"].empty


CLEAR = "\x1b[2J"
OF_ZH: tuple[dict[str, Any], ...] = (
    {"untested": [CLEAR]},
    {"found": [1], "absent": 3, "length": "x", "clusters": {CLEAR: 10**400}},
    {"z_sd": {"a": "b"}, "absent": {"q_beyond": CLEAR}, "found": {"1": {"assignments": CLEAR}}},
)
NULL_OF_ZH: tuple[Any, ...] = (
    3,
    {"shuffles": "many", "levels": {"1": 3}, "topic": 7, "vape": [], "stability": 1},
    {"shuffles": 1e999, "topic_absent": CLEAR, "vape": {"below_cut_95": 3, "listed": CLEAR}},
)
HOSTILE: tuple[dict[str, Any], ...] = (
    {"claims": 3}, {"claims": [{"level": 1}]}, {"fdr": "much"}, {"fdr": None}, {"tests": 3},
    {"claims": [{"level": 1, "name": CLEAR, "array": "q_value"}]}, {"tests": {"zh": 3}},
    *({"tests": {"zh": of}} for of in OF_ZH), {"null": [1]},
    *({"null": {"zh": of}} for of in NULL_OF_ZH), {"testing": {"adjust": {CLEAR: 1}}},
    {"testing": 7},
)  # fmt: skip


@pytest.mark.parametrize("attrs", HOSTILE, ids=lambda attrs: ascii(attrs)[:60])
def test_hostile_attributes(
    tested: tuple[str, Arrays], tmp_path: Path, attrs: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Answered or refused in one line, by every command; what is unlawful is found by check."""
    path = shutil.copytree(tested[0], tmp_path / "s.zarr")
    for file, change in (("zarr.json", None), ("scores/vape/zarr.json", attrs)):
        doc = json.loads((path / file).read_text())
        doc["attributes"] |= change or {}
        doc["attributes"].pop("metadata_digest", None)
        doc["attributes"].pop("metadata_digests", None)
        doc.pop("consolidated_metadata", None)
        (path / file).write_text(json.dumps(doc))
    codes = {}
    for command in (*COMMANDS, ["top", "--level", "1"]):
        rest = [str(path) if x == "SELF" else str(tmp_path / "x.csv") if x == "OUT" else x
                for x in command[1:]]  # fmt: skip
        codes[command[0]] = main([command[0], str(path), *rest])
        said = capsys.readouterr()
        assert said.err.count("\n") <= 1, said.err
        assert "\x1b" not in said.out + said.err
        assert codes[command[0]] in (0, 2)
    unlawful = "fdr" in attrs or ("claims" in attrs and "name" not in str(attrs))
    assert codes["check"] == (2 if unlawful else 0)


def test_python_names(tested: tuple[str, Arrays]) -> None:
    store = vxstore.open(tested[0])
    assert set(vxstore.null(store)) >= {"levels", "sentences"}
    assert len(vxstore.claimed(store)) == 2 * 5
    assert len(vxstore.clusters(store, 0, 0)) == 2 * 12
    with pytest.raises(StoreError, match="has no layer 9"):
        vxstore.clusters(store, 9, 0)


class TestLayersAndCompare:
    def test_layers_count_selected_neurons_with_a_claim(
        self, tested: tuple[str, Arrays], ask: Ask
    ) -> None:
        path, data = tested
        for row in query.layers(vxstore.open(path)).to_dict("records"):
            layer, v, g = row["layer"], VALUES.index(row["value"]), LABELS.index(row["language"])
            levels = np.array(
                [[level_of(data, (layer, n, u, g)) for u in range(3)] for n in range(6)]
            )
            claimed = data["selected"][layer, ..., g] & (levels > 0)
            assert row["claimed_count"] == claimed[:, v].sum()
            assert row["distinct_claimed_count"] == claimed.any(axis=1).sum()
        out = ask("layers", path)
        assert "any claimed\n" in out
        assert "claimed: selected, with a claim of level 1 or above" in out

    def test_compare_counts_them_on_both_sides(
        self, tested: tuple[str, Arrays], make_store: Make, add_scores: Make, ask: Ask
    ) -> None:
        path, data = tested
        untested = make_store()
        other = add_scores(untested, seed=2)["selected"]
        one = query.compare(vxstore.open(path), vxstore.open(untested))["selection"]
        assert [name for name in one if name.startswith("claimed")] == ["claimed_a"]
        twice = query.compare(vxstore.open(path), vxstore.open(path))["selection"]
        for alone, both in zip(one.to_dict("records"), twice.to_dict("records"), strict=True):
            v, g = VALUES.index(alone["value"]), LABELS.index(alone["language"])
            levels = np.array([[level_of(data, (i, n, v, g)) for n in range(6)] for i in range(4)])
            claimed = data["selected"][..., v, g] & (levels > 0)
            assert alone["claimed_a"] == claimed.sum()
            assert both["claimed_a"] == both["claimed_b"] == both["claimed_both"] == claimed.sum()
            assert alone["count_b"] == other[..., v, g].sum()
        assert "of A, of B, of both: how many of them have a claim" in ask("compare", path, path)
        assert "of A: how many of them" in ask("compare", path, untested)
