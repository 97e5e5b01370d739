"""Hooks on the activation functions, which know which expert runs on which tokens.

T: token of a batch (rows of all texts, flattened), S: row of one call of an activation function,
K: expert of a token, N: neuron of a dense block, or unit of an expert.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from vxdist.errors import UserError
from vxdist.model.blocks import Block, HookPoints

See = Callable[[Block, torch.Tensor, int, torch.Tensor | None], torch.Tensor | None]
"""Called with each activation when it is computed: block, activation, expert, tokens of its rows.

The last dimension is the expert's neurons. A dense block is expert 0, and its rows are all tokens
(None). What is returned, if anything, replaces the activation.
"""


def watch(hook_points: HookPoints, see: See) -> list[RemovableHandle]:
    """Call `see` on every activation of all later forward passes; returns handles to undo this."""
    handles: list[RemovableHandle] = []
    for block in hook_points.blocks:
        if block.num_experts:
            routing = _Routing(block)
            handles.append(block.output.register_forward_pre_hook(routing.begin))
            handles.append(block.activation.register_forward_hook(_of_expert(block, see, routing)))
        else:
            handles.append(block.activation.register_forward_hook(_of_dense(block, see)))
    return handles


def _of_dense(block: Block, see: See) -> Any:
    def hook(_: nn.Module, __: Any, activation: torch.Tensor) -> torch.Tensor | None:
        return see(block, activation, 0, None)

    return hook


def _of_expert(block: Block, see: See, routing: "_Routing") -> Any:
    def hook(_: nn.Module, __: Any, activation_SN: torch.Tensor) -> torch.Tensor | None:
        expert, token_S = routing.next(len(activation_SN))
        return see(block, activation_SN, expert, token_S)

    return hook


class _Routing:
    """Expert and tokens of each call of one block's activation function.

    The eager experts of transformers run one after the other, only those in use. The tokens of an
    expert are ordered by its rank among the experts of a token, then by token.
    """

    def __init__(self, block: Block) -> None:
        self._layer = block.layer
        self._num_experts = block.num_experts
        self._calls: Iterator[tuple[int, torch.Tensor]] = iter(())

    def begin(self, _: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        """Before the experts run, on (hidden states, experts of each token, their weights)."""
        expert_TK = args[1]
        expert_KT = expert_TK.T.reshape(-1)
        token_KT = torch.argsort(expert_KT, stable=True) % len(expert_TK)
        counts = torch.bincount(expert_KT, minlength=self._num_experts).tolist()
        tokens = token_KT.split(counts)
        self._calls = iter([(e, token_S) for e, token_S in enumerate(tokens) if len(token_S)])

    def next(self, rows: int) -> tuple[int, torch.Tensor]:
        """Expert and tokens of the next call. Raises UserError if they do not match its rows."""
        expert, token_S = next(self._calls, (-1, None))
        if token_S is None or len(token_S) != rows:
            raise UserError(
                f"model.path: the experts of layer {self._layer} do not run one by one on the "
                "tokens routed to them, so vxdist cannot tell which expert's neurons it sees"
            )
        return expert, token_S
