"""`model.compile: layers` through the command: what it records, refuses, and resumes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from vxdist.cli import main
from vxdist.errors import Stopped
from vxdist.hooks import compiled
from vxdist.locate.work import LocateWork
from vxstore.read import read_root_attrs

BACKENDS = ["eager", "inductor"]
"""The first traces and guards the code, but compiles nothing."""
LAYERS = ("--model.compile", "layers")


@pytest.fixture
def options(
    request: pytest.FixtureRequest, run_options: list[str], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Options of a small run, in batches that differ in shape."""
    monkeypatch.setattr(compiled, "BACKEND", getattr(request, "param", "eager"))
    return run_options


def read(path: Path) -> xr.Dataset:
    """The parts of a store."""
    return xr.open_zarr(str(path), group="record").load()


@pytest.mark.long
@pytest.mark.parametrize("options", BACKENDS, indirect=True)
def test_it_counts_as_without_and_resumes_to_the_bit(
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
) -> None:
    stores = {name: tmp_path / f"{name}.zarr" for name in ("none", "whole", "resumed")}
    assert main(["locate", *options, "--store", str(stores["none"])]) == 0
    assert main(["locate", *options, *LAYERS, "--store", str(stores["whole"])]) == 0
    with monkeypatch.context() as patch:
        _stop_after(3, patch)
        assert main(["locate", *options, *LAYERS, "--store", str(stores["resumed"])]) == 3
    assert 0 < read(stores["resumed"]).sealed.sum() < 12
    assert main(["locate", *options, *LAYERS, "--store", str(stores["resumed"])]) == 0

    assert not [w for w in recwarn if "fit no compiled code" in str(w.message)]
    none, whole, resumed = (read(path) for path in stores.values())
    xr.testing.assert_identical(whole.drop_attrs(), resumed.drop_attrs())
    assert np.abs(none.active_count - whole.active_count).sum() <= 3  # signs of what is almost zero
    np.testing.assert_allclose(none.activation_sum, whole.activation_sum, rtol=1e-3, atol=1e-3)
    assert "compile" not in read_root_attrs(str(stores["none"]))
    assert read_root_attrs(str(stores["whole"]))["compile"] == "layers"


def _stop_after(parts: int, patch: pytest.MonkeyPatch) -> None:
    finish, done = LocateWork.finish, []

    def finish_some(self: LocateWork, task: int) -> Callable[[], None]:
        done.append(task)
        if len(done) > parts:
            raise Stopped
        return finish(self, task)

    patch.setattr(LocateWork, "finish", finish_some)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which locate is refused."""
    capsys.readouterr()
    assert main(["locate", *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.long
def test_a_store_goes_on_as_it_was_begun(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["locate", *options]) == 0
    line = refused(capsys, *options, *LAYERS)
    assert "made by another run: model.compile is none there, layers here" in line


def test_what_cannot_be_compiled_is_refused_before_a_store_is_made(
    options: list[str],
    capsys: pytest.CaptureFixture[str],
    make_model: Callable[[str], Any],
    tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = refused(capsys, *options, *LAYERS, "--trainer.strategy", "zero3")
    assert "model.compile: layers with trainer.strategy: zero3" in line
    make_model("mixtral").save_pretrained(tmp_path / "moe")
    tokenizer.save_pretrained(tmp_path / "moe")
    line = refused(capsys, *options, *LAYERS, "--model.path", str(tmp_path / "moe"))
    assert "MixtralForCausalLM has 4 experts a layer" in line
    monkeypatch.setattr(compiled, "BACKEND", "none-such")
    line = refused(capsys, *options, *LAYERS)
    assert "model.compile: layers needs a C++ compiler that works" in line
    assert not (tmp_path / "run.zarr").exists()
