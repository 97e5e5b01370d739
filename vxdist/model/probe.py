"""Watching or masking the neurons of a model, by hooks on its activation functions.

T: token of a batch (rows of all stories, flattened), N: neuron, L: layer.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.hooks import RemovableHandle

from vxdist.errors import UserError
from vxdist.model.sites import Sites


class Counter:
    """Sums, over counted tokens, of active, activation and its square, for every neuron.

    It only watches: its hooks return nothing, so the model's outputs keep every bit.
    """

    def __init__(self, sites: Sites, device: torch.device) -> None:
        shape = (sites.num_layers, sites.num_neurons)
        self._active_LN = torch.zeros(shape, dtype=torch.int64, device=device)
        self._sum_LN = torch.zeros(shape, dtype=torch.float64, device=device)
        self._square_LN = torch.zeros(shape, dtype=torch.float64, device=device)
        self._rows: torch.Tensor | None = None
        self._work: torch.Tensor | None = None
        self._handles = [
            module.register_forward_hook(self._hook(layer))
            for layer, module in enumerate(sites.activations)
        ]

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def count_rows(self, rows_T: torch.Tensor | None) -> None:
        """Set which rows of the next forward pass count; None counts nothing."""
        self._rows = rows_T

    def _hook(self, layer: int) -> Any:
        def hook(_: nn.Module, __: Any, activation: torch.Tensor) -> None:
            if self._rows is None:
                return
            activation_TN = activation.detach().reshape(-1, activation.shape[-1])
            if len(self._rows) < len(activation_TN):
                activation_TN = activation_TN.index_select(0, self._rows)
            activation_TN = activation_TN.float()
            work_TN = self._work_like(activation_TN)
            # A float32 sum of ones is exact up to 2^24 tokens a batch, and quicker than a bool's.
            self._active_LN[layer] += torch.gt(activation_TN, 0, out=work_TN).sum(0).long()
            self._sum_LN[layer] += activation_TN.sum(0)
            self._square_LN[layer] += torch.square(activation_TN, out=work_TN).sum(0)

        return hook

    def _work_like(self, activation_TN: torch.Tensor) -> torch.Tensor:
        """Room for one intermediate result, kept from layer to layer: fresh memory is slow."""
        if self._work is None or len(self._work) < len(activation_TN):
            self._work = torch.empty_like(activation_TN)
        return self._work[: len(activation_TN)]

    def take(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """(active count, sum, sum of squares), each (layer, neuron), and start again from zero.

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
        taken = (
            self._active_LN.cpu().numpy().copy(),
            self._sum_LN.cpu().numpy().copy(),
            self._square_LN.cpu().numpy().copy(),
        )
        self.clear()
        return taken

    def clear(self) -> None:
        """Forget what was counted since the last `take`."""
        for total_LN in (self._active_LN, self._sum_LN, self._square_LN):
            total_LN.zero_()


class Mask:
    """Sets chosen neurons' activations to zero in every forward pass."""

    def __init__(self, sites: Sites, device: torch.device) -> None:
        self._device = device
        self._off: dict[int, torch.Tensor] = {}
        self._handles: list[RemovableHandle] = [
            module.register_forward_hook(self._hook(layer))
            for layer, module in enumerate(sites.activations)
        ]

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def switch_off(self, neurons: Mapping[int, NDArray[np.integer[Any]]]) -> None:
        """From now on zero these neurons: layer -> neuron numbers. An empty mapping zeroes none."""
        self._off = {
            layer: torch.as_tensor(np.asarray(numbers), device=self._device)
            for layer, numbers in neurons.items()
            if len(numbers)
        }

    def _hook(self, layer: int) -> Any:
        def hook(_: nn.Module, __: Any, activation: torch.Tensor) -> torch.Tensor | None:
            off_N = self._off.get(layer)
            return None if off_N is None else activation.index_fill(-1, off_N, 0)

        return hook
