"""Weights or activations beyond float16, infinite or NaN: every stage says so, and none counts."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vxdist.cli import main

Change = Callable[[torch.Tensor], object]
NOT_FINITE: list[tuple[str, str, Change, str]] = [
    ("model.layers.1.mlp.gate_proj.weight", "float16", lambda w: w[3].mul_(1e6), "layer 1"),
    ("model.layers.1.mlp.up_proj.weight", "float16", lambda w: w.mul_(1e6), "layer 2"),
    ("model.layers.1.mlp.down_proj.weight", "float32", lambda w: w[0].fill_(torch.inf), "layer 2"),
]


def change(folder: Path, copy: Path, name: str, edit: Change) -> Path:
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    edit(weights[name])
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    return copy


@pytest.mark.parametrize(("name", "dtype", "edit", "layer"), NOT_FINITE)
def test_locate_counts_nothing_that_is_not_finite(
    name: str, dtype: str, edit: Change, layer: str, model_folder: Path, run_options: list[str],
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    model = change(model_folder, tmp_path / "model", name, edit)
    options = ["--model.path", str(model), "--model.dtype", dtype]
    assert main(["locate", *run_options, *options]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"{layer}: an activation is not finite (NaN or infinite)" in error
    assert "try model.dtype float32" in error


def test_evaluate_says_so_in_its_trial(
    model_folder: Path, run_options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Activations are sound, and the choices are not: before the hours that would be lost."""
    model = change(
        model_folder, tmp_path / "model", "lm_head.weight", lambda w: w[5].fill_(torch.nan)
    )
    options = [*run_options, "--model.path", str(model)]
    assert main(["locate", *options]) == 0
    assert main(["reduce", *options]) == 0
    capsys.readouterr()
    assert main(["evaluate", *options]) == 2
    told = capsys.readouterr().err.splitlines()
    assert "in a trial the intact model's probabilities are not finite" in told[-1]
