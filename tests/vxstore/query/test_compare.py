"""Two selections beside each other: laws, and what cannot be compared."""

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

import vxstore
from vxstore import query
from vxstore.errors import StoreError
from vxstore.query.compare import spearman

MakeStore = Callable[..., str]
AddScores = Callable[..., dict[str, np.ndarray[Any, Any]]]
Ask = Callable[..., str]
VALUES, LABELS = ("calm", "zeal", "thrift"), ("zh", "en", "pooled")
RUN = {"model": "tiny", "model_fingerprint": "f0"}


@pytest.fixture(scope="module")
def pair(
    make_store: MakeStore, add_scores: AddScores
) -> tuple[str, str, dict[str, np.ndarray[Any, Any]], dict[str, np.ndarray[Any, Any]]]:
    """Two stores of one model, and their scores."""
    a, b = make_store(), make_store()
    return a, b, add_scores(a, seed=1), add_scores(b, seed=2)


class TestLaws:
    def test_a_store_equals_itself(self, full_store: str) -> None:
        told = query.compare(*[vxstore.open(full_store)] * 2)
        selection = told["selection"]
        assert (selection.jaccard == 1).all()
        assert (selection.count_both == selection.count_a).all()
        assert told["ranking"].alive_spearman.tolist() == pytest.approx([1] * 3)
        assert told["ranking"].passed_spearman.tolist() == pytest.approx([1] * 3)
        assert told["only_a"] == told["only_b"] == {"value": [], "language": []}

    def test_swapping_swaps(self, pair: tuple[str, str, Any, Any]) -> None:
        a, b = vxstore.open(pair[0]), vxstore.open(pair[1])
        one, other = query.compare(a, b), query.compare(b, a)
        swapped = other["selection"].rename(columns={"count_a": "count_b", "count_b": "count_a"})
        assert one["selection"].to_dict("records") == swapped[list(one["selection"])].to_dict(
            "records"
        )
        np.testing.assert_allclose(
            one["ranking"].alive_spearman, other["ranking"].alive_spearman, rtol=1e-12
        )

    def test_agrees_with_sets(self, pair: tuple[str, str, Any, Any]) -> None:
        told = query.compare(vxstore.open(pair[0]), vxstore.open(pair[1]))
        assert told["selection"].language.unique().tolist() == list(LABELS)
        for row in told["selection"].to_dict("records"):
            v, g = VALUES.index(row["value"]), LABELS.index(row["language"])
            a, b = (
                set(zip(*np.nonzero(data["selected"][..., v, g]), strict=True)) for data in pair[2:]
            )
            assert (row["count_a"], row["count_b"]) == (len(a), len(b))
            assert row["count_both"] == len(a & b)
            assert row["jaccard"] == len(a & b) / len(a | b)

    def test_correlations_agree_with_scipy(self, pair: tuple[str, str, Any, Any]) -> None:
        told = query.compare(vxstore.open(pair[0]), vxstore.open(pair[1]))["ranking"]
        for g, row in enumerate(told.to_dict("records")):
            x, y = (data["entropy"][..., g] for data in pair[2:])
            passed = pair[2]["passed_filter"][..., g] & pair[3]["passed_filter"][..., g]
            assert row["alive_count"] == x.size
            assert row["passed_count"] == passed.sum()
            assert row["alive_spearman"] == pytest.approx(spearmanr(x.ravel(), y.ravel())[0])
            assert row["passed_spearman"] == pytest.approx(spearmanr(x[passed], y[passed])[0])

    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30))
    def test_spearman_is_scipy_s(self, points: list[tuple[int, int]]) -> None:
        x, y = (np.array([p[n] for p in points], dtype=float) for n in (0, 1))
        if len(set(x)) < 2 or len(set(y)) < 2:
            assert np.isnan(spearman(x, y))
        else:
            assert spearman(x, y) == pytest.approx(spearmanr(x, y)[0])

    def test_none_selected_is_no_overlap(
        self, make_store: MakeStore, add_scores: AddScores, ask: Ask
    ) -> None:
        path = make_store()
        add_scores(path, share=0.0)
        told = query.compare(*[vxstore.open(path)] * 2)
        assert told["selection"].jaccard.isna().all()
        assert told["ranking"].passed_spearman.isna().all()
        assert "nan" not in ask("compare", path, path)

    def test_only_what_both_have(self, make_store: MakeStore, add_scores: AddScores) -> None:
        a, b = make_store(), make_store(values=("thrift", "calm", "awe"), languages=("en",))
        add_scores(a)
        add_scores(b, values=("thrift", "calm", "awe"), languages=("en",), seed=5)
        told = query.compare(vxstore.open(a), vxstore.open(b))
        assert told["selection"].value.tolist() == ["calm", "thrift"]
        assert told["ranking"].language.tolist() == ["en"]  # pooled is of other languages
        assert told["only_a"] == {"value": ["zeal"], "language": ["zh"]}
        assert told["only_b"] == {"value": ["awe"], "language": []}


