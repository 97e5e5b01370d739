"""Where shuffled labels find something too often, q is the p of the largest statistic."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

import vxstore
from tests.reduce.stores import only, write_record
from tests.stats.generators import Synthetic, overdispersed, twins
from tests.stats.trials import Trial, prepare
from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.claimed import Contrast, ContrastSettings
from vxdist.reduce.summary import summary_lines
from vxdist.reduce.testing import Testing as Settings
from vxdist.stats import contrasts, labelings, null, stability, tested
from vxdist.stats.contrasts import one_against_rest
from vxdist.stats.multiplicity import bh_q

Floats = NDArray[np.float64]

SETTINGS = Settings(shuffles=50, halves=3, adjust=[])
WARNING = "warning: differs is found too often under shuffled labels; q is p of the max"


@pytest.fixture(scope="module")
def record() -> Synthetic:
    """Some neurons of values, and most of none."""
    return overdispersed(
        np.random.default_rng(93), neurons=80, values=3, clusters=8, planted=20, delta=1.5
    )


@pytest.fixture(scope="module")
def path(record: Synthetic, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The record as a store of two layers."""
    path = str(tmp_path_factory.mktemp("calibration") / "s.zarr")
    return write_record(path, {"en": record}, layers=2)


@pytest.fixture(scope="module")
def trial(record: Synthetic) -> Trial:
    """The same tests without a store."""
    return prepare(record)


def scored(path: str, name: str) -> xr.Dataset:
    """Score with the contrast selector."""
    selector = Contrast(ContrastSettings(top_fraction=0.2))
    write_score(path, name, selector, kind="contrast", testing=SETTINGS, threads=1)
    return vxstore.open(path).scores(name).load()


def english(score: xr.Dataset, name: str) -> Floats:
    """An array of English, (neuron of all layers, value)."""
    found = score[name].sel(language="en").transpose("layer", "neuron", "value").values
    return np.asarray(found.reshape(-1, found.shape[-1]))


def shuffled_t(trial: Trial) -> Floats:
    """t under each of the shuffles of the score, (shuffle, neuron, value)."""
    rng = np.random.default_rng([SETTINGS.seed, *b"en"])
    design, z_NP = trial.design, trial.score().z_NP
    return np.stack(
        [
            one_against_rest(
                z_NP @ design.indicators(of.label_P), design.spreads(of.label_P), design
            )
            for of in labelings.shuffles(design, SETTINGS.shuffles, rng).each
        ]
    )


@pytest.mark.parametrize("factor", [1, 20], ids=["as it is", "too small"])
def test_null_counts_what_shuffles_find(
    path: str, trial: Trial, monkeypatch: pytest.MonkeyPatch, factor: int
) -> None:
    """With p as they are, and with p that are 20 times too small, as a wrong test's would be."""

    def small(t: Floats, degrees: int) -> Floats:
        return np.asarray(np.where(t == 0, 1.0, stats.t.sf(t, degrees)) / factor)

    for module in (tested, null, contrasts):
        monkeypatch.setattr(module, "upper_tail", small)
    score = scored(path, f"s{factor}")
    t_BNV = shuffled_t(trial)
    p_BNV = stats.t.sf(t_BNV, trial.design.degrees) / factor
    found_B = np.array([(bh_q(p_NV) <= 0.1).sum() for p_NV in p_BNV])
    level = score.attrs["null"]["en"]["levels"]["1"]
    assert level["any_rate"] == pytest.approx(np.mean(found_B > 0))
    assert level["calibrated"] is (factor == 1)
    p_NV, q_NV = english(score, "p_value").astype(np.float64), english(score, "q_value")
    if factor == 1:
        assert level["mean_selected"] == pytest.approx(found_B.mean())
        assert level["most_selected"] == found_B.max()
        np.testing.assert_allclose(q_NV, bh_q(p_NV), rtol=1e-5)
        assert WARNING not in list(summary_lines("en", score.attrs))
        return
    most_B = t_BNV.max(axis=(1, 2))
    t_NV = english(score, "t_value").astype(np.float64)
    by_hand_NV = (1 + (most_B[:, None, None] >= t_NV - 1e-5).sum(axis=0)) / (1 + len(most_B))
    np.testing.assert_allclose(q_NV, by_hand_NV, rtol=1e-6)
    assert WARNING in list(summary_lines("en", score.attrs))
    assert 0 < (q_NV <= 0.1).sum() < (bh_q(p_NV) <= 0.1).sum()
    selected_NV = english(score, "selected").astype(bool)
    assert selected_NV.any()
    assert (q_NV[selected_NV] <= 0.1).all()


def test_labels_that_cannot_be_exchanged_show_nothing(tmp_path: Path) -> None:
    """Each value is told in stances of its own, so that every shuffle finds all that there is."""
    record = twins(np.random.default_rng(96), neurons=60, values=3, clusters=8, correlation=0.5)
    record = only(record, (record.value_P == 1) | (record.value_P == record.stance_P * 2))
    active_PN = record.active_count_PN.copy()
    for value in range(3):
        of_value_P = record.value_P == value
        given_P1 = record.token_count_P[of_value_P, None]
        active_PN[of_value_P, value::9] += (given_P1 - active_PN[of_value_P, value::9]) // 2
    made = replace(record, active_count_PN=active_PN)
    score = scored(write_record(str(tmp_path / "s.zarr"), {"en": made}), "s")
    assert score.attrs["null"]["en"]["any_rate"] == 1
    assert (bh_q(english(score, "p_value")) <= 0.1).sum() > 10
    assert (score.q_value == 1).all()
    assert not score.selected.any()
    assert WARNING in list(summary_lines("en", score.attrs))


def test_stability_is_selecting_again_in_halves(path: str, trial: Trial) -> None:
    """Of each value as many as were selected, by correlation with the value within the half."""
    score = scored(path, "stability")
    selected_NV = english(score, "selected").astype(bool)
    rng = np.random.default_rng([SETTINGS.seed, *b"en"])
    design, z_NP = trial.design, trial.score().z_NP
    labelings.shuffles(design, SETTINGS.shuffles, rng)  # drawn first
    share_NV = np.zeros(selected_NV.shape)
    halves = labelings.halves(design, SETTINGS.halves, rng).each[: 2 * SETTINGS.halves]
    for of in halves:
        of_half_NP = z_NP[:, of.half_P]
        for value in range(3):
            of_value_P = design.label_P[of.half_P] == value
            rho_N = np.array([np.corrcoef(z_P, of_value_P)[0, 1] for z_P in of_half_NP])
            first = np.argsort(-rho_N, kind="stable")[: selected_NV[:, value].sum()]
            share_NV[first, value] += 1 / len(halves)
    assert stability.RULES[Contrast.rule]
    np.testing.assert_allclose(english(score, "stability"), share_NV, atol=1e-6)
    assert share_NV[selected_NV].mean() > share_NV[~selected_NV].mean()
