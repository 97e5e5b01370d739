"""The activations of a block by plain arithmetic, from what the block read.

T: token, N: neuron, D: hidden size, U: unit of an expert, K: expert of a token.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from vxdist.model.hook_points import Block, HookPoints

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
        self.reads: dict[int, Read] = {}
        """By number of the block."""
        self._handles = [
            layers[block.layer]
            .get_submodule(block.layout.first[0])
            .register_forward_pre_hook(self._hook(number, block))
            for number, block in enumerate(points.blocks)
        ]

    def _hook(self, number: int, block: Block) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            if number in self.reads:
                raise ValueError(f"{block.name} ran twice")
            expert_TK = args[1].clone() if block.num_experts else None
            self.reads[number] = args[0].reshape(-1, args[0].shape[-1]).clone(), expert_TK

        return hook

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()


def recompute(layer: nn.Module, block: Block, read: Read) -> tuple[torch.Tensor, ...]:
    """What goes into a block's activation function and what comes out, each (T, N).

    Minus infinity and zero for experts that a token was not given.
    """
    function = FUNCTIONS.get(type(block.activation).__name__, block.activation)
    read_TD, expert_TK = read
    if expert_TK is None:
        hidden_TN = layer.get_submodule(block.layout.first[0])(read_TD)
        if "adapter_list" in block.layout.first[-1]:
            hidden_TN = hidden_TN + _adapter(layer, block)(read_TD)
        # Gate and up projection in one: the gate comes first.
        hidden_TN = hidden_TN[:, : block.num_units]
        return hidden_TN, function(hidden_TN)
    experts: Any = block.output
    hidden_TN = torch.full((len(read_TD), block.num_neurons), -torch.inf)
    activation_TN = torch.zeros_like(hidden_TN)
    for token, read_D in enumerate(read_TD):
        for expert in set(expert_TK[token].tolist()) & set(range(block.num_experts)):
            hidden_U = _gate(experts, expert, block.num_units) @ read_D
            units = slice(expert * block.num_units, (expert + 1) * block.num_units)
            hidden_TN[token, units] = hidden_U
            activation_TN[token, units] = function(hidden_U)
    return hidden_TN, activation_TN


def _adapter(layer: nn.Module, block: Block) -> nn.Module:
    """What a layer of Zamba 2 adds to the shared matrix: each has its own."""
    mlp: Any = layer.get_submodule(block.layout.first[0].rpartition(".")[0])
    found: nn.Module = mlp.gate_up_proj_adapter_list[mlp.layer_dic[block.layer]]
    return found


def _gate(experts: Any, expert: int, units: int) -> torch.Tensor:
    """The weights that one expert's neurons read with (U, D)."""
    if hasattr(experts, "mlp"):  # DBRX keeps all experts below each other
        found: torch.Tensor = experts.mlp.w1[expert * units : (expert + 1) * units]
        return found
    gate_and_up = hasattr(experts, "gate_up_proj")
    found = (experts.gate_up_proj if gate_and_up else experts.up_proj)[expert]
    return (found.T if _transposed(experts) else found)[:units]


def _transposed(experts: Any) -> bool:
    """Whether weights of experts are kept the other way round."""
    return bool(getattr(experts, "is_transposed", False))


def _zero_units(experts: Any, expert: int, units: torch.Tensor) -> None:
    if hasattr(experts, "mlp"):
        experts.mlp.w2.data[expert * experts.ffn_hidden_size + units] = 0
    elif _transposed(experts):
        experts.down_proj.data[expert, units] = 0
    else:
        experts.down_proj.data[expert, :, units] = 0


def zero_column(points: HookPoints, layer: int, neurons: Sequence[int]) -> None:
    """Set the weights that read these neurons of a layer to zero."""
    for placed in points.place(layer, np.array(neurons)):
        output: Any = placed.block.output
        units = torch.from_numpy(placed.unit_N)
        if placed.block.num_experts:
            _zero_units(output, placed.expert, units)
        elif hasattr(output, "nx"):  # GPT-2's Conv1D keeps its weight the other way round
            output.weight.data[units] = 0
        else:
            output.weight.data[:, units] = 0
