"""Where there is nothing to test: p is NaN or 1, nothing is selected, and words say why."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import vxstore
from tests.reduce.stores import only, write_record
from tests.stats.generators import ALIGNED, Synthetic, overdispersed, twins
from vxdist.cli import main
from vxdist.errors import UserError
from vxdist.reduce.score import write_score
from vxdist.reduce.selectors import Selector
from vxdist.reduce.selectors.claimed import Contrast, ContrastSettings, Stance, StanceSettings
from vxdist.reduce.selectors.vape import Vape, VapeSettings
from vxdist.reduce.summary import summary_lines
from vxdist.reduce.testing import Testing as Settings
from vxstore.errors import StoreError

QUICK = Settings(shuffles=20, halves=2, adjust=[])
PS = ("p_value", "q_value", "q_exclusive")


def tell(path: Path, records: Mapping[str, Synthetic] | Synthetic, **options: Any) -> str:
    """Write a store, of English alone if no language is named."""
    if isinstance(records, Synthetic):
        records = {"en": records}
    return write_record(str(path / "s.zarr"), records, **options)


def scored(
    path: str, selector: Selector | None = None, kind: str = "contrast", testing: Settings = QUICK
) -> xr.Dataset:
    """Score a store with one thread, and read the score."""
    selector = selector or Contrast(ContrastSettings(top_fraction=1.0))
    write_score(path, "s", selector, kind=kind, testing=testing, threads=1)
    return vxstore.open(path).scores("s").load()


def said(score: xr.Dataset, language: str = "en") -> str:
    """What the terminal is told of a language."""
    return "\n".join(summary_lines(language, score.attrs))


def refused(path: str, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """The one line that `vxdist reduce` is refused with."""
    capsys.readouterr()
    assert main(["reduce", "--store", path, "--trainer.threads", "1", *more]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.fixture
def plain() -> Synthetic:
    """Two values in one stance, with neurons of them."""
    return overdispersed(
        np.random.default_rng(88), neurons=40, values=2, clusters=8, planted=12, delta=4.0
    )


def test_no_shuffles(plain: Synthetic, tmp_path: Path) -> None:
    """The same tests, and no null."""
    path = tell(tmp_path, plain)
    score = scored(path, testing=replace(QUICK, shuffles=0))
    assert score.attrs["null"] == {}
    assert "no null was computed" in said(score)
    assert score.selected.sum() > 5
    write_score(path, "checked", Contrast(ContrastSettings(top_fraction=1.0)), testing=QUICK)
    checked = vxstore.open(path).scores("checked")
    assert "shuffles of the labels" in said(checked)
    np.testing.assert_array_equal(score.q_value, checked.q_value)
    np.testing.assert_array_equal(score.selected, checked.selected)


def test_no_halves(plain: Synthetic, tmp_path: Path) -> None:
    """No stability, and all the rest."""
    score = scored(tell(tmp_path, plain), testing=replace(QUICK, halves=0))
    assert np.isnan(score.stability).all()
    assert score.attrs["null"]["en"]["stability"] is None
    assert score.selected.sum() > 5


def test_one_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is nothing to compare it with."""
    path = tell(tmp_path, overdispersed(np.random.default_rng(1), neurons=8, values=1))
    with pytest.raises(StoreError, match="holds one value"):
        scored(path)
    assert "holds one value" in refused(path, capsys, "--reduce.selector", "contrast")
    assert "holds one value" in refused(path, capsys, "--reduce.selector", "vape")


def test_too_few_dilemmas_for_any_p_to_be_small_enough(tmp_path: Path) -> None:
    """It is said, with how many more would do."""
    few = overdispersed(np.random.default_rng(3), neurons=400, values=2, clusters=6)
    path = tell(tmp_path, few)
    least = scored(path).attrs["tests"]["en"]["least_p"]
    assert 0.1 / 800 < least < 0.01
    found = vxstore.null(vxstore.open(path))["sentences"]["en"]["levels"]
    together = math.ceil(least * 800 / 0.1)
    assert f"12 dilemmas allow hardly a p below {least:.1g}: about {together} assign" in found
    (tmp_path / "more").mkdir()
    many = overdispersed(np.random.default_rng(3), neurons=400, values=2, clusters=30)
    path = tell(tmp_path / "more", many)
    assert scored(path).attrs["tests"]["en"]["least_p"] < 0.1 / 800
    assert "hardly" not in vxstore.null(vxstore.open(path))["sentences"]["en"]["levels"]


