"""The activations of a block by plain arithmetic, from what the block read.

T: token, N: neuron, D: hidden size, U: unit of an expert, K: expert of a token.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from vxdist.model.hook_points import HookPoints

FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "SiLUActivation": F.silu,
    "SiLU": F.silu,
    "GELUActivation": F.gelu,
    "NewGELUActivation": partial(F.gelu, approximate="tanh"),
    "GELUTanh": partial(F.gelu, approximate="tanh"),
    "BloomGelu": partial(F.gelu, approximate="tanh"),
    "GELU": F.gelu,
    "ReLU": F.relu,
    "ReLUSquaredActivation": lambda x: F.relu(x).square(),
}
"""What an activation module computes, by its class; others are called themselves."""
Read = tuple[torch.Tensor, torch.Tensor | None]
"""What a block read (T, D), and which experts got each token (T, K)."""


class Recorder:
    """What each block reads in one run, by hooks on the modules that read it."""

    def __init__(self, layers: Sequence[nn.Module], points: HookPoints) -> None:
        self.reads: list[Read] = []
        experts = points.num_experts
        modules = [layer.get_submodule(points.layout.first[0]) for layer in layers]
        self._handles = [
            m.register_forward_pre_hook(self._routed if experts else self._dense) for m in modules
        ]

    def _dense(self, _: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        self.reads.append((args[0].reshape(-1, args[0].shape[-1]).clone(), None))

    def _routed(self, _: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        self.reads.append((args[0].reshape(-1, args[0].shape[-1]).clone(), args[1].clone()))

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()


def recompute(layer: nn.Module, points: HookPoints, read: Read) -> tuple[torch.Tensor, ...]:
    """What goes into a layer's activation function and what comes out, each (T, N).

    Minus infinity and zero for experts that a token was not given.
    """
    module = layer.get_submodule(points.layout.activation)
    function = FUNCTIONS.get(type(module).__name__, module)
    read_TD, expert_TK = read
    if expert_TK is None:
        hidden_TN = layer.get_submodule(points.layout.first[0])(read_TD)
        # Gate and up projection in one: the gate comes first.
        hidden_TN = hidden_TN[:, : points.num_units]
        return hidden_TN, function(hidden_TN)
    experts: Any = layer.get_submodule(points.layout.output)
    hidden_TN = torch.full((len(read_TD), points.num_neurons), -torch.inf)
    activation_TN = torch.zeros_like(hidden_TN)
    for token, read_D in enumerate(read_TD):
        for expert in set(expert_TK[token].tolist()) & set(range(points.num_experts)):
            hidden_U = experts.gate_up_proj[expert][: points.num_units] @ read_D
            hidden_TN[token, points.neurons_of(expert)] = hidden_U
            activation_TN[token, points.neurons_of(expert)] = function(hidden_U)
    return hidden_TN, activation_TN


def zero_column(output: Any, points: HookPoints, neurons: Sequence[int]) -> None:
    """Set the weights that read these neurons to zero."""
    for neuron in neurons:
        expert, unit = divmod(neuron, points.num_units)
        if points.num_experts:
            output.down_proj.data[expert, :, unit] = 0
        elif hasattr(output, "nx"):  # GPT-2's Conv1D keeps its weight the other way round
            output.weight.data[unit] = 0
        else:
            output.weight.data[:, unit] = 0
