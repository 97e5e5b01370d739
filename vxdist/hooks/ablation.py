"""Ablating neurons: replacing their activations, by hooks on the activation functions.

N: neuron.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vxdist.hooks.attach import watch
from vxdist.model.hook_points import HookPoints


class Ablation:
    """Sets chosen neurons' activations to zero in every forward pass."""

    def __init__(self, hook_points: HookPoints, device: torch.device) -> None:
        self._hook_points = hook_points
        self._device = device
        self._ablated: dict[tuple[int, int], torch.Tensor] = {}
        self._handles = watch(hook_points, self._see)

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def ablate(self, neurons: Mapping[int, NDArray[np.integer[Any]]]) -> None:
        """From now on zero these neurons: layer -> neuron numbers. An empty mapping zeroes none."""
        self._ablated = {}
        for layer, numbers in neurons.items():
            expert_N, unit_N = np.divmod(np.asarray(numbers), self._hook_points.num_units)
            for expert in np.unique(expert_N):
                units_N = torch.as_tensor(unit_N[expert_N == expert], device=self._device)
                self._ablated[layer, int(expert)] = units_N

    def _see(
        self, layer: int, activation: torch.Tensor, expert: int, _: torch.Tensor | None
    ) -> torch.Tensor | None:
        off_N = self._ablated.get((layer, expert))
        return None if off_N is None else activation.index_fill(-1, off_N, 0)