@pytest.mark.parametrize("adjust", [[], ["length"]], ids=["plain", "adjusted"])
def test_neurons_that_never_change_and_dead_ones(
    plain: Synthetic, tmp_path: Path, adjust: list[Any]
) -> None:
    """One is active on every token, one on none; a third on one token, of one language only."""
    other = overdispersed(np.random.default_rng(2), neurons=40, values=2, clusters=8)
    records = {}
    for name, of in {"en": plain, "zh": other}.items():
        active_PN = of.active_count_PN.copy()
        active_PN[:, 0], active_PN[:, 1:3] = of.token_count_P, 0
        active_PN[0, 2] = name == "en"
        records[name] = replace(of, active_count_PN=active_PN)
    score = scored(tell(tmp_path, records), testing=replace(QUICK, adjust=adjust))
    neurons = score.isel(layer=0)
    always, never, once = (neurons.isel(neuron=n) for n in range(3))
    for name in PS:
        assert (always[name] == 1).all()
        assert np.isnan(never[name]).all()
    assert (always.t_value == 0).all()
    assert (always.auc == 0.5).all()
    assert (always.q_omnibus == 1).all()
    assert np.isnan(never.q_omnibus).all()
    assert (never.rival == -1).all()
    assert np.isnan(once.p_value.sel(language="zh")).all()
    assert not np.isnan(once.p_value.sel(language=["en", "pooled"])).any()
    assert not neurons.selected.isel(neuron=slice(3)).any()
    assert neurons.selected.any()
    # A dead neuron is no test: it does not raise the q of others.
    for g, count in (("en", 39), ("zh", 38), ("pooled", 39)):
        assert score.attrs["tests"][g]["tested"]["1"] == 2 * count


def test_experts_that_are_given_nothing(plain: Synthetic, tmp_path: Path) -> None:
    """Of four experts of ten neurons, one is given no token, and one none in one cluster."""
    routed_PLE = np.repeat(plain.token_count_P[:, None, None], 4, axis=2)
    routed_PLE[:, :, 1] = 0
    routed_PLE[3, :, 2] = 0
    given_PN = np.repeat(routed_PLE[:, 0], 10, axis=1)
    record = replace(plain, active_count_PN=np.minimum(plain.active_count_PN, given_PN))
    score = scored(tell(tmp_path, record, routed={"en": routed_PLE}))
    of_expert = score.isel(layer=0).groupby("expert")
    for expert, group in of_expert:
        assert bool(np.isnan(group.p_value).all()) is (expert in (1, 2))
        assert bool(np.isnan(group.q_value).any()) is (expert in (1, 2))
        assert bool((group.rival == -1).all()) is (expert in (1, 2))
        if expert in (1, 2):
            assert not group.selected.any()
    assert score.selected.any()
    assert score.attrs["tests"]["en"]["tested"]["1"] == 2 * 20


