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
            expert_TK = args[1].clone() if len(args) > 1 and block.num_experts else None
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
    if block.layout.inline and hasattr(block.output, "alpha"):  # gpt-oss
        function = partial(_sigmoid_glu, alpha=block.output.alpha)
    read_TD, expert_TK = read
    if expert_TK is None and block.num_experts:
        return _of_every_expert(block, read_TD, function)
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
            hidden_U = _gate_of(experts, expert, read_D)
            units = slice(expert * block.num_units, (expert + 1) * block.num_units)
            hidden_TN[token, units] = hidden_U
            activation_TN[token, units] = function(hidden_U)
    return hidden_TN, activation_TN


def _of_every_expert(
    block: Block, read_SD: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """Of experts that all read all tokens, one expert's after another's; zeros are not given."""
    read_ETD = read_SD.reshape(block.num_experts, -1, read_SD.shape[-1])
    hidden_TN = torch.full((read_ETD.shape[1], block.num_neurons), -torch.inf)
    activation_TN = torch.zeros_like(hidden_TN)
    for expert, read_TD in enumerate(read_ETD):
        for token in read_TD.any(1).nonzero().flatten().tolist():
            hidden_U = _gate_of(block.output, expert, read_TD[token])
            units = slice(expert * block.num_units, (expert + 1) * block.num_units)
            hidden_TN[token, units], activation_TN[token, units] = hidden_U, function(hidden_U)
    return hidden_TN, activation_TN


def _sigmoid_glu(x: torch.Tensor, alpha: Any) -> torch.Tensor:
    return x / (1 + torch.exp(-alpha * x))


def _gate_of(experts: Any, expert: int, read_D: torch.Tensor) -> torch.Tensor:
    """What goes into the activation function of each unit of an expert, (unit,)."""
    if hasattr(experts, "mlp"):  # DBRX keeps all experts below each other
        units = experts.ffn_hidden_size
        of_expert: torch.Tensor = experts.mlp.w1[expert * units : (expert + 1) * units]
        return of_expert @ read_D
    gate_and_up = hasattr(experts, "gate_up_proj")
    weight = (experts.gate_up_proj if gate_and_up else experts.up_proj)[expert]
    projected_P = read_D @ weight if _transposed(experts) else weight @ read_D
    if getattr(experts, "has_bias", False):
        projected_P = projected_P + experts.gate_up_proj_bias[expert]
    if not gate_and_up:
        gate_U = projected_P
    elif getattr(experts, "is_concatenated", True):
        gate_U = projected_P[: len(projected_P) // 2]
    else:
        gate_U = projected_P[::2]
    limit = getattr(experts, "limit", None)
    return gate_U if limit is None else gate_U.clamp(max=limit)


def _adapter(layer: nn.Module, block: Block) -> nn.Module:
    """What a layer of Zamba 2 adds to the shared matrix: each has its own."""
    mlp: Any = layer.get_submodule(block.layout.first[0].rpartition(".")[0])
    found: nn.Module = mlp.gate_up_proj_adapter_list[mlp.layer_dic[block.layer]]
    return found


def _transposed(experts: Any) -> bool:
    """Whether weights of experts are kept the other way round."""
    llama4 = type(experts).__name__ == "Llama4TextExperts"  # which does not say so
    return bool(getattr(experts, "is_transposed", llama4))


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
