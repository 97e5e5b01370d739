"""Exported files: what they hold, that they are whole or not there, and what is refused."""

import builtins
import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import vxstore
from vxstore import query
from vxstore.errors import StoreError
from vxstore.io.lock import hold
from vxstore.schema import POOLED

MakeStore = Callable[..., str]
AddScores = Callable[..., dict[str, np.ndarray[Any, Any]]]
Ask = Callable[..., str]
VALUES, LABELS = ("calm", "zeal", "thrift"), ("zh", "en", POOLED)
COUNTS = ("active_count", "activation_sum", "activation_square_sum")


def read(out: Path) -> pd.DataFrame:
    """A table that was exported."""
    if out.suffix == ".csv":
        return pd.read_csv(out, keep_default_na=False, na_values=[""])
    pytest.importorskip("pyarrow")
    table = pd.read_parquet(out)
    return table.astype({"language": object, "value": object})


@pytest.fixture(params=[".csv", ".parquet"])
def ending(request: pytest.FixtureRequest) -> str:
    """Endings of tables; Parquet if pyarrow is installed."""
    if request.param == ".parquet":
        pytest.importorskip("pyarrow")
    return str(request.param)


@pytest.fixture(scope="module")
def scored(
    make_store: MakeStore, add_scores: AddScores
) -> tuple[str, dict[str, np.ndarray[Any, Any]]]:
    """A store, and the scores written to it. For reading only."""
    path = make_store()
    return path, add_scores(path, seed=4)


class TestNeurons:
    def test_one_row_for_each_selected(self, scored: tuple[str, Any], ending: str) -> None:
        path, data = scored
        out = Path(path).parent / f"neurons{ending}"
        assert query.export(vxstore.open(path), str(out), force=True) == len(read(out))
        rows = read(out).to_dict("records")
        expected = [
            (language, value, *at)
            for g, language in enumerate(LABELS[:2])
            for v, value in enumerate(VALUES)
            for at in zip(*np.nonzero(data["selected"][..., v, g]), strict=True)
        ]
        names = ("language", "value", "layer", "neuron")
        assert [tuple(row[name] for name in names) for row in rows] == expected
        for row in rows:
            at, v = (row["layer"], row["neuron"]), VALUES.index(row["value"])
            g = LABELS.index(row["language"])
            probability_V = data["activation_probability"][(*at, slice(None), g)]
            assert row["entropy"] == data["entropy"][(*at, g)]
            assert row["probability"] == probability_V[v]
            assert row["mean_other_probability"] == pytest.approx(
                np.delete(probability_V, v).mean(), rel=1e-12
            )

    def test_tells_what_top_tells(self, scored: tuple[str, Any]) -> None:
        store = vxstore.open(scored[0])
        rows = query.selected_rows(store, values=["zeal"], languages=[POOLED])
        top = query.top(store, value="zeal", language=POOLED, k=1000)
        names = ["layer", "neuron", "entropy", "probability", "mean_other_probability"]
        by_place = top[names].sort_values(["layer", "neuron"], ignore_index=True)
        pd.testing.assert_frame_equal(rows[names], by_place, check_exact=True)

    def test_none_selected(
        self, make_store: MakeStore, add_scores: AddScores, tmp_path: Path, ending: str
    ) -> None:
        path, out = make_store(), tmp_path / f"none{ending}"
        add_scores(path, share=0.0)
        assert query.export(vxstore.open(path), str(out)) == 0
        assert list(read(out))[:5] == ["language", "value", "layer", "neuron", "entropy"]
        assert len(read(out)) == 0


