"""Effects as they are in the store, against numbers worked out by hand."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats

import vxstore
from vxstore import query
from vxstore.effect_words import conclude
from vxstore.errors import StoreError
from vxstore.query.effects import effect_rows
from vxstore.query.lookup import default_evaluation

MakeStore = Callable[..., str]
AddEffects = Callable[..., None]
WITNESS = Path(__file__).parents[2] / "data" / "format1.zarr"
EARLIER = {
    "cells": 8,
    "passed": 2,
    "passed_own": 2,
    "placebo": [7, 7],
    "placebo_own": [3, 3],
    "beyond_controls": False,
}
"""A verdict of the version that counted ranks."""
SD = 0.125 * (4 / 3) ** 0.5
"""Of four draws that shift by 0.125 up and down."""
P_OF_ONE = 2 * stats.t.sf(1 / (SD * 1.25**0.5), 3)


@pytest.fixture(scope="module")
def evaluated(make_store: MakeStore, add_effects: AddEffects) -> str:
    """A store with known effects. For reading only."""
    path = make_store()
    add_effects(path, controls=4)
    return path


class TestEffects:
    def test_by_hand(self, evaluated: str) -> None:
        told = query.effects(vxstore.open(evaluated))
        cells = told.pop("cells").set_index(["mask", "value", "language"])
        assert len(cells) == 8
        strong = cells.loc["calm", "calm", "zh"].to_dict()
        p, specific = strong.pop("p_value"), strong.pop("p_specific")
        assert p == pytest.approx(P_OF_ONE)
        assert math.isnan(specific)  # draws do the same to both values: they do not vary
        assert math.isnan(strong.pop("q_specific"))
        for name in ("harm_shift", "harm_p", "nll_shift"):  # of no evaluation in this store
            assert math.isnan(strong.pop(name))
        for name in ("p_attributed", "warrant_r", "warrant_slope"):  # there is no attribution
            assert math.isnan(strong.pop(name))
        assert strong == pytest.approx(
            {
                "masked_count": 3,
                "dilemma_count": 2,
                "mean_shift": -1.0,
                "shift_low": -1.0,
                "shift_high": -1.0,
                "flip_rate": 0.5,
                "flip_low": stats.binomtest(1, 2).proportion_ci(0.95, "wilson").low,
                "flip_high": stats.binomtest(1, 2).proportion_ci(0.95, "wilson").high,
                "control_mean": 0.0,
                "control_sd": SD,
                "control_rank": 0.0,
                "se_total": SD * 1.25**0.5,
                "q_value": 4 * p,
                "specific_shift": -1.0,
                "passes": None,
            }
        )
        assert cells.loc["zeal", "zeal", "en"].mean_shift == 0.5
        assert cells.loc["zeal", "zeal", "en"].control_rank == 1.0
        idle = cells.loc["calm", "zeal", "en"]
        assert (idle.mean_shift, idle.control_rank, idle.p_value) == (0.0, 0.5, 1.0)
        assert math.isnan(idle.specific_shift)
        families, null_rate = told.pop("families"), told.pop("null_rate")
        assert families["own"]["found"] == 1
        assert null_rate == 0.0
        assert told.pop("verdict")["found"][0]["mask"] == "calm"
        assert told == {
            "store": evaluated,
            "evaluation": "choice",
            "model": "tiny",
            "outcome": "choice",
            "intervention": "zero",
            "control_dilemmas": "all",
            "intervention_settings": {},
            "effect_of": "log_odds",
            "decision_boundary": 0.0,
            "split": None,
            "harm_of": None,
            "units": "nats",
            "confidence": 0.95,
            "fdr": 0.1,
            "bootstrap_resamples": None,
            "seed": None,
            "warrant": None,
            "unwarranted": "No p among matched sets: the store has no attribution of these "
            "dilemmas (`vxdist attribute` makes one).",
            "controls": 4,
            "p_source": "t",
            "null_count": 16,
            "prior_df": {"own": 0.0, "specific": 0.0, "other": 0.0},
            "prior_sd": {"own": None, "specific": None, "other": None},
            "answer_mass": {"en": 0.5, "zh": 0.5},
            "sentence": "1 of 2 masks moves choices more than its matched draws: calm zh "
            f"(-1, q {4 * p:.2f}).",
        }

    def test_a_mask_without_neurons_has_none(
        self, make_store: MakeStore, add_effects: AddEffects
    ) -> None:
        """The model is intact under it: a shift of 0, above half of the draws, says nothing."""
        path = make_store()
        add_effects(path, empty=["zeal"], controls=4)
        for cells in (query.effects(vxstore.open(path))["cells"], effect_rows(vxstore.open(path))):
            empty = cells[cells["mask"] == "zeal"]
            assert (empty["masked_count"] == 0).all()
            assert (cells["masked_count"] == 0).sum() == len(empty) == 4
            assert (
                empty[["mean_shift", "shift_low", "control_rank", "flip_rate", "p_value"]]
                .isna()
                .to_numpy()
                .all()
            )
            assert cells["q_value"].notna().sum() == 4

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
        self, make_store: MakeStore, add_effects: AddEffects, forget_verdict: Callable[..., None]
    ) -> None:
        path = make_store()
        add_effects(path)
        now = query.effects(vxstore.open(path))
        forget_verdict(path)
        then = query.effects(vxstore.open(path))
        for key in ("verdict", "seed", "fdr", "null_rate", "families"):
            assert then[key] is None
        assert "no p" in then["sentence"]
        assert then["cells"].passes.tolist() == [None] * 8
        recorded = ["mean_shift", "shift_low", "flip_rate", "control_mean", "control_rank"]
        pd.testing.assert_frame_equal(then["cells"][recorded], now["cells"][recorded])
        assert then["cells"][["p_value", "control_sd", "flip_low"]].isna().all(axis=None)

    def test_a_verdict_of_an_earlier_version(
        self, make_store: MakeStore, add_effects: AddEffects, forget_verdict: Callable[..., None]
    ) -> None:
        path = make_store()
        add_effects(path)
        forget_verdict(path, EARLIER)
        told = query.effects(vxstore.open(path))
        assert told["verdict"] == EARLIER
        assert told["sentence"].startswith("2 of 8 cells were outside all their draws")
        assert "a rank among its draws, and no p" in told["sentence"]
        assert told["cells"].passes.sum() == 2
        assert told["cells"].q_value.isna().all()
        assert (told["bootstrap_resamples"], told["seed"]) == (50, 0)

    @pytest.mark.parametrize("broken", [{"cells": 8}, {"found": []}, [], "none", {"found": [1]}])
    def test_a_verdict_that_is_none(
        self, make_store: MakeStore, add_effects: AddEffects, broken: Any
    ) -> None:
        from vxstore.io import arrays
        from vxstore.io.metadata import commit

        path = make_store()
        add_effects(path)
        name = "evaluation/choice/effect"
        commit(path, {}, without=[name])
        arrays.open_group(path, name, mode="r+").update_attributes({"verdict": broken})
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
            pd.testing.assert_series_equal(
                found[name].astype(object).where(found[name].notna(), None),
                expected[name].astype(object).where(expected[name].notna(), None),
                check_dtype=False,
            )

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
        forget_verdict: Callable[..., None],
        tmp_path: Path,
    ) -> None:
        path = make_store()
        add_effects(path)
        forget_verdict(path)
        query.export(vxstore.open(path), str(tmp_path / "x.csv"), what="effects")
        assert pd.read_csv(tmp_path / "x.csv").passes.isna().all()


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        (1, "The mask does not move choices more than its matched draws (smallest q 0.73)."),
        (2, "None of 2 masks moves choices more than its matched draws (smallest q 0.73)."),
    ],
)
def test_nothing_found_in_words(masks: int, said: str) -> None:
    verdict = {"masks": masks, "found": [], "untested": "", "smallest_q": 0.73}
    assert conclude(verdict) == said
