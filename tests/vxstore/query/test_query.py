"""The queries, against the same worked out by plain loops."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import vxstore
from vxstore import query
from vxstore.errors import StoreError

MakeStore = Callable[..., str]
AddScores = Callable[..., dict[str, np.ndarray[Any, Any]]]
VALUES, LABELS = ["calm", "zeal", "thrift"], ["zh", "en", "pooled"]


def expected_rows(
    data: dict[str, np.ndarray[Any, Any]], value: str | None, language: str, k: int
) -> list[dict[str, Any]]:
    """What `top` should tell of one language, neuron by neuron."""
    g = LABELS.index(language)
    rows = []
    for layer in range(4):
        for neuron in range(6):
            mine = [v for v in VALUES if data["selected"][layer, neuron, VALUES.index(v), g]]
            if not mine or (value is not None and value not in mine):
                continue
            row: dict[str, Any] = {
                "language": language,
                "layer": layer,
                "neuron": neuron,
                "entropy": float(data["entropy"][layer, neuron, g]),
                "level": 0,
                "claim": "listed",
            }
            p = {v: float(data["activation_probability"][layer, neuron, VALUES.index(v), g])
                 for v in VALUES}  # fmt: skip
            if value is not None:
                row["probability"] = p.pop(value)
                row["mean_other_probability"] = sum(p.values()) / len(p)
            row["value_count"] = len(mine)
            if value is None:
                row["values"] = mine
            rows.append(row)
    return sorted(rows, key=lambda r: float(r["entropy"]))[:k]  # sorted() keeps the order of ties


@pytest.fixture(scope="module")
def scored(
    make_store: MakeStore, add_scores: AddScores
) -> tuple[vxstore.Store, dict[str, np.ndarray[Any, Any]]]:
    """A store, and the scores written to it."""
    path = make_store()
    data = add_scores(path, seed=1)
    add_scores(path, seed=2, name="sparse", share=0.02)
    return vxstore.open(path), data


class TestTop:
    @pytest.mark.parametrize("value", [None, *VALUES])
    @pytest.mark.parametrize("language", [None, *LABELS])
    @pytest.mark.parametrize("k", [1, 5, 100])
    def test_agrees_with_plain_loops(
        self,
        scored: tuple[vxstore.Store, dict[str, np.ndarray[Any, Any]]],
        value: str | None,
        language: str | None,
        k: int,
    ) -> None:
        store, data = scored
        wanted = ["zh", "en"] if language is None else [language]
        rows = [row for name in wanted for row in expected_rows(data, value, name, k)]
        found = query.top(store, value=value, language=language, k=k)
        assert list(found) == list(rows[0])
        told = found.to_dict("records")
        for row, other in zip(rows, told, strict=True):
            mean = row.pop("mean_other_probability", None)
            if mean is not None:
                assert math.isclose(mean, other.pop("mean_other_probability"), rel_tol=1e-12)
            assert row == other  # to the last bit

    def test_types_are_those_of_a_table(
        self, scored: tuple[vxstore.Store, dict[str, np.ndarray[Any, Any]]]
    ) -> None:
        found = query.top(scored[0], value="calm")
        assert [str(t) for t in found.dtypes[["layer", "neuron", "value_count"]]] == ["int64"] * 3
        assert str(found.entropy.dtype) == "float64"

    def test_nothing_selected_is_an_empty_table(
        self, make_store: MakeStore, add_scores: AddScores
    ) -> None:
        path = make_store()
        add_scores(path, share=0.0)
        for value in (None, "calm"):
            found = query.top(vxstore.open(path), value=value)
            assert len(found) == 0
            assert {"language", "layer", "neuron", "entropy", "value_count"} <= set(found)

    def test_one_value_has_no_others(self, make_store: MakeStore, add_scores: AddScores) -> None:
        path = make_store(values=["calm"])
        add_scores(path, values=["calm"])
        found = query.top(vxstore.open(path), value="calm")
        assert len(found)
        assert found.mean_other_probability.isna().all()

    @pytest.mark.parametrize(
        ("asked", "known"),
        [
            ({"value": "fury"}, "has no value 'fury'; there are calm, zeal, thrift"),
            ({"language": "fr"}, "has no language 'fr'; there are zh, en, pooled"),
            ({"score": "lape"}, r"no finished scores/lape \(there: sparse, vape\)"),
        ],
    )
    def test_lists_what_is_known(
        self,
        scored: tuple[vxstore.Store, dict[str, np.ndarray[Any, Any]]],
        asked: dict[str, str],
        known: str,
    ) -> None:
        with pytest.raises(StoreError, match=known):
            query.top(scored[0], **asked)  # type: ignore[arg-type]

    def test_another_score(
        self, scored: tuple[vxstore.Store, dict[str, np.ndarray[Any, Any]]]
    ) -> None:
        sparse, full = (len(query.top(scored[0], score=s, k=99)) for s in ("sparse", "vape"))
        assert sparse < full

    def test_an_unfinished_store_is_refused(self, make_store: MakeStore) -> None:
        with pytest.raises(StoreError, match="7 of 12 parts are missing"):
            query.top(vxstore.open(make_store(record=5)))

    def test_damage_is_told(self, make_store: MakeStore, add_scores: AddScores) -> None:
        path = make_store()
        add_scores(path)
        (chunk,) = (f for f in (Path(path) / "scores/vape/entropy/c").rglob("*") if f.is_file())
        whole = chunk.read_bytes()
        chunk.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(StoreError, match=r"damaged in entropy or selected.*checksum"):
            query.top(vxstore.open(path))

    @pytest.mark.parametrize("lost", ["selected", "entropy", "value", "activation_probability"])
    def test_a_lost_array_is_told(
        self, make_store: MakeStore, add_scores: AddScores, lost: str
    ) -> None:
        path = make_store()
        add_scores(path)
        shutil.rmtree(Path(path) / "scores/vape" / lost)
        with pytest.raises(StoreError, match=rf"{lost}.* is missing|damaged in .*{lost}"):
            query.top(vxstore.open(path), value="calm")


class TestCounts:
    def test_of_a_complete_store(self, full_store: str) -> None:
        found = query.counts(vxstore.open(full_store))
        root = vxstore.open(full_store).root()
        assert list(found) == ["value", "language", "token_count", "story_count"]
        for row in found.to_dict("records"):
            cell = root.sel(value=row["value"], language=row["language"])
            assert row["token_count"] == int(cell.token_count)
            assert row["story_count"] == int(cell.story_count)
        assert len(found) == 6

    def test_complete_and_unfinished_tell_the_same(self, make_store: MakeStore) -> None:
        """All parts are recorded; one store was summed, the other was not."""
        done, undone = (query.counts(vxstore.open(make_store(record=r))) for r in (None, 12))
        pd.testing.assert_frame_equal(done, undone)

    def test_unfinished_counts_sealed_parts_only(self, make_store: MakeStore) -> None:
        """Parts 0 to 4 are calm/zh, calm/zh, calm/en, calm/en, zeal/zh."""
        found = query.counts(vxstore.open(make_store(record=5)))
        assert found.token_count.tolist() == [50 + 51, 52 + 53, 54, 0, 0, 0]
        assert found.token_count.dtype == found.story_count.dtype == np.dtype("int64")


class TestDescribe:
    def test_complete(self, full_store: str) -> None:
        about = query.describe(vxstore.open(full_store))
        assert about["complete"] is True
        assert about["parts"] == {"sealed": 12, "total": 12}
        assert (about["layers"], about["neurons"]) == (4, 6)
        assert about["values"] == VALUES
        assert about["languages"] == ["zh", "en"]
        assert (about["model"], about["model_revision"]) == ("tiny", "abc")
        zh = about["scores"]["vape"]["thresholds"]["zh"]
        assert zh["filter_threshold"] == 0.1234567890123
        choice = about["evaluations"]["choice"]
        assert (choice["conditions"], choice["dilemmas"]) == (2, 2)
        assert choice["settings"]["scores"] == "vape"
        assert choice["effect"] == {"confidence": 0.95}

    @pytest.mark.parametrize("record", [0, 5, 12])
    def test_unfinished(self, make_store: MakeStore, record: int) -> None:
        about = query.describe(vxstore.open(make_store(record=record)))
        assert about["complete"] is False
        assert about["state"] == "recording"
        assert about["parts"] == {"sealed": record, "total": 12}
        assert len(about["counts"]) == 6
        assert about["scores"] == about["evaluations"] == {}

    def test_is_json(self, full_store: str) -> None:
        about = query.describe(vxstore.open(full_store))
        assert json.loads(json.dumps(about)) == about

    def test_a_store_that_tells_little(self, make_store: MakeStore) -> None:
        about = query.describe(vxstore.open(make_store(attrs={})))
        assert about["model"] is None
        assert about["parts"]["total"] == 12

    @pytest.mark.parametrize("lost", ["active_count", "value", "record/sealed", "token_count"])
    def test_a_lost_array_is_told(self, make_store: MakeStore, lost: str) -> None:
        path = make_store()
        shutil.rmtree(Path(path) / lost)
        with pytest.raises(StoreError, match=f"{lost}.* is missing; restore it"):
            query.describe(vxstore.open(path))
