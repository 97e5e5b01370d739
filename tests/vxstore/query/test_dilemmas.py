"""Single dilemmas: which flipped, what was measured of each, and their texts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import vxstore
from vxstore import query
from vxstore.errors import StoreError

MakeStore = Callable[..., str]
AddEffects = Callable[..., None]
FIRST = {"id": "calm-e1-zh", "value": "calm", "language": "zh"}
TEXTS = {"dilemma": "What now?", "aligned": "Wait.", "violating": "Shout."}


@pytest.fixture(scope="module")
def evaluated(make_store: MakeStore, add_effects: AddEffects) -> str:
    """A store with known effects. For reading only."""
    path = make_store()
    add_effects(path)
    return path


class TestFlips:
    def test_by_hand(self, evaluated: str) -> None:
        found = query.flips(vxstore.open(evaluated))
        none = dict.fromkeys(TEXTS)
        second = {"id": "zeal-e2-en", "value": "zeal", "language": "en"}
        assert found.to_dict("records") == [
            {"mask": "calm", **FIRST, "before": 0.5, "after": -0.5, **none},
            {"mask": "zeal", **second, "before": -0.25, "after": 0.25, **none},
        ]

    @pytest.mark.parametrize(
        ("chosen", "count"),
        [
            ({"value": "zeal"}, 1),
            ({"mask": "calm"}, 1),
            ({"language": "en"}, 1),
            ({"own": True}, 2),
            ({"mask": "calm", "value": "zeal"}, 0),
        ],
    )
    def test_only_some(self, evaluated: str, chosen: dict[str, Any], count: int) -> None:
        found = query.flips(vxstore.open(evaluated), **chosen)
        assert len(found) == count
        assert list(found)[:6] == ["mask", "value", "language", "id", "before", "after"]

    def test_as_many_as_the_rates_say(self, evaluated: str) -> None:
        store = vxstore.open(evaluated)
        cells = query.effects(store)["cells"]
        assert len(query.flips(store)) == (cells.flip_rate * cells.dilemma_count).sum()

    @pytest.mark.parametrize("name", ["mask", "value", "language"])
    def test_unknown_labels_name_the_known(self, evaluated: str, name: str) -> None:
        with pytest.raises(StoreError, match=f"{name} 'thrift'; there are (calm, zeal|zh, en)"):
            query.flips(vxstore.open(evaluated), **{name: "thrift"})

    def test_texts_of_the_same_dilemma_only(self, evaluated: str) -> None:
        store = vxstore.open(evaluated)
        of = {key: FIRST[key] for key in ("value", "language")}
        found = query.flips(store, texts={FIRST["id"]: {**of, **TEXTS}})
        assert found.loc[0, list(TEXTS)].to_dict() == TEXTS
        assert found.loc[1, list(TEXTS)].isna().all()
        for other in ({**of, "value": "zeal"}, {**of, "language": "en"}):
            found = query.flips(store, texts={FIRST["id"]: {**other, **TEXTS}})
            assert found[list(TEXTS)].isna().all(axis=None)

    def test_the_boundary_is_the_outcomes(
        self, make_store: MakeStore, add_effects: AddEffects
    ) -> None:
        path = make_store()
        add_effects(path, "lower", attrs={"decision_boundary": -0.75})
        add_effects(path, "none", attrs={"decision_boundary": None})
        store = vxstore.open(path)
        assert query.flips(store, "lower")["id"].tolist() == ["calm-e2-zh"]
        assert query.flips(store, "none").empty


class TestRows:
    @pytest.mark.parametrize("ending", [".csv", ".parquet"])
    def test_one_row_for_each_condition_and_dilemma(
        self, evaluated: str, tmp_path: Path, ending: str
    ) -> None:
        if ending == ".parquet":
            pytest.importorskip("pyarrow")
        out = str(tmp_path / f"x{ending}")
        assert query.export(vxstore.open(evaluated), out, what="dilemmas") == 7 * 8
        kept = {"keep_default_na": False}
        found = pd.read_csv(out, **kept) if ending == ".csv" else pd.read_parquet(out)
        assert list(found) == ["condition", "kind", "mask", "id", "value", "language", "log_odds"]
        found = found.set_index(["condition", "id"])
        assert found.loc[("intact", "calm-e1-zh"), "log_odds"] == 0.5
        assert found.loc[("intact", "calm-e1-zh"), "mask"] == ""
        assert found.loc[("calm", "calm-e1-zh"), "log_odds"] == -0.5
        assert found.loc[("zeal control 1", "zeal-e2-en"), "log_odds"] == -0.125
        assert found.loc[("zeal control 1", "zeal-e2-en"), "kind"] == "control"

    def test_only_some(self, evaluated: str, tmp_path: Path) -> None:
        out = str(tmp_path / "x.csv")
        store = vxstore.open(evaluated)
        query.export(store, out, what="dilemmas", values=["zeal"], languages=["en"])
        found = pd.read_csv(out)
        assert len(found) == 7 * 2
        assert set(found["id"]) == {"zeal-e1-en", "zeal-e2-en"}

    def test_unknown_names(self, evaluated: str, tmp_path: Path) -> None:
        store, out = vxstore.open(evaluated), str(tmp_path / "x.csv")
        for what in ("effects", "dilemmas"):
            with pytest.raises(StoreError, match="value 'thrift'; there are calm, zeal"):
                query.export(store, out, what=what, values=["thrift"])
            with pytest.raises(StoreError, match=r"\(there: choice\)"):
                query.export(store, out, what=what, evaluation="mine")
            with pytest.raises(StoreError, match="mask file"):
                query.export(store, str(tmp_path / "x.json"), what=what)
        assert list(tmp_path.iterdir()) == []


class TestReadDilemmas:
    def test_what_a_corpus_says(self, tmp_path: Path) -> None:
        row = {**FIRST, **TEXTS, "pair": "calm-e1", "setting": "office"}
        lines = "\ufeff" + json.dumps(row) + "\n\n"
        (tmp_path / "evaluation.jsonl").write_text(lines, encoding="utf-8")
        of = {key: FIRST[key] for key in ("value", "language")}
        assert query.read_dilemmas(tmp_path) == {"calm-e1-zh": {**of, **TEXTS}}

    @pytest.mark.parametrize("line", ["{", "[]", "3", '{"id": "x"}', '{"id": 3}', "[" * 100_000])
    def test_names_a_bad_line(self, tmp_path: Path, line: str) -> None:
        row = json.dumps({**FIRST, **TEXTS})
        (tmp_path / "evaluation.jsonl").write_text(f"{row}\n{line}\n", encoding="utf-8")
        with pytest.raises(StoreError, match=r"evaluation\.jsonl:2: not a dilemma"):
            query.read_dilemmas(tmp_path)

    def test_what_is_no_corpus_or_no_utf8(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="not a corpus directory here"):
            query.read_dilemmas(tmp_path)
        (tmp_path / "evaluation.jsonl").write_bytes("平静".encode("gbk"))
        with pytest.raises(StoreError, match="not UTF-8"):
            query.read_dilemmas(tmp_path)
