"""Ablating neurons: replacing their activations, by hooks on the activation functions.

N: neuron ablated, L: layer; of experts, S: row, R: row of a piece, E: expert, U: unit.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vxdist.hooks.attach import Rows, watch
from vxdist.hooks.interventions import Affine
from vxdist.model.blocks import Block, HookPoints

Neurons = Mapping[int, NDArray[np.integer[Any]]]
"""Numbers of neurons, by layer."""
Numbers = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Scale and shift of each neuron."""


class Ablation:
    """Replaces chosen neurons' activations h by scale * h + shift in every forward pass."""

    def __init__(self, hook_points: HookPoints, device: torch.device) -> None:
        self._hook_points = hook_points
        self._device = device
        self._maps: dict[Block, _Map | _ExpertMap] = {}
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
        for layer, of_layer in neurons.items():
            number_N = np.asarray(of_layer)
            for block, expert, at_N, unit_N in self._hook_points.place(layer, number_N):
                numbers = _numbers(affine, layer, number_N[at_N])
                if not block.num_experts:
                    self._maps[block] = _Map(unit_N, numbers, self._device)
                    continue
                if block not in self._maps:
                    self._maps[block] = _ExpertMap(block, self._device)
                of_experts = self._maps[block]
                assert isinstance(of_experts, _ExpertMap)
                of_experts.add(expert, unit_N, numbers)

    def _see(
        self, block: Block, activation: torch.Tensor, rows: Rows | None
    ) -> torch.Tensor | None:
        found = self._maps.get(block)
        return None if found is None else found.apply(activation, rows)


def _numbers(affine: Affine | None, layer: int, number_N: NDArray[np.integer[Any]]) -> Numbers:
    """Scale and shift of each neuron."""
    if affine is None:
        zero_N = np.zeros(number_N.shape, dtype=np.float32)
        return zero_N, zero_N
    return affine.scale_LN[layer, number_N], affine.shift_LN[layer, number_N]


class _Map:
    """The affine map of some units of a dense block."""

    def __init__(
        self, unit_N: NDArray[np.integer[Any]], numbers: Numbers, device: torch.device
    ) -> None:
        scale_N, shift_N = numbers
        self._units_N = torch.as_tensor(unit_N, device=device)
        self._scale_N = torch.as_tensor(scale_N, device=device)
        self._shift_N = torch.as_tensor(shift_N, device=device)
        self._replaces = not scale_N.any()

    def apply(self, activation: torch.Tensor, _: Rows | None = None) -> torch.Tensor:
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


PIECE = {"cpu": 2**21, "cuda": 2**25}
"""Numbers that the maps of experts are spread over at once, by device: in the cache of a CPU, and
on a GPU so many that launching takes no time."""


class _ExpertMap:
    """The affine maps of some units of some experts of one block."""

    def __init__(self, block: Block, device: torch.device) -> None:
        shape = (block.num_experts, block.num_units)
        self._scale_EU = torch.ones(shape, device=device)
        self._shift_EU = torch.zeros(shape, device=device)
        self._mapped_EU = torch.zeros(shape, dtype=torch.bool, device=device)
        self._replaces = True

    def add(self, expert: int, unit_N: NDArray[np.integer[Any]], numbers: Numbers) -> None:
        """Map these units of an expert."""
        scale_N, shift_N = (torch.as_tensor(of_N) for of_N in numbers)
        units_N = torch.as_tensor(unit_N, device=self._mapped_EU.device)
        self._scale_EU[expert, units_N] = scale_N.to(units_N.device)
        self._shift_EU[expert, units_N] = shift_N.to(units_N.device)
        self._mapped_EU[expert, units_N] = True
        self._replaces &= not bool(scale_N.any())

    def apply(self, activation: torch.Tensor, rows: Rows | None) -> torch.Tensor:
        """A copy of the activation, mapped at each row's expert's units."""
        assert rows is not None
        self._follow(activation.device)
        activation_SU = activation.reshape(-1, activation.shape[-1])
        size = PIECE.get(activation.device.type, PIECE["cuda"])
        step = max(1, size // activation_SU.shape[1])
        pieces = [
            self._apply(of_RU, expert_R)
            for of_RU, expert_R in zip(
                activation_SU.split(step), rows.expert_S.split(step), strict=True
            )
        ]
        return torch.cat(pieces).reshape(activation.shape)

    def _apply(self, activation_RU: torch.Tensor, expert_R: torch.Tensor) -> torch.Tensor:
        mapped_RU = self._mapped_EU[expert_R]
        shift_RU = self._shift_EU.to(activation_RU.dtype)[expert_R]
        if self._replaces:
            return torch.where(mapped_RU, shift_RU, activation_RU)
        # See `_Map.apply`.
        scale_RU = self._scale_EU[expert_R]
        wide = torch.promote_types(activation_RU.dtype, torch.float32)
        moved_RU = activation_RU.to(wide) * scale_RU + self._shift_EU[expert_R]
        replaced_RU = torch.where(scale_RU == 0, shift_RU, moved_RU.to(activation_RU.dtype))
        return torch.where(mapped_RU, replaced_RU, activation_RU)

    def _follow(self, device: torch.device) -> None:
        if self._mapped_EU.device != device:
            self._scale_EU, self._shift_EU, self._mapped_EU = (
                of_EU.to(device) for of_EU in (self._scale_EU, self._shift_EU, self._mapped_EU)
            )
