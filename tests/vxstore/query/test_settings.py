"""Settings that made a group stay with it, whatever is run later (F7)."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import vxstore
from vxdist.cli import main as vxdist
from vxstore.cli.main import main
from vxstore.errors import StoreError

OTHER = ("--evaluate.choice.prompts.en", "{dilemma} Or else? A {a} B {b}")


def test_a_second_evaluation_does_not_hide_the_first(
    run_options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, beside = str(tmp_path / "run.zarr"), tmp_path / "run.yaml"
    for stage in ("locate", "reduce", "evaluate"):
        assert vxdist([stage, *run_options]) == 0
    saved = beside.read_text(encoding="utf-8")
    assert vxdist(["evaluate", *run_options, "--evaluate.name", "b", *OTHER]) == 0
    assert beside.read_text(encoding="utf-8") == saved  # it still replays the first
    store = vxstore.open(path)
    first, second = (vxstore.settings(store, name) for name in ("choice", "b"))
    assert second["evaluate"]["choice"]["prompts"]["en"] == OTHER[1]
    assert first["evaluate"]["choice"]["prompts"]["en"] != OTHER[1]

    capsys.readouterr()
    assert main(["info", path, "--settings", "b"]) == 0
    file = tmp_path / "again.yaml"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    assert yaml.safe_load(file.read_text(encoding="utf-8")) == second
    # The same settings are the same evaluation: nothing is left to measure.
    assert vxdist(["evaluate", "--config", str(file)]) == 0
    assert "exists already; no model work" in capsys.readouterr().out
    for group, section in (("record", "locate"), ("vape", "reduce"), ("scores/vape", "reduce")):
        assert section in vxstore.settings(store, group)


def test_what_is_not_there(make_store: Callable[..., str], full_store: str) -> None:
    with pytest.raises(StoreError, match="there is none called 'x'; give one of record"):
        vxstore.settings(vxstore.open(make_store()), "x")
    with pytest.raises(StoreError, match="does not keep the settings that made it"):
        vxstore.settings(vxstore.open(full_store), "vape")
