"""Ablating neurons: replacing their activations, by hooks on the activation functions.

N: neuron ablated, L: layer.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vxdist.hooks.attach import watch
from vxdist.hooks.interventions import Affine
from vxdist.model.blocks import Block, HookPoints

Neurons = Mapping[int, NDArray[np.integer[Any]]]
"""Numbers of neurons, by layer."""


class Ablation:
    """Replaces chosen neurons' activations h by scale * h + shift in every forward pass."""

    def __init__(self, hook_points: HookPoints, device: torch.device) -> None:
        self._hook_points = hook_points
        self._device = device
        self._maps: dict[tuple[Block, int], _Map] = {}
        self._handles = watch(hook_points, self._see)

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def ablate(self, neurons: Neurons, affine: Affine | None = None) -> None:
        """From now on replace these neurons' activations, and no others.

        None, as `affine`, is zero ablation. An empty mapping ablates no neuron. Raises ValueError
        if a neuron does not exist.
        """
        self._maps = {}
        for layer, numbers in neurons.items():
            number_N = np.asarray(numbers)
            for block, expert, at_N, unit_N in self._hook_points.place(layer, number_N):
                rows = _rows(affine, layer, number_N[at_N])
                self._maps[block, expert] = _Map(unit_N, rows, self._device)

    def _see(
        self, block: Block, activation: torch.Tensor, expert: int, _: torch.Tensor | None
    ) -> torch.Tensor | None:
        found = self._maps.get((block, expert))
        return None if found is None else found.apply(activation)


def _rows(
    affine: Affine | None, layer: int, number_N: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if affine is None:
        zero_N = np.zeros(number_N.shape, dtype=np.float32)
        return zero_N, zero_N
    return affine.scale_LN[layer, number_N], affine.shift_LN[layer, number_N]


class _Map:
    """The affine map of some units of one block."""

    def __init__(
        self,
        unit_N: NDArray[np.integer[Any]],
        rows: tuple[NDArray[np.float32], NDArray[np.float32]],
        device: torch.device,
    ) -> None:
        scale_N, shift_N = rows
        self._units_N = torch.as_tensor(unit_N, device=device)
        self._scale_N = torch.as_tensor(scale_N, device=device)
        self._shift_N = torch.as_tensor(shift_N, device=device)
        self._replaces = not scale_N.any()

    def apply(self, activation: torch.Tensor) -> torch.Tensor:
        """A copy of the activation, its last dimension mapped at the ablated units."""
        self._follow(activation.device)
        shift_N = self._shift_N.to(activation.dtype)
        if self._replaces:
            # Not a product, which would keep a NaN or an infinity.
            mapped = shift_N.expand(*activation.shape[:-1], -1)
        else:
            # In 32 bits at least: 16 would round a dose, and each step on the way.
            wide = torch.promote_types(activation.dtype, torch.float32)
            kept = activation.index_select(-1, self._units_N).to(wide)
            moved = (kept * self._scale_N + self._shift_N).to(activation.dtype)
            mapped = torch.where(self._scale_N == 0, shift_N, moved)
        return activation.index_copy(-1, self._units_N, mapped)

    def _follow(self, device: torch.device) -> None:
        """Keep the map where the layer is: a model may be spread over several devices."""
        if self._units_N.device != device:
            self._units_N, self._scale_N, self._shift_N = (
                tensor.to(device) for tensor in (self._units_N, self._scale_N, self._shift_N)
            )
