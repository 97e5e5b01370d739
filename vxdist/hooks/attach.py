"""Hooks on the activation functions, which know the rows that they run on.

T: token of a batch (rows of all texts, flattened), S: row, E: expert, N: neuron of a dense block,
or unit of an expert.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from vxdist.errors import UserError
from vxdist.model.blocks import Block, HookPoints
from vxdist.model.runners import Rows
from vxdist.model.running import Running

__all__ = ["Handle", "Rows", "See", "watch"]

See = Callable[[Block, torch.Tensor, Rows | None], torch.Tensor | None]
"""Called with each activation when it is computed: block, activation, rows.

The last dimension is the block's neurons, or the units of an expert. The rows of a dense block are
all tokens (None), those of experts sorted by expert. What is returned, if anything, replaces the
activation.
"""


class Handle(Protocol):
    """What undoes a hook."""

    def remove(self) -> None:
        """Undo it."""


def watch(hook_points: HookPoints, see: See) -> list[Handle]:
    """Call `see` on every activation of all later forward passes; returns handles to undo this."""
    handles: list[Handle] = []
    for block in hook_points.blocks:
        if block.runner is not None:
            handles.append(Running(block.runner))
        handles.append(block.activation.register_forward_hook(_hook(block, see)))
    return handles


def _hook(block: Block, see: See) -> Any:
    def hook(_: nn.Module, __: Any, activation: torch.Tensor) -> torch.Tensor | None:
        rows = None if block.runner is None else block.runner.rows
        if block.num_experts and rows is None:
            raise UserError(
                f"model.path: the experts of {block.name} ran in another way than vxdist runs "
                "them, so that it cannot tell which expert's neurons it sees"
            )
        return see(block, activation, rows)

    return hook
