"""Selected neurons by layer and value, against sums of the selection."""

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vxstore
from vxstore import query
from vxstore.cli.tables import abbreviate
from vxstore.errors import StoreError

MakeStore = Callable[..., str]
AddScores = Callable[..., dict[str, np.ndarray[Any, Any]]]
Ask = Callable[..., str]
VALUES, LABELS = ("calm", "zeal", "thrift"), ("zh", "en", "pooled")
TWELVE = (
    "prosperity", "democracy", "civility", "harmony", "freedom", "equality", "justice",
    "rule_of_law", "patriotism", "dedication", "integrity", "friendliness",
)  # fmt: skip


class TestLayers:
    @pytest.mark.parametrize("language", [None, *LABELS])
    @pytest.mark.parametrize("share", [0.0, 0.4])
    def test_are_sums_of_the_selection(
        self, make_store: MakeStore, add_scores: AddScores, language: str | None, share: float
    ) -> None:
        path = make_store()
        selected_LNVG = add_scores(path, share=share)["selected"]
        found = query.layers(vxstore.open(path), language=language)
        wanted = ["zh", "en"] if language is None else [language]
        assert found.language.unique().tolist() == wanted
        assert len(found) == len(wanted) * 4 * 3
        for row in found.to_dict("records"):
            here_NV = selected_LNVG[row["layer"], ..., LABELS.index(row["language"])]
            assert row["selected_count"] == here_NV[:, VALUES.index(row["value"])].sum()
            assert row["distinct_count"] == here_NV.any(axis=1).sum()

    @pytest.mark.parametrize(
        ("asked", "known"),
        [
            ({"language": "fr"}, "no language 'fr'; there are zh, en, pooled"),
            ({"score": "lape"}, r"no finished scores/lape \(there: vape\)"),
        ],
    )
    def test_lists_what_is_known(self, full_store: str, asked: dict[str, str], known: str) -> None:
        with pytest.raises(StoreError, match=known):
            query.layers(vxstore.open(full_store), **asked)  # type: ignore[arg-type]

    def test_unfinished(self, make_store: MakeStore) -> None:
        with pytest.raises(StoreError, match="7 of 12 parts are missing"):
            query.layers(vxstore.open(make_store(record=5)))


class TestCommand:
    def test_table(self, ask: Ask, full_store: str) -> None:
        found = query.layers(vxstore.open(full_store), language="en")
        lines = ask("layers", full_store, "--language", "en").splitlines()
        assert lines[1].split() == ["layer", *VALUES, "any"]
        for layer in range(4):
            row = next(line for line in lines if re.match(rf" +{layer} ", line))
            here = found[found.layer == layer]
            counts = [*here.selected_count, here.distinct_count.iloc[0]]
            assert row.split()[1:] == [str(n) if n else "." for n in counts]
        totals = next(line for line in lines if "all" in line)
        assert totals.split()[1:-1] == [
            str(n) for n in found.groupby("value", sort=False).selected_count.sum()
        ]

    def test_many_layers_and_values_fit(
        self,
        ask: Ask,
        make_store: MakeStore,
        add_scores: AddScores,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        path = make_store(values=TWELVE, shape=(80, 300))
        add_scores(path, values=TWELVE, shape=(80, 300), share=0.05)
        out = ask("layers", path)
        assert max(map(len, out.splitlines())) <= 80
        assert "rul=rule_of_law" in out
        assert len(re.findall(r"^ +79 ", out, re.M)) == 2

    def test_more_values_than_fit_stand_in_blocks(
        self,
        ask: Ask,
        make_store: MakeStore,
        add_scores: AddScores,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        values = [f"{name}_{n}" for n in range(3) for name in TWELVE]
        path = make_store(values=values)
        add_scores(path, values=values)
        out = ask("layers", path, "--language", "zh")
        assert max(map(len, out.splitlines())) <= 80
        found = query.layers(vxstore.open(path), language="zh")
        blocks = [
            line.split()[1:-1] for line in out.splitlines() if re.match(r" +2 [ \d.]+$", line)
        ]
        expected = [str(n or ".") for n in found[found.layer == 2].selected_count]
        assert len(blocks) > 1
        assert [count for block in blocks for count in block] == expected

    def test_a_value_may_be_called_as_a_column(
        self, ask: Ask, make_store: MakeStore, add_scores: AddScores
    ) -> None:
        values = ["any", "layer", "language"]
        path = make_store(values=values)
        add_scores(path, values=values)
        out = ask("layers", path, "--language", "zh")
        assert out.splitlines()[1].split() == ["layer", *values, "any"]

    def test_json_is_what_the_query_says(self, ask: Ask, full_store: str) -> None:
        told = json.loads(ask("layers", full_store, "--format", "json"))
        assert told == query.layers(vxstore.open(full_store)).to_dict("records")
        header = "language,layer,value,selected_count,distinct_count\n"
        assert ask("layers", full_store, "--format", "csv").startswith(header)


@given(st.lists(st.text("ab_", min_size=1, max_size=9), min_size=1, max_size=30, unique=True))
def test_abbreviations_differ(names: list[str]) -> None:
    short = abbreviate(names)
    assert len(set(short)) == len(names)
    assert all(len(text) <= 6 for text in short)
