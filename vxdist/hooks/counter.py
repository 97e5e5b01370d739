"""Watching or masking the neurons of a model, by hooks on its activation functions.

B: text, T: token of a batch (rows of all texts, flattened), S: row of one call, N: neuron,
L: layer, E: expert.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vxdist.errors import UserError
from vxdist.hooks.attach import watch
from vxdist.hooks.kernel import accumulate
from vxdist.model.hook_points import HookPoints


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a counter saw since it was last asked. `routed_LE` counts tokens; None if dense."""

    active_LN: NDArray[np.int64]
    sum_LN: NDArray[np.float64]
    square_LN: NDArray[np.float64]
    routed_LE: NDArray[np.int64] | None


class Counter:
    """Sums, over counted tokens, of active, activation and its square, for every neuron.

    It only watches: its hooks return nothing, so the model's outputs keep every bit.
    """

    def __init__(self, hook_points: HookPoints, device: torch.device) -> None:
        shape = (hook_points.num_layers, hook_points.num_neurons)
        self._hook_points = hook_points
        self._active_LN = torch.zeros(shape, dtype=torch.int64, device=device)
        self._sum_LN = torch.zeros(shape, dtype=torch.float64, device=device)
        self._square_LN = torch.zeros(shape, dtype=torch.float64, device=device)
        experts = (hook_points.num_layers, hook_points.num_experts)
        self._routed_LE = torch.zeros(experts, dtype=torch.int64, device=device)
        self._counted_T: torch.Tensor | None = None
        self._handles = watch(hook_points, self._see)

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def count(self, counted_BT: torch.Tensor | None) -> None:
        """Set which tokens of the next forward passes count (bool); None counts nothing."""
        self._counted_T = None if counted_BT is None else counted_BT.reshape(-1)

    def _see(
        self, layer: int, activation: torch.Tensor, expert: int, token_S: torch.Tensor | None
    ) -> None:
        counted_S = self._counted_T
        if counted_S is None:
            return
        if token_S is not None:
            counted_S = counted_S[token_S]
            self._routed_LE[layer, expert] += counted_S.sum()
        of = self._hook_points.neurons_of(expert)
        accumulate(
            activation.detach().reshape(-1, activation.shape[-1]),
            counted_S,
            self._active_LN[layer, of],
            self._sum_LN[layer, of],
            self._square_LN[layer, of],
        )

    def take(self) -> Counts:
        """What was counted since the last time; then start again from zero.

        Raises UserError, naming the layer, if an activation was not finite.
        """
        finite_L = torch.isfinite(self._square_LN).all(1) & torch.isfinite(self._sum_LN).all(1)
        if not bool(finite_L.all()):
            layer = int(torch.argmin(finite_L.int()))
            self.clear()
            raise UserError(
                f"layer {layer}: an activation is not finite (NaN or infinite), so nothing of "
                "this part is recorded; try model.dtype float32, or check the weights"
            )
        taken = Counts(
            active_LN=self._active_LN.cpu().numpy().copy(),
            sum_LN=self._sum_LN.cpu().numpy().copy(),
            square_LN=self._square_LN.cpu().numpy().copy(),
            routed_LE=self._routed_LE.cpu().numpy().copy()
            if self._hook_points.num_experts
            else None,
        )
        self.clear()
        return taken

    def clear(self) -> None:
        """Forget what was counted since the last `take`."""
        for total in (self._active_LN, self._sum_LN, self._square_LN, self._routed_LE):
            total.zero_()