class TestRefusals:
    @pytest.mark.parametrize("other", ["f1", "", None])
    def test_other_models(
        self, make_store: MakeStore, add_scores: AddScores, other: str | None
    ) -> None:
        a, b = make_store(), make_store(attrs={"model": "huge", "model_fingerprint": other})
        add_scores(a)
        add_scores(b)
        expected = "of model tiny and .* of huge" if other else f"{b} has no model_fingerprint"
        with pytest.raises(StoreError, match=expected):
            query.compare(vxstore.open(a), vxstore.open(b))
        if not other:
            assert len(query.compare(*[vxstore.open(b)] * 2)["selection"]) == 9

    def test_other_shapes(self, make_store: MakeStore, add_scores: AddScores) -> None:
        a, b = make_store(), make_store(shape=(4, 7))
        add_scores(a)
        add_scores(b, shape=(4, 7))
        with pytest.raises(StoreError, match=r"4 layers x 6 neurons and .* 4 layers x 7 neurons"):
            query.compare(vxstore.open(a), vxstore.open(b))

    @pytest.mark.parametrize(("kind", "labels"), [("values", ["awe"]), ("languages", ["fr"])])
    def test_nothing_in_common(
        self, make_store: MakeStore, add_scores: AddScores, kind: str, labels: list[str]
    ) -> None:
        a, b = make_store(), make_store(**{kind: labels})
        add_scores(a)
        add_scores(b, **{kind: labels})
        with pytest.raises(StoreError, match=f"no {kind[:-1]} in common: .* against {labels[0]}"):
            query.compare(vxstore.open(a), vxstore.open(b))

    def test_no_such_score(self, full_store: str) -> None:
        with pytest.raises(StoreError, match=r"no finished scores/lape \(there: vape\)"):
            query.compare(*[vxstore.open(full_store)] * 2, score_b="lape")

    def test_unfinished(self, full_store: str, make_store: MakeStore) -> None:
        with pytest.raises(StoreError, match="7 of 12 parts are missing"):
            query.compare(vxstore.open(full_store), vxstore.open(make_store(record=5)))


class TestCommand:
    def test_table(self, ask: Ask, pair: tuple[str, str, Any, Any]) -> None:
        out = ask("compare", *pair[:2])
        told = query.compare(vxstore.open(pair[0]), vxstore.open(pair[1]))
        for row in told["selection"].to_dict("records"):
            cells = " +".join(str(row[key]) for key in ("count_a", "count_b", "count_both"))
            pattern = rf"^{row['language']} +{row['value']} +{cells} +{row['jaccard']:.6f}"
            assert re.search(pattern, out, re.M)
        for row in told["ranking"].to_dict("records"):
            pattern = (
                rf"^{row['language']} +24 +{row['alive_spearman']:.6f} +{row['passed_count']} "
            )
            assert re.search(pattern, out, re.M)

    def test_json_and_csv(self, ask: Ask, pair: tuple[str, str, Any, Any]) -> None:
        told = query.compare(vxstore.open(pair[0]), vxstore.open(pair[1]))
        found = json.loads(ask("compare", *pair[:2], "--format", "json"))
        for key in ("selection", "ranking"):
            assert found[key] == told[key].to_dict("records")
        rows = ask("compare", *pair[:2], "--format", "csv").splitlines()
        assert len(rows) == 1 + 9
        assert rows[0] == ",".join([*told["selection"], *list(told["ranking"])[1:]])
