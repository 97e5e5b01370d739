"""Hooks on the activation functions that count inside compiled code.

Nothing of a layer is a constant in them: what a layer adds to hangs on its activation function, or
each layer would be compiled for itself.

N: neuron, T: token of a batch (rows of all texts, flattened).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from vxdist.hooks.attach import Handle
from vxdist.hooks.kernel import Measured, accumulate, accumulate_measured
from vxdist.hooks.measures import find_measure
from vxdist.model.blocks import HookPoints
from vxdist.model.running import Running
from vxstore.statistics import DEFAULT, STATISTICS


@dataclass
class Counted:
    """Which tokens of the batch count, flattened, bool; None counts nothing."""

    tokens_T: torch.Tensor | None = None
    uncompiled: int = 0
    """Number of calls of layers that ran uncompiled."""


@torch.library.custom_op("vxdist::count", mutates_args=("active_N", "sum_N", "square_N"))
def _count(
    activation: torch.Tensor,
    counted_T: torch.Tensor,
    active_N: torch.Tensor,
    sum_N: torch.Tensor,
    square_N: torch.Tensor,
) -> None:
    activation_TN = activation.reshape(-1, activation.shape[-1])
    accumulate(activation_TN, counted_T, active_N, sum_N, square_N)


@torch.library.custom_op("vxdist::count_further", mutates_args=("total_N",))
def _count_further(
    activation: torch.Tensor, counted_T: torch.Tensor, total_N: torch.Tensor, name: str
) -> None:
    measured = Measured(find_measure(name), STATISTICS[name].combine, total_N)
    accumulate_measured(activation.reshape(-1, activation.shape[-1]), counted_T, [measured])


def watch_compiled(
    hook_points: HookPoints, counted: Counted, totals: Mapping[str, torch.Tensor]
) -> list[Handle]:
    """Add the activations of later forward passes to `totals`, by statistic (layer, neuron).

    Compiled or not, the layers then count. Only for dense models. Returns handles to undo this.
    """
    handles: list[Handle] = []
    for block in hook_points.blocks:
        if block.runner is not None:
            handles.append(Running(block.runner))
        found: Any = block.activation
        found.vxdist_counted = counted
        at = (block.layer, block.neurons_of(0))
        found.vxdist_totals = {name: total_LN[at] for name, total_LN in totals.items()}
        handles.append(block.activation.register_forward_hook(_see))
    return handles


def _see(module: Any, _: Any, activation: torch.Tensor) -> None:
    """The hook of every layer; one function, so that torch takes the layers for alike."""
    if not torch.compiler.is_compiling():  # compiled code has this no more
        module.vxdist_counted.uncompiled += 1
    counted_T, totals = module.vxdist_counted.tokens_T, module.vxdist_totals
    if counted_T is None:
        return
    torch.ops.vxdist.count(activation, counted_T, *(totals[name] for name in DEFAULT))
    for name, total_N in totals.items():
        if name not in DEFAULT:
            torch.ops.vxdist.count_further(activation, counted_T, total_N, name)