class TestCounts:
    def test_are_those_of_the_root(
        self, scored: tuple[str, Any], tmp_path: Path, ending: str
    ) -> None:
        store, out = vxstore.open(scored[0]), tmp_path / f"counts{ending}"
        assert query.export(store, str(out), what="counts") == 4 * 6 * 3 * 2
        table = read(out).set_index(["language", "value", "layer", "neuron"])
        assert not table.index.has_duplicates
        root = store.root().load()
        for (language, value, layer, neuron), row in table.iterrows():
            cell = root.isel(layer=layer, neuron=neuron).sel(language=language, value=value)
            assert row.token_count == int(cell.token_count)
            for name in COUNTS:
                assert row[name] == float(cell[name])

    def test_only_some(self, scored: tuple[str, Any], tmp_path: Path, ask: Ask) -> None:
        out = tmp_path / "some.csv"
        asked = ("--what", "counts", "--value", "thrift", "--value", "calm", "--language", "en")
        ask("export", scored[0], str(out), *asked)
        table = read(out)
        assert len(table) == 4 * 6 * 2
        assert set(table.value) == {"thrift", "calm"}
        assert set(table.language) == {"en"}

    def test_a_row_group_is_a_layer(self, scored: tuple[str, Any], tmp_path: Path) -> None:
        parquet = pytest.importorskip("pyarrow.parquet")
        out = str(tmp_path / "counts.parquet")
        query.export(vxstore.open(scored[0]), out, what="counts")
        assert parquet.ParquetFile(out).num_row_groups == 4

    @pytest.mark.parametrize("rows", [1, 13, 18])
    def test_a_layer_of_many_neurons_is_several_tables(
        self, scored: tuple[str, Any], rows: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = vxstore.open(scored[0])
        whole = list(query.count_rows(store))
        monkeypatch.setattr(importlib.import_module("vxstore.query.export"), "ROWS", rows)
        some = list(query.count_rows(store))
        assert [len(table) for table in whole] == [6 * 3 * 2] * 4
        assert max(len(table) for table in some) == max(6, rows // 6 * 6)
        columns = list(whole[0])
        pd.testing.assert_frame_equal(
            pd.concat(some).reset_index(drop=True).astype({"language": str, "value": str}),
            pd.concat(whole).reset_index(drop=True).astype({"language": str, "value": str}),
        )
        assert list(some[0]) == columns


class TestMask:
    @pytest.mark.parametrize("languages", [None, ["en"], [POOLED, "zh"]])
    @pytest.mark.parametrize("values", [None, ["zeal"]])
    def test_round_trip(
        self,
        scored: tuple[str, Any],
        tmp_path: Path,
        languages: list[str] | None,
        values: list[str] | None,
    ) -> None:
        path, data = scored
        out = tmp_path / "x.mask.json"
        count = query.export(vxstore.open(path), str(out), languages=languages, values=values)
        content = json.loads(out.read_text())
        expected = np.zeros_like(data["selected"])
        for value in values or VALUES:
            for language in languages or LABELS[:2]:
                v, g = VALUES.index(value), LABELS.index(language)
                expected[..., v, g] = data["selected"][..., v, g]
        found = np.zeros_like(expected)
        for value, by_language in content["masks"].items():
            for language, by_layer in by_language.items():
                for layer, neurons in by_layer.items():
                    assert neurons == sorted(set(neurons))
                    assert neurons
                    v, g = VALUES.index(value), LABELS.index(language)
                    found[int(layer), neurons, v, g] = True
        np.testing.assert_array_equal(found, expected)
        assert count == expected.any(axis=(2, 3)).sum()  # a neuron of two values is one
        assert list(content["masks"]) == (values or list(VALUES))

    def test_head(self, scored: tuple[str, Any]) -> None:
        content = query.mask(vxstore.open(scored[0]))
        del content["masks"]
        assert content == {
            "format": "vxdist-mask",
            "format_version": 1,
            "model": "tiny",
            "model_fingerprint": "f0",
            "layers": 4,
            "neurons": 6,
            "score": "vape",
        }

    def test_labels_come_back_as_they_are(
        self, make_store: MakeStore, add_scores: AddScores, tmp_path: Path
    ) -> None:
        values = ["[1,  2]", 'quote"\x1b[2J', "\u202eback", "和谐"]
        path, out = make_store(values=values), tmp_path / "x.json"
        add_scores(path, values=values)
        query.export(vxstore.open(path), str(out))
        text = out.read_text(encoding="ascii")
        assert "\x1b" not in text
        assert list(json.loads(text)["masks"]) == values


class TestWhole:
    def test_a_failure_leaves_nothing(self, make_store: MakeStore, tmp_path: Path) -> None:
        path = make_store(shape=(3, 20_000))
        last = max((Path(path) / "active_count" / "c").iterdir())
        shutil.rmtree(last)
        with pytest.raises(StoreError, match="damaged in counts"):
            query.export(vxstore.open(path), str(tmp_path / "x.csv"), what="counts")
        assert list(tmp_path.iterdir()) == []

    def test_what_is_there_stays_until_the_end(
        self, scored: tuple[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "x.csv"
        out.write_text("precious")
        seen = []
        real = Path.replace

        def replace(self: Path, target: Path) -> Path:
            seen.append((out.read_text(), len(read_text(self))))
            return real(self, target)

        monkeypatch.setattr(Path, "replace", replace)
        query.export(vxstore.open(scored[0]), str(out), force=True)
        assert seen == [("precious", len(read_text(out)))]

    @pytest.mark.parametrize("out", ["a.csv", "a.mask.json"])
    def test_what_changes_while_it_is_read(
        self,
        make_store: MakeStore,
        add_scores: AddScores,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        out: str,
    ) -> None:
        """A score that another run writes anew: no file is of two."""
        path, real = make_store(), query.export.__globals__["open_score"]
        add_scores(path, seed=4)

        def overtaken(*arguments: Any) -> Any:
            found = real(*arguments)
            with hold(path):
                add_scores(path, seed=5)
            return found

        for module in ("export", "mask"):
            monkeypatch.setattr(sys.modules[f"vxstore.query.{module}"], "open_score", overtaken)
        with pytest.raises(StoreError, match="was written anew while it was exported; run the"):
            query.export(vxstore.open(path), str(tmp_path / out))
        assert not list(tmp_path.iterdir())

    def test_an_existing_file_is_refused(
        self, scored: tuple[str, Any], tmp_path: Path, fail: Ask, ask: Ask
    ) -> None:
        out = tmp_path / "x.csv"
        out.write_text("precious")
        assert "--force" in fail("export", scored[0], str(out))
        assert out.read_text() == "precious"
        ask("export", scored[0], str(out), "--force")
        assert out.read_text().startswith("language,value,")


def read_text(file: Path) -> str:
    """All of a file."""
    return file.read_text(encoding="utf-8")


class TestRefusals:
    @pytest.mark.parametrize(
        ("out", "asked", "known"),
        [
            ("x.txt", [], ".parquet, .csv, .json"),
            ("none/x.csv", [], "there is no folder"),
            ("x.csv", ["--value", "fury"], "calm, zeal, thrift"),
            ("x.csv", ["--language", "fr"], "zh, en, pooled"),
            ("x.csv", ["--what", "counts", "--language", "pooled"], "there are zh, en"),
            ("x.csv", ["--score", "lape"], "(there: vape)"),
            ("x.json", ["--what", "counts"], "mask file"),
            ("x.csv", ["--what", "all"], "counts"),
        ],
    )
    def test_names_what_is_known(
        self,
        fail: Ask,
        scored: tuple[str, Any],
        tmp_path: Path,
        out: str,
        asked: list[str],
        known: str,
    ) -> None:
        assert known in fail("export", scored[0], str(tmp_path / out), *asked)
        assert list(tmp_path.iterdir()) == []

    def test_a_place_in_the_store(self, fail: Ask, scored: tuple[str, Any]) -> None:
        assert "is inside the store" in fail("export", scored[0], f"{scored[0]}/record/x.csv")

    def test_unfinished(self, fail: Ask, make_store: MakeStore, tmp_path: Path) -> None:
        path = make_store(record=5)
        for asked in (["x.csv"], ["x.csv", "--what", "counts"], ["x.json"]):
            out = str(tmp_path / asked[0])
            assert "7 of 12 parts are missing" in fail("export", path, out, *asked[1:])
        assert list(tmp_path.iterdir()) == []

    def test_pyarrow_is_not_installed(
        self,
        fail: Ask,
        scored: tuple[str, Any],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def import_module(name: str) -> Any:
            if name.startswith("pyarrow"):
                raise ImportError(name)
            return builtins.__import__(name, fromlist=["x"])

        monkeypatch.setattr(importlib, "import_module", import_module)
        told = fail("export", scored[0], str(tmp_path / "x.parquet"))
        assert "pip install 'vxdist[parquet]'" in told


class TestCommand:
    def test_says_what_was_written(self, ask: Ask, scored: tuple[str, Any], tmp_path: Path) -> None:
        selected_LNVG = np.asarray(scored[1]["selected"])[..., :2]
        rows, count = int(selected_LNVG.sum()), int(selected_LNVG.any((2, 3)).sum())
        assert rows > count, "some neurons are in several masks"
        for name, number, unit in (("x.csv", rows, "rows"), ("x.json", count, "neurons, in masks")):
            out = str(tmp_path / name)
            assert ask("export", scored[0], out) == f"{out}: {number:,} {unit}\n"
        asked = ("export", scored[0], out, "--force", "--format")
        assert json.loads(ask(*asked, "json")) == {"out": out, "what": "neurons", "count": count}
        assert ask(*asked, "csv") == f"out,what,count\n{out},neurons,{count}\n"

    def test_labels_in_csv_steer_no_terminal(
        self, make_store: MakeStore, add_scores: AddScores, ask: Ask, tmp_path: Path
    ) -> None:
        values = ["\x1b[31mred", "two\nlines", "<script>", "../../x"]
        path, out = make_store(values=values), tmp_path / "x.csv"
        add_scores(path, values=values, share=1.0)
        for what in ("neurons", "counts"):
            ask("export", path, str(out), "--what", what, "--force")
            assert set(read(out).value) == {"[31mred", "two lines", "<script>", "../../x"}
        assert [file.name for file in tmp_path.iterdir()] == ["x.csv"]