def test_few_clusters(plain: Synthetic, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Five dilemmas of a value: VAPE lists, nothing is tested, and what needs tests is refused."""
    path = tell(tmp_path, only(plain, (plain.value_P == 0) | (plain.cluster_P < 5)))
    reason = "fewer than 6 dilemma clusters of value1 (5)"
    line = refused(path, capsys, "--reduce.selector", "contrast")
    assert "it selects by q_value, which cannot be tested: " + reason in line
    with pytest.raises(UserError, match="q_stance, which cannot be tested: fewer than 6"):
        scored(path, Stance(StanceSettings()), "stance")
    score = scored(path, Vape(VapeSettings(top_fraction=0.1)), "vape")
    assert score.attrs["tests"] == {g: {"untested": reason} for g in ("en", "pooled")}
    assert said(score) == f"not tested: {reason}"
    assert "p_value" not in score
    assert score.selected.any()


def test_one_stance(plain: Synthetic, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Values differ; there is no stance to tell."""
    path = tell(tmp_path, plain)
    score = scored(path)
    absent = score.attrs["tests"]["en"]["absent"]
    assert absent["q_stance"] == "fewer than 6 dilemma clusters in both stances of value0 (0)"
    assert absent["q_beyond"] == "fewer than 8 values (2)"
    for name in ("q_stance", "t_stance", "q_beyond"):
        assert np.isnan(score[name]).all()
    assert set(score.attrs["null"]["en"]["levels"]) == {"1", "3"}
    assert set(score.attrs["tests"]["en"]["found"]) == {"1", "3"}
    line = refused(path, capsys, "--reduce.selector", "stance", "--reduce.name", "stance")
    assert "q_stance, which cannot be tested" in line


def test_twins_in_one_language(tmp_path: Path) -> None:
    """Stance is tested in that language, and in no other; nor pooled."""
    rng = np.random.default_rng(3)
    both = {g: twins(rng, neurons=20, values=2, clusters=7) for g in ("en", "zh")}
    both["zh"] = only(both["zh"], both["zh"].stance_P == ALIGNED)
    score = scored(tell(tmp_path, both), Stance(StanceSettings()), "stance")
    missing = np.isnan(score.q_stance).all(["layer", "neuron", "value"])
    assert dict(zip(score.language.values.tolist(), missing.values.tolist(), strict=True)) == {
        "en": False,
        "zh": True,
        "pooled": True,
    }
    for g in ("zh", "pooled"):
        assert "in both stances" in score.attrs["tests"][g]["absent"]["q_stance"]
        assert not score.selected.sel(language=g).any()
    assert not np.isnan(score.q_value).any()


def test_a_value_that_its_setting_explains(tmp_path: Path) -> None:
    """All stories of a value are set at sea, and those of others are not: it cannot be told."""
    record = overdispersed(
        np.random.default_rng(4), neurons=40, values=3, clusters=8, planted=30, delta=4.0
    )
    places = {n: "sea" if n < 8 else "school" if n % 2 else "home" for n in range(24)}
    path = tell(tmp_path, record, settings=places)
    score = scored(path, testing=replace(QUICK, adjust=["setting"]))
    sea, others = score.isel(value=0), score.isel(value=[1, 2])
    for name in ("p_value", "q_value", "t_value"):
        assert np.isnan(sea[name]).all()
        assert not np.isnan(others[name]).any()
    assert not sea.selected.any()
    assert others.selected.any()
    explained = {"value0": "reduce.adjust leaves nothing of it"}
    assert score.attrs["tests"]["en"]["values_untested"] == explained
    assert "value0 is not tested: reduce.adjust leaves nothing of it" in said(score)


def test_parts_that_do_not_name_their_cluster(
    plain: Synthetic, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With two stances, it is not known which parts are twins, and so nothing is tested.

    With one stance, each part is a dilemma of its own; but not known in another language.
    """
    record = twins(np.random.default_rng(5), neurons=20, values=2, clusters=7)
    (tmp_path / "twins").mkdir()
    path = tell(tmp_path / "twins", record, clusters=False)
    reason = "the store does not say which parts tell the same dilemma in each stance"
    assert reason in refused(path, capsys, "--reduce.selector", "contrast")
    score = scored(path, Vape(VapeSettings(top_fraction=0.1)), "vape")
    assert score.attrs["tests"]["en"] == {"untested": reason}
    assert said(score) == f"not tested: {reason}"
    assert "p_value" not in score

    path = tell(tmp_path, {"en": plain, "zh": plain}, clusters=False)
    score = scored(path)
    assert not np.isnan(score.p_value.sel(language=["en", "zh"])).any()
    assert np.isnan(score.p_value.sel(language="pooled")).all()
    reason = "the store does not say which parts tell the same dilemma in each language"
    assert said(score, "pooled") == f"not tested: {reason}"
    assert not score.selected.sel(language="pooled").any()


def test_a_language_that_shares_no_dilemma(plain: Synthetic, tmp_path: Path) -> None:
    """It is compared with no other, and so nothing is bound to it."""
    apart = replace(plain, cluster_P=plain.cluster_P + 50)
    path = tell(tmp_path, {"en": plain, "zh": plain, "fr": apart})
    score = scored(path)
    assert score.attrs["tests"]["fr"]["untested"] is None
    assert "fewer than 6" in said(score, "pooled")
    group = xr.open_zarr(path, group="scores/s/languages", consolidated=False).load()
    assert group.language_pair.values.tolist() == ["en-zh"]
    assert not group.bound.sel(compared_language="fr").any()
