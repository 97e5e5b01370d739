"""Effects as they are in the store, against numbers worked out by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import vxstore
from vxstore import query
from vxstore.errors import StoreError
from vxstore.query.effects import effect_rows
from vxstore.query.lookup import default_evaluation

MakeStore = Callable[..., str]
AddEffects = Callable[..., None]
WITNESS = Path(__file__).parents[2] / "data" / "format1.zarr"
VERDICT = {
    "cells": 8,
    "passed": 2,
    "passed_own": 2,
    "placebo": [7, 7],
    "placebo_own": [3, 3],
    "beyond_controls": False,
}
"""Draws are outermost wherever the mask does nothing, and one of them where it does."""


@pytest.fixture(scope="module")
def evaluated(make_store: MakeStore, add_effects: AddEffects) -> str:
    """A store with known effects. For reading only."""
    path = make_store()
    add_effects(path)
    return path


class TestEffects:
    def test_by_hand(self, evaluated: str) -> None:
        told = query.effects(vxstore.open(evaluated))
        cells = told.pop("cells").set_index(["mask", "value", "language"])
        assert len(cells) == 8
        strong = cells.loc["calm", "calm", "zh"]
        assert strong.to_dict() == {
            "masked_count": 3,
            "dilemma_count": 2,
            "mean_shift": -1.0,
            "shift_low": -1.0,
            "shift_high": -1.0,
            "flip_rate": 0.5,
            "control_mean": 0.0,
            "control_rank": 0.0,
            "passes": True,
        }
        assert cells.loc["zeal", "zeal", "en"].mean_shift == 0.5
        assert cells.loc["zeal", "zeal", "en"].control_rank == 1.0
        assert cells.passes.sum() == 2
        idle = cells.loc["calm", "zeal", "en"]
        assert (idle.mean_shift, idle.control_rank, idle.passes) == (0.0, 0.5, False)
        assert told == {
            "store": evaluated,
            "evaluation": "choice",
            "model": "tiny",
            "outcome": "choice",
            "intervention": "zero",
            "effect_of": "log_odds",
            "decision_boundary": 0.0,
            "units": "nats",
            "confidence": 0.95,
            "bootstrap_resamples": 50,
            "seed": 0,
            "controls": 2,
            "answer_mass": {"en": 0.5, "zh": 0.5},
            "verdict": VERDICT,
        }

    def test_a_mask_without_neurons_has_none(
        self, make_store: MakeStore, add_effects: AddEffects
    ) -> None:
        """The model is intact under it: a shift of 0, above half of the draws, says nothing."""
        path = make_store()
        add_effects(path, empty=["zeal"])
        for cells in (query.effects(vxstore.open(path))["cells"], effect_rows(vxstore.open(path))):
            empty = cells[cells["mask"] == "zeal"]
            assert (empty["masked_count"] == 0).all()
            assert (cells["masked_count"] == 0).sum() == len(empty) == 4
            assert (
                empty[["mean_shift", "shift_low", "control_rank", "flip_rate"]]
                .isna()
                .to_numpy()
                .all()
            )
            assert not empty["passes"].any()
            assert cells.set_index(["mask", "value", "language"]).passes.sum() == 1

    @pytest.mark.parametrize(
        ("chosen", "count"),
        [
            ({"value": "zeal"}, 4),
            ({"mask": "calm"}, 4),
            ({"language": "en"}, 4),
            ({"own": True}, 4),
            ({"own": True, "language": "zh"}, 2),
            ({"mask": "calm", "value": "zeal", "own": True}, 0),
        ],
    )
    def test_only_some(self, evaluated: str, chosen: dict[str, Any], count: int) -> None:
        store = vxstore.open(evaluated)
        everything, told = query.effects(store), query.effects(store, **chosen)
        cells = everything["cells"]
        for name, wanted in chosen.items():
            cells = cells[
                cells["mask"] == cells["value"] if name == "own" else cells[name] == wanted
            ]
        pd.testing.assert_frame_equal(told["cells"], cells.reset_index(drop=True))
        assert len(cells) == count
        assert told["verdict"] == everything["verdict"]  # of the whole evaluation

    @pytest.mark.parametrize("name", ["mask", "value", "language"])
    def test_unknown_labels_name_the_known(self, evaluated: str, name: str) -> None:
        known = "zh, en" if name == "language" else "calm, zeal"
        with pytest.raises(StoreError, match=f"{name} 'thrift'; there are {known}"):
            query.effects(vxstore.open(evaluated), **{name: "thrift"})

    def test_what_an_earlier_version_did_not_record(
        self, make_store: MakeStore, add_effects: AddEffects, forget_verdict: Callable[[str], None]
    ) -> None:
        path = make_store()
        add_effects(path)
        now = query.effects(vxstore.open(path))
        forget_verdict(path)
        then = query.effects(vxstore.open(path))
        assert then["verdict"] is None
        assert then["seed"] is None
        assert then["cells"].passes.tolist() == [None] * 8
        recorded = [name for name in now["cells"] if name != "passes"]
        pd.testing.assert_frame_equal(then["cells"][recorded], now["cells"][recorded])

    def test_a_verdict_that_is_none(self, make_store: MakeStore, add_effects: AddEffects) -> None:
        from vxstore.io import arrays
        from vxstore.io.metadata import commit

        path = make_store()
        add_effects(path)
        name = "evaluation/choice/effect"
        commit(path, {}, without=[name])
        arrays.open_group(path, name, mode="r+").update_attributes({"verdict": {"cells": 8}})
        commit(path, {})
        with pytest.raises(StoreError, match="damaged in evaluation/choice/effect: its verdict"):
            query.effects(vxstore.open(path))

    def test_an_outcome_of_another_kind(
        self, make_store: MakeStore, add_effects: AddEffects
    ) -> None:
        path = make_store()
        attrs = {"outcome": "mass", "effect_of": "option_mass", "decision_boundary": None}
        add_effects(path, attrs=attrs)
        told = query.effects(vxstore.open(path))
        assert (told["outcome"], told["units"], told["decision_boundary"]) == ("mass", "1", None)
        assert (told["cells"].mean_shift == 0).all()
        assert told["cells"].flip_rate.isna().all()


class TestDefaultEvaluation:
    def test_the_only_one_or_choice(self, make_store: MakeStore, add_effects: AddEffects) -> None:
        path = make_store()
        add_effects(path, "mine")
        assert default_evaluation(vxstore.open(path)) == "mine"
        add_effects(path, "yours")
        with pytest.raises(
            StoreError, match=r"several evaluations, mine, yours; name the one to use$"
        ):
            query.effects(vxstore.open(path))
        add_effects(path, "choice")
        assert query.effects(vxstore.open(path))["evaluation"] == "choice"
        assert query.effects(vxstore.open(path), "yours")["evaluation"] == "yours"

    def test_none(self) -> None:
        with pytest.raises(StoreError, match="no finished evaluation; run `vxdist evaluate`"):
            query.effects(vxstore.open(str(WITNESS)))


class TestExport:
    @pytest.mark.parametrize("ending", [".csv", ".parquet"])
    def test_one_row_for_each_cell(self, evaluated: str, tmp_path: Path, ending: str) -> None:
        if ending == ".parquet":
            pytest.importorskip("pyarrow")
        store, out = vxstore.open(evaluated), str(tmp_path / f"x{ending}")
        assert query.export(store, out, what="effects") == 8
        found = pd.read_csv(out) if ending == ".csv" else pd.read_parquet(out)
        expected = query.effects(store)["cells"]
        assert list(found) == list(expected)
        for name in expected:
            assert found[name].tolist() == expected[name].tolist()

    def test_only_some(self, evaluated: str, tmp_path: Path) -> None:
        store, out = vxstore.open(evaluated), str(tmp_path / "x.csv")
        query.export(store, out, what="effects", values=["zeal"], languages=["en"])
        found = pd.read_csv(out)
        assert found[["mask", "value", "language"]].to_numpy().tolist() == [
            ["calm", "zeal", "en"],
            ["zeal", "zeal", "en"],
        ]

    def test_an_earlier_store_leaves_passes_empty(
        self,
        make_store: MakeStore,
        add_effects: AddEffects,
        forget_verdict: Callable[[str], None],
        tmp_path: Path,
    ) -> None:
        path = make_store()
        add_effects(path)
        forget_verdict(path)
        query.export(vxstore.open(path), str(tmp_path / "x.csv"), what="effects")
        assert pd.read_csv(tmp_path / "x.csv").passes.isna().all()
