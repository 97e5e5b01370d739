"""`vxdist estimate --power`: which effect a run could find."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.report.conftest import StoreMaker
from vxdist.cli import main
from vxdist.stats.power import Spread, least_shift

CONFIG = ["--config", str(Path(__file__).parents[2] / "configs" / "seed.yaml")]
Ask = Callable[..., str]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """What the command prints."""

    def run(*options: str) -> str:
        assert main(["estimate", *CONFIG, "--power", *options]) == 0
        return capsys.readouterr().out

    return run


def test_table_of_the_corpus_and_its_multiples(ask: Ask) -> None:
    out = ask()
    rows = [line.split() for line in out.splitlines() if line.strip()[:1].isdigit()]
    assert [row[0] for row in rows] == ["32", "64", "128"]
    spread = Spread(dilemma_sd=0.024, set_sd=0.0075, prior_df=0.0)
    expected = least_shift(spread, dilemmas=64, draws=16, cells=24, fdr=0.1)
    assert rows[1][3] == f"{expected:.3g}"
    assert "in nats" in out
    told = " ".join(out.split())
    assert (
        "0.024 between dilemmas, 0.0075 between sets, assumed, as of draws matched to masks of 73 "
        "to 211 neurons of SmolLM2-135M-Instruct"
    ) in told
    assert "--store STORE --evaluation NAME measures it" in told
    assert "0.1 / 24 (masks and languages)" in " ".join(out.split())


def test_no_model_is_needed_and_settings_count(ask: Ask) -> None:
    asked = ["--model.path", "no/such", "--evaluate.values", "equality", "--evaluate.fdr", "0.05"]
    found = json.loads(ask(*asked, "--dilemmas", "20", "--format", "json"))
    assert (found["cells"], found["fdr"], found["power"]) == (2, 0.05, 0.8)
    assert list(found["shifts"]) == ["10", "20", "40"]
    assert list(found["shifts"]["10"]) == ["4", "8", "16", "32"]


def test_spread_of_an_evaluation(ask: Ask, tmp_path: Path) -> None:
    """Its draws shift each dilemma by up to 0.1 on its own: sd 0.058, and nothing by set."""
    path = StoreMaker(path=str(tmp_path / "tiny.zarr"), controls=8, dilemmas=12).write()
    found = json.loads(ask("--store", path, "--evaluation", "choice", "--format", "json"))
    assert found["spread"]["dilemma_sd"] == pytest.approx(0.2 / 12**0.5, rel=0.1)
    assert found["spread"]["set_sd"] < 0.01
    assert found["source"] == f"measured in {path}, evaluation/choice"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--evaluation", "choice"], "--evaluation: only --power reads an evaluation"),
        (["--power", "--dilemmas", "3"], "not one evaluation dilemma for each of 24"),
        (["--power", "--dilemmas", "0"], "--dilemmas: 0 must be above 0"),
        (["--power", "--evaluation", "choice", "--store", "no/such.zarr"], "no/such.zarr"),
        (["--power", "--evaluate.values", "wit"], "wit"),
    ],
)
def test_refusals(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", *CONFIG, *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_an_evaluation_without_draws_measures_no_spread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = StoreMaker(path=str(tmp_path / "tiny.zarr"), controls=0).write()
    asked: list[Any] = ["estimate", *CONFIG, "--power", "--store", path, "--evaluation", "choice"]
    assert main(asked) == 2
    assert "no mask with two control draws and two dilemmas" in capsys.readouterr().err
