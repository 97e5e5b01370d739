"""Watching or masking the neurons of a model, by hooks on its activation functions.

B: text, T: token of a batch (rows of all texts, flattened), S: row of one call, N: neuron,
L: layer, E: routed expert of a layer, U: unit of an expert.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vxdist.errors import UserError
from vxdist.hooks.attach import Handle, Rows, watch
from vxdist.hooks.attach_compiled import Counted, watch_compiled
from vxdist.hooks.kernel import Measured, accumulate, accumulate_experts, accumulate_measured
from vxdist.hooks.measures import find_measure
from vxdist.model.blocks import Block, HookPoints
from vxstore.statistics import DEFAULT, STATISTICS, Statistic

DEFAULT_ROWS = tuple(STATISTICS[name] for name in DEFAULT)
"""What one pass over the activations sums, whether or not it is asked for."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a counter saw since it was last asked."""

    statistics: Mapping[str, NDArray[Any]]
    """By name, each (layer, neuron), in the type of its total; of neurons that do not exist, what
    no token gives."""
    routed_LE: NDArray[np.int64] | None
    """Counted tokens that each expert was given, 0 for one that does not exist; None if the model
    is dense."""


class Counter:
    """Statistics, over counted tokens, of every neuron's activation.

    It only watches: its hooks return nothing, so the model's outputs keep every bit. With
    `compiled` they are hooks that torch can compile, of a dense model.
    """

    def __init__(
        self,
        hook_points: HookPoints,
        device: torch.device,
        statistics: Sequence[Statistic] = DEFAULT_ROWS,
        *,
        compiled: bool = False,
    ) -> None:
        shape = (hook_points.num_layers, hook_points.num_neurons)
        self._hook_points = hook_points
        self._statistics = tuple(statistics)
        self._rows = _accumulated(statistics)
        self._totals = {
            name: torch.empty(shape, dtype=getattr(torch, row.total_dtype), device=device)
            for name, row in self._rows.items()
        }
        self._measures = {name: find_measure(name) for name in self._rows if name not in DEFAULT}
        experts = (hook_points.num_layers, hook_points.num_experts)
        self._routed_LE = torch.empty(experts, dtype=torch.int64, device=device)
        self.counted = Counted()
        self.clear()
        self._compiled = compiled
        self._handles: Sequence[Handle] = ()
        self.attach()

    def attach(self) -> None:
        """Put the hooks on, as they are at first."""
        self._handles = (
            watch_compiled(self._hook_points, self.counted, self._totals)
            if self._compiled
            else watch(self._hook_points, self._see)
        )

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def count(self, counted_BT: torch.Tensor | None) -> None:
        """Set which tokens of the next forward passes count (bool); None counts nothing."""
        # A copy: see `CompiledDecoder`.
        self.counted.tokens_T = None if counted_BT is None else counted_BT.reshape(-1).clone()

    def _see(self, block: Block, activation: torch.Tensor, rows: Rows | None) -> None:
        counted_T = self.counted.tokens_T
        if counted_T is None:
            return
        activation_SN = activation.detach().reshape(-1, activation.shape[-1])
        if rows is None:
            of = block.neurons_of(0)
            active_N, sum_N, square_N = (self._totals[name][block.layer, of] for name in DEFAULT)
            accumulate(activation_SN, counted_T, active_N, sum_N, square_N)
            self._measure(block, 0, activation_SN, counted_T)
        else:
            self._see_experts(block, activation_SN, rows, counted_T)

    def _see_experts(
        self, block: Block, activation_SU: torch.Tensor, rows: Rows, counted_T: torch.Tensor
    ) -> None:
        counted_S = counted_T[rows.token_S]
        if rows.given_S is not None:
            counted_S = counted_S & rows.given_S
        experts = slice(block.first_expert, block.first_expert + block.num_experts)
        self._routed_LE[block.layer, experts].index_add_(0, rows.expert_S, counted_S.long())
        active_EU, sum_EU, square_EU = (
            self._totals[name][block.layer, block.all_neurons].view(-1, block.num_units)
            for name in DEFAULT
        )
        accumulate_experts(activation_SU, counted_S, rows.end_E, active_EU, sum_EU, square_EU)
        if self._measures:
            for expert, of in rows.slices():
                self._measure(block, expert, activation_SU[of], counted_S[of])

    def _measure(
        self, block: Block, expert: int, activation_SN: torch.Tensor, counted_S: torch.Tensor
    ) -> None:
        """Statistics besides the default ones."""
        if not self._measures:
            return
        at = (block.layer, block.neurons_of(expert))
        further = [
            Measured(measure, self._rows[name].combine, self._totals[name][at])
            for name, measure in self._measures.items()
        ]
        accumulate_measured(activation_SN, counted_S, further)

    def take(self) -> Counts:
        """What was counted since the last time; then start again from nothing.

        Raises UserError, naming the layer, if an activation or a statistic was not finite.
        """
        try:
            self._require_finite()
            return Counts(
                statistics={
                    row.name: self._totals[row.name].cpu().numpy().copy()
                    for row in self._statistics
                },
                routed_LE=self._routed_LE.cpu().numpy().copy()
                if self._hook_points.num_experts
                else None,
            )
        finally:
            self.clear()

    def _require_finite(self) -> None:
        """Law 8."""
        finite_L = torch.stack([self._is_finite(name) for name in DEFAULT]).all(dim=0)
        if not bool(finite_L.all()):
            raise UserError(
                f"layer {_first(~finite_L)}: an activation is not finite (NaN or infinite), so "
                "nothing of this part is recorded; try model.dtype float32, or check the weights"
            )
        for name in self._measures:
            finite_L = self._is_finite(name)
            if not bool(finite_L.all()):
                raise UserError(
                    f"layer {_first(~finite_L)}: {name} is not finite (NaN or infinite), though "
                    "every activation is, so nothing of this part is recorded; leave it out of "
                    "locate.statistics"
                )

    def _is_finite(self, name: str) -> torch.Tensor:
        """Which layers of a total are, (layer,)."""
        total_LN = self._totals[name]
        finite_LN = torch.isfinite(total_LN)
        if self._rows[name].combine == "max":
            finite_LN |= torch.isneginf(total_LN)  # of neurons that were given no counted row
        return finite_LN.all(dim=1)

    def clear(self) -> None:
        """Forget what was counted since the last `take`."""
        for name, total_LN in self._totals.items():
            total_LN.fill_(self._rows[name].law.empty)
        self._routed_LE.zero_()


def _first(is_bad_L: torch.Tensor) -> int:
    return int(torch.argmax(is_bad_L.int()))


def neuron_bytes(statistics: Sequence[Statistic]) -> int:
    """Bytes that a counter of these statistics keeps for every neuron."""
    rows = _accumulated(statistics).values()
    return sum(np.dtype(row.total_dtype).itemsize for row in rows)


def _accumulated(statistics: Sequence[Statistic]) -> dict[str, Statistic]:
    """By name: the default ones, and those asked for."""
    return {row.name: row for row in (*DEFAULT_ROWS, *statistics)}
