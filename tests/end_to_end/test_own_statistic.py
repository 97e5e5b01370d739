"""A statistic that is defined here alone walks the whole road, and so does the maximum we ship."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import vxstore
from vxdist.cli import main
from vxdist.config import LocateConfig
from vxdist.hooks.counter import neuron_bytes
from vxdist.hooks.measures import MEASURES, choose
from vxstore.cli.main import main as ask
from vxstore.statistics import DEFAULT, STATISTICS, Statistic

LARGE = Statistic(
    name="large_count",
    record_dtype="int32",
    total_dtype="int64",
    combine="sum",
    bound="tokens",
    units="tokens",
    long_name="tokens on which the activation is above one half",
    record_long_name="tokens of the part on which the activation is above one half",
)
NAMES = [*DEFAULT, "activation_max", LARGE.name]
CHOSEN = ["--locate.statistics", f"[{', '.join(NAMES)}]"]


def measure(activation_RN: torch.Tensor) -> torch.Tensor:
    """How often each neuron is above one half."""
    return (activation_RN > 0.5).sum(0)


@pytest.fixture(params=["llama", "mixtral"])
def options(
    request: pytest.FixtureRequest,
    make_model: Callable[[str], Any],
    tokenizer: Any,
    run_options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """Options of a small run, dense or of experts, while both tables know the statistic."""
    folder = tmp_path / "model"
    make_model(request.param).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    monkeypatch.setitem(STATISTICS, LARGE.name, LARGE)
    monkeypatch.setitem(MEASURES, LARGE.name, f"{__name__}:measure")
    return [*run_options, "--model.path", str(folder)]


def test_the_whole_road_of_our_own_statistic(
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, default = (str(tmp_path / f"{name}.zarr") for name in ("run", "default"))
    assert main(["locate", *options, "--store", default]) == 0
    assert main(["locate", *options, *CHOSEN]) == 0
    assert main(["reduce", *options]) == 0
    monkeypatch.delitem(STATISTICS, LARGE.name)  # what follows goes by the store alone
    assert ask(["check", path]) == 0
    store, plain = vxstore.open(path), vxstore.open(default)
    assert (store.attrs["statistics"], plain.attrs.get("statistics")) == (NAMES, None)
    root = store.root().load()
    assert root.drop_vars(NAMES[3:]).equals(plain.root().load())
    assert store.record().drop_vars(NAMES[3:]).equals(plain.record())
    assert (root.large_count <= root.active_count).all()
    assert (root.large_count.sum() > 0) & (root.large_count.sum() < root.active_count.sum())
    assert ((root.activation_max > 0.5) == (root.large_count > 0)).all()
    assert ((root.activation_max > 0) == (root.active_count > 0)).all()

    capsys.readouterr()
    assert ask(["neuron", path, "1", "7", "--format", "json"]) == 0
    shown = pd.DataFrame(json.loads(capsys.readouterr().out)["values"]).set_index("language")
    cell = root.isel(layer=1, neuron=7).load()
    np.testing.assert_array_equal(
        shown.loc["pooled", "large_count"], cell.large_count.sum("language")
    )
    largest_V = shown.loc["pooled", "activation_max"].to_numpy(float)
    np.testing.assert_array_equal(largest_V, cell.activation_max.max("language"))
    out = tmp_path / "counts.csv"
    assert ask(["export", path, str(out), "--what", "counts"]) == 0
    rows = pd.read_csv(out)
    assert rows.large_count.sum() == int(root.large_count.sum())
    assert rows.activation_max.max() == pytest.approx(float(root.activation_max.max()))


def test_another_list_is_another_run(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["locate", *options, *CHOSEN]) == 0
    # Another order is the same list.
    assert main(["locate", *options, "--locate.statistics", f"[{', '.join(NAMES[::-1])}]"]) == 0
    capsys.readouterr()
    assert main(["locate", *options]) == 2
    told = f"locate.statistics is {', '.join(NAMES)} there, {', '.join(DEFAULT)} here"
    assert told in capsys.readouterr().err

    assert main(["plan", *options, *CHOSEN, "--format", "json"]) == 0
    forecast = {of["name"]: of for of in json.loads(capsys.readouterr().out)["store"]}
    store = tmp_path / "run.zarr"
    files = [file.relative_to(store).parts[0] for file in store.rglob("*") if file.is_file()]
    assert forecast["record"]["objects"] == files.count("record")
    assert forecast["root"]["objects"] == len(files) - files.count("record")


def test_what_is_refused_before_a_model_is_looked_for(
    run_options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for names, told in (("[activation_max]", "expected active_count"), ("[active]", "'active'")):
        options = ["--model.path", "nowhere", *run_options[2:], "--locate.statistics", names]
        assert main(["locate", *options]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: locate.statistics: found ")
        assert told in error


def test_what_a_neuron_takes_follows_from_the_rows() -> None:
    default = choose(LocateConfig().statistics)
    assert neuron_bytes(default) == 24
    assert neuron_bytes(choose(["active_count"])) == 24  # one pass sums all three
    assert neuron_bytes(choose([*DEFAULT, "activation_max"])) == 28
