"""A store, or an evaluation, is not made of two models, or by two versions of what computes it."""

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import vxstore
from vxdist.cli import main
from vxdist.errors import Stopped
from vxdist.evaluate.identity import known_to
from vxstore.evaluation import ConditionRecorder
from vxstore.write import Recorder

Cut = Callable[[str], None]


@pytest.fixture
def options(run_options: list[str], model_folder: Path, tmp_path: Path) -> list[str]:
    """A run of a model that may be changed."""
    shutil.copytree(model_folder, tmp_path / "model")
    return [*run_options, "--model.path", str(tmp_path / "model")]


@pytest.fixture
def begun(options: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cut:
    """Begins a stage, and ends it after two parts or conditions, as a kill would."""

    def begin(stage: str) -> None:
        kind: Any = Recorder if stage == "locate" else ConditionRecorder
        method = "write_part" if stage == "locate" else "write"
        real, writes = getattr(kind, method), []

        def write(self: Any, *data: Any) -> None:
            writes.append(data)
            if len(writes) > 2:
                raise Stopped("killed")
            real(self, *data)

        if stage == "evaluate":
            assert main(["locate", *options]) == main(["reduce", *options]) == 0
        with monkeypatch.context() as patch:
            patch.setattr(kind, method, write)
            assert main([stage, *options]) == 3

    return begin


STAGES = pytest.mark.parametrize("stage", ["locate", "evaluate"])


@STAGES
def test_another_version_of_torch(
    stage: str, begun: Cut, options: list[str], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    begun(stage)
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr("vxdist.runtime.identity._version", lambda _: "99.0")
        assert main([stage, *options]) == 2
        error = capsys.readouterr().err
        assert f"torch is {torch.__version__} there, 99.0 here" in error
        assert "transformers is" in error
    assert main([stage, *options]) == 0
    monkeypatch.setattr("vxdist.runtime.identity._version", lambda _: "99.0")
    assert main([stage, *options]) == 0, "nothing is left to compute"


@STAGES
def test_a_neuron_that_was_edited(
    stage: str, begun: Cut, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(stage)
    file = tmp_path / "model" / "model.safetensors"
    weights = load_file(file)
    weights["model.layers.1.mlp.down_proj.weight"][:, 5] = 0
    save_file(weights, file, metadata={"format": "pt"})
    capsys.readouterr()
    assert main([stage, *options]) == 2
    expected = "has other content now" if stage == "locate" else "give the same model"
    assert expected in capsys.readouterr().err


def test_weights_in_shards_are_not_mixed_with_whole_ones(
    begun: Cut, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("deepspeed")
    begun("locate")
    capsys.readouterr()
    assert main(["locate", *options, "--trainer.strategy", "zero3"]) == 2
    assert "rounds differently: sharded is False there, True here" in capsys.readouterr().err


def test_stores_of_earlier_versions_are_not_compared(
    begun: Cut, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They do not say what computed them."""
    stage = importlib.import_module("vxdist.locate.stage")
    with monkeypatch.context() as patch:
        patch.setattr(stage, "describe_computation", lambda *_: {})
        begun("locate")
    monkeypatch.setattr("vxdist.runtime.identity._version", lambda _: "99.0")
    assert main(["locate", *options]) == 0
    assert vxstore.open(str(tmp_path / "run.zarr")).attrs["computation"] == {}


def test_evaluations_of_earlier_versions_are_not_compared() -> None:
    kept, here = {"evaluation_digest": "a"}, {"evaluation_digest": "a", "computation": {"x": 1}}
    assert known_to(kept, here) == {"evaluation_digest": "a"}
