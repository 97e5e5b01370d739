"""What is watched is what is meant: activations, of all neurons, that can be active or not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig

from vxdist.cli import main
from vxdist.errors import UserError
from vxdist.hooks.selftest import TOKENS, check_hook_points
from vxdist.model.activation import find_fault
from vxdist.model.hook_points import find_hook_points


class Product(nn.Module):
    """An activation function that multiplies by the up projection itself."""

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self.up: Any = None
        mlp.up_proj.register_forward_hook(lambda _, __, up: setattr(self, "up", up))

    def forward(self, gate: torch.Tensor, up: torch.Tensor | None = None) -> torch.Tensor:
        return nn.functional.silu(gate) * (self.up if up is None else up)


class FusedMlp(nn.Module):
    """A gated block whose activation function returns the product, from one or two inputs."""

    def __init__(self, mlp: Any, *, inputs: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = mlp.gate_proj, mlp.up_proj, mlp.down_proj
        self.act_fn = Product(mlp)
        self.inputs = inputs

    def forward(self, read: torch.Tensor) -> torch.Tensor:
        up = self.up_proj(read)
        both = (self.gate_proj(read), up)
        result: torch.Tensor = self.down_proj(self.act_fn(*both[: self.inputs]))
        return result


@pytest.mark.parametrize("inputs", [1, 2])
def test_a_product_is_not_taken_for_an_activation(
    inputs: int, make_model: Callable[[str], Any]
) -> None:
    decoder = make_model("llama").get_decoder()
    for layer in decoder.layers:
        layer.mlp = FusedMlp(layer.mlp, inputs=inputs)
    # A grid through the function alone sees nothing wrong: the product is set to one before.
    for layer in decoder.layers:
        layer.mlp.act_fn.up = torch.ones(())
    with pytest.raises(UserError, match=r"product with the up projection|reads 2 tensors"):
        check_hook_points(decoder, find_hook_points(decoder), TOKENS)


def test_a_gate_alone_is_an_activation(make_model: Callable[[str], Any]) -> None:
    for family in ("llama", "phi3", "nemotron", "mixtral"):
        decoder = make_model(family).get_decoder()
        check_hook_points(decoder, find_hook_points(decoder), TOKENS)


def test_inkling2_returns_the_product(tmp_path: Path) -> None:
    config = AutoConfig.for_model("inkling2_text")
    config.save_pretrained(tmp_path)
    assert main(["models", str(tmp_path)]) == 2


@pytest.mark.parametrize("inside", ["mlp.second", "adapter", "mlp.extra.proj"])
def test_any_further_weights_are_not_passed_over(
    inside: str, make_model: Callable[[str], Any]
) -> None:
    decoder = make_model("llama").get_decoder()
    *path, name = inside.split(".")
    parent = decoder.layers[1]
    for step in path:
        if not hasattr(parent, step):
            setattr(parent, step, nn.Module())
        parent = getattr(parent, step)
    setattr(parent, name, nn.Linear(32, 16))
    shown = ".".join(inside.split(".")[:2])
    with pytest.raises(UserError, match=rf"layer 1 of LlamaModel has {shown} beside its feed-forw"):
        find_hook_points(decoder)


@pytest.mark.parametrize(
    ("function", "fault"),
    [
        (nn.SiLU(), None),
        (nn.GELU(), None),
        (nn.ReLU(), None),
        (nn.Tanh(), None),
        (nn.Identity(), None),
        (nn.PReLU(48), None),
        (nn.Sigmoid(), "Sigmoid is above zero for every input"),
        (nn.Softplus(), "Softplus is above zero for every input"),
        (nn.LogSigmoid(), "LogSigmoid is above zero for no input"),
        (nn.Softmax(-1), "Softmax is above zero for every input"),
        (nn.LayerNorm(48), "LayerNorm mixes the inputs of several neurons"),
        (nn.GLU(), "GLU does not return one activation for each neuron"),
        (nn.Bilinear(48, 48, 48), "takes other inputs"),
    ],
)
def test_functions_that_cannot_tell_active_from_not(function: nn.Module, fault: str | None) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        found = find_fault(function.to(dtype), 48, dtype=dtype)
        assert found is None if fault is None else fault in (found or "")


@pytest.mark.parametrize("command", ["models", "locate"])
def test_a_sigmoid_is_refused_before_anything_is_recorded(
    command: str, model_folder: Path, run_options: list[str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "sigmoid"}))
    words = [str(folder)] if command == "models" else [*run_options, "--model.path", str(folder)]
    assert main([command, *words]) == 2
    error = capsys.readouterr().err.strip()
    assert "is above zero for every input, so that every neuron is always active" in error
    assert error.count("\n") == 0
    assert not (tmp_path / "run.zarr").exists()


def test_the_check_at_load_sees_it_too(make_model: Callable[[str], Any]) -> None:
    """Functions with parameters cannot be tried before the weights are there."""
    decoder = make_model("llama").get_decoder()
    decoder.layers[2].mlp.act_fn = nn.Sigmoid()
    with pytest.raises(UserError, match=r"layer 2: its activation function: Sigmoid"):
        check_hook_points(decoder, find_hook_points(decoder), TOKENS)
