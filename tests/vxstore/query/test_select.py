"""Selecting again from the counts: settings taken over, names guarded."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import vxstore
from vxdist.cli import main as vxdist
from vxdist.reduce.score import write_score
from vxdist.reduce.select import select
from vxdist.reduce.selectors.vape import Vape, VapeSettings
from vxstore.cli.main import main
from vxstore.errors import StoreError

MakeStore = Callable[..., str]
AddScores = Callable[..., dict[str, np.ndarray[Any, Any]]]
Ask = Callable[..., str]
BASE = VapeSettings(
    filter_quantile=0.3,
    top_fraction=0.2,
    activation_quantile=0.4,
    min_active_tokens=2,
)
ALL = (
    *("--filter-quantile", "0.3", "--top-fraction", "0.2", "--activation-quantile", "0.4"),
    *("--min-active-tokens", "2"),
)


@pytest.fixture
def scored(make_store: MakeStore) -> str:
    """A store with a real score, made with `BASE`."""
    path = make_store(shape=(4, 20))
    write_score(path, "vape", Vape(BASE))
    return path


class TestRethreshold:
    def test_same_settings_select_the_same(self, scored: str) -> None:
        told = select(vxstore.open(scored), "again")
        store = vxstore.open(scored)
        assert store.scores("again").load().drop_attrs().equals(store.scores("vape").load())
        assert told["thresholds"] == store.scores("vape").attrs["thresholds"]
        assert told["settings"] | {"name": "vape"} == store.scores("vape").attrs["settings"]

    def test_what_is_given_changes_and_no_more(self, scored: str) -> None:
        told = select(vxstore.open(scored), "strict", top_fraction=0.1)
        expected = {**vxstore.open(scored).scores("vape").attrs["settings"], "top_fraction": 0.1}
        assert told["settings"] | {"name": "vape"} == expected
        strict, wide = (
            vxstore.open(scored).scores(name).selected.values for name in ("strict", "vape")
        )
        assert strict.sum() < wide.sum()
        assert not (strict & ~wide).any()
        next_one = select(vxstore.open(scored), "next", base="strict", min_active_tokens=3)
        assert next_one["settings"]["top_fraction"] == 0.1

    def test_asked_again_changes_nothing(self, scored: str) -> None:
        once, again = (select(vxstore.open(scored), "strict", top_fraction=0.1) for _ in range(2))
        assert once == again
        with pytest.raises(StoreError, match=r"top_fraction is 0.1 there, 0.3 here"):
            select(vxstore.open(scored), "strict", top_fraction=0.3)

    def test_settings_that_a_score_does_not_record_are_the_defaults(
        self, make_store: MakeStore, add_scores: AddScores, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = make_store()
        add_scores(path)  # it records top_fraction only
        found = select(vxstore.open(path), "new")
        assert found["settings"] == dataclasses.asdict(VapeSettings(top_fraction=0.01))
        assert "does not record its filter_quantile, activation_q" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("option", "key"),
        [
            (("--filter-quantile", "0.31"), "filter_quantile"),
            (("--top-fraction", "0.21"), "top_fraction"),
            (("--activation-quantile", "0.41"), "activation_quantile"),
            (("--min-active-tokens", "3"), "min_active_tokens"),
        ],
    )
    def test_any_option_may_be_given_alone(
        self, make_store: MakeStore, add_scores: AddScores, option: tuple[str, str], key: str
    ) -> None:
        path = make_store()
        add_scores(path, name="theirs")
        assert main(["select", path, "--name", "mine", *option]) == 0
        settings = vxstore.open(path).scores("mine").attrs["settings"]
        assert str(settings[key]) == option[1]

    def test_no_base_is_needed_if_all_is_given(self, make_store: MakeStore, ask: Ask) -> None:
        path = make_store()
        assert "scores/mine" in ask("select", path, "--name", "mine", *ALL)
        assert vxstore.open(path).names("scores") == ["mine"]


def test_another_selector_takes_no_settings_from_the_scores_there(
    scored: str, fail: Callable[..., str]
) -> None:
    """So it does not matter how many there are; this one needs tests, for which parts are few."""
    select(vxstore.open(scored), "wide", top_fraction=0.3)
    assert "cannot be tested" in fail("select", scored, "--name", "c", "--selector", "contrast")


def test_a_score_of_unknown_make_needs_a_selector(
    make_store: MakeStore, fail: Callable[..., str], ask: Ask
) -> None:
    from vxstore.groups import write_group
    from vxstore.schema import SCORES, ArraySpec

    path = make_store()
    dims = ("layer", "neuron", "language")
    specs = {"rank": ArraySpec(dims=dims, dtype="float64", units="1", long_name="rank"), **SCORES}
    data = {"rank": np.ones((4, 6, 2)), "selected": np.zeros((4, 6, 3, 2), dtype=bool)}
    labels = {"layer": range(4), "neuron": range(6), "value": ["calm", "zeal", "thrift"],
              "language": ["zh", "en"]}  # fmt: skip
    write_group(path, "scores/theirs", specs, data, labels, {"ranked_by": "rank"})
    assert "does not name its selector" in fail("select", path, "--name", "x")
    assert "scores/x" in ask("select", path, "--name", "x", "--selector", "vape")


@dataclasses.dataclass(kw_only=True)
class EarlierSettings(VapeSettings):
    """Those of a version that could compute in float32."""

    precision: str = "float64"


class TestPrecision:
    """A setting of earlier versions, which scores still record."""

    @staticmethod
    def write(path: str, precision: str) -> None:
        fields = dataclasses.asdict(BASE) | {"precision": precision}
        config = {"reduce": {"selector": "vape", "vape": fields}}
        write_score(path, "vape", Vape(EarlierSettings(**fields)), config=config)

    def test_float64_is_the_same_score(self, make_store: MakeStore) -> None:
        path = make_store(shape=(4, 20))
        self.write(path, "float64")
        store = vxstore.open(path)
        found = store.scores("vape").attrs
        assert found["settings"]["precision"] == "float64"
        assert write_score(path, "vape", Vape(BASE)) == found["thresholds"]
        again = vxstore.settings(store, "vape")["reduce"]["vape"]
        assert VapeSettings(**again) == BASE, "what it is replayed with has no such setting"
        assert select(store, "next")["settings"] == dataclasses.asdict(BASE)

    def test_float32_is_another(
        self, make_store: MakeStore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = make_store(shape=(4, 20))
        self.write(path, "float32")
        with pytest.raises(StoreError, match=r"with precision float32, and it is always float64"):
            write_score(path, "vape", Vape(BASE))
        assert vxstore.settings(vxstore.open(path), "vape")["reduce"]["vape"]["precision"]
        select(vxstore.open(path), "next")
        assert "scores/vape was made with precision float32" in capsys.readouterr().err


class TestRefusals:
    @pytest.mark.parametrize(
        ("asked", "known"),
        [
            (["--name", "../x"], "plain name"),
            (["--name", ".."], "plain name"),
            (["--name", "x", "--from", "lape"], "(there: vape)"),
            (["--name", "x", "--top-fraction", "2"], "between 0 and 1"),
            (["--name", "x", "--top-fraction", "nan"], "top_fraction"),
            (["--name", "vape", "--min-active-tokens", "-5"], "found -5, expected at least 0"),
            (["--name", "x", "--precision", "float32"], "no longer a setting"),
            (["--top-fraction", "0.1"], "--name"),
        ],
    )
    def test_names_what_is_known(
        self, fail: Callable[..., str], scored: str, asked: list[str], known: str
    ) -> None:
        assert known in fail("select", scored, *asked)
        assert vxstore.open(scored).names("scores") == ["vape"]

    def test_unfinished(self, fail: Callable[..., str], make_store: MakeStore) -> None:
        path = make_store(record=5)
        assert "7 of 12 parts are missing" in fail("select", path, "--name", "x", *ALL)


def test_what_is_printed(scored: str, ask: Ask) -> None:
    asked = ("select", scored, "--name", "strict", "--top-fraction", "0.1")
    out = ask(*asked)
    assert "top_fraction 0.1" in out
    assert max(map(len, out.splitlines())) <= 80
    told = json.loads(ask(*asked, "--format", "json"))
    assert told["thresholds"] == vxstore.open(scored).scores("strict").attrs["thresholds"]
    lines = ask(*asked, "--format", "csv").splitlines()
    assert [line.split(",")[0] for line in lines] == ["language", "zh", "en", "pooled"]


@pytest.mark.parametrize(("languages", "shown"), [(("zh",), 0), (("zh", "en"), 1)])
def test_one_language_is_not_shown_twice(
    make_store: MakeStore,
    ask: Ask,
    capsys: pytest.CaptureFixture[str],
    languages: tuple[str, ...],
    shown: int,
) -> None:
    """All languages pooled are the same again; the store keeps them, and JSON has them."""
    path = make_store(languages=languages, shape=(4, 20))
    assert vxdist(["reduce", "--reduce.selector", "vape", "--store", path]) == 0
    assert ("reduce: pooled: " in capsys.readouterr().out) == bool(shown)
    lines = ask("info", path).splitlines()
    assert sum(line.startswith("pooled ") for line in lines) == 2 * shown  # why it is untested, too
    assert "pooled" in vxstore.open(path).scores("vape").language.values
