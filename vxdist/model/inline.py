"""Dense blocks that have their activation function in their code, and no module of it.

S: row, D: hidden size.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from vxdist.model.gates import FORMS, LARGEST, Gate, silu_of_pair
from vxdist.model.runners import OfModule


class InlineBlock(OfModule):
    """A dense block that has its activation function in its code."""

    def __init__(self, module: Any, gate: Gate, first: Sequence[str], down: str) -> None:
        super().__init__(module)
        self.activation = gate.activation
        self._gate, self._first, self._down = gate, first, down

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """The block's output for hidden states of any shape (..., D)."""
        module = self.module
        projected = [getattr(module, name)(hidden) for name in self._first]
        gated = self._gate(projected[0] if len(projected) == 1 else projected)
        output: torch.Tensor = getattr(module, self._down)(gated)
        return output


INLINE: dict[tuple[tuple[str, ...], str], Callable[[Any], Gate]] = {
    (("w1", "w3"), "w2"): silu_of_pair,
    (("gate_up_proj",), "down_proj"): FORMS["clamped GLU"],
}
"""Names of a dense block's projections, first and last, and the form that it may have."""


def find_inline(module: Any) -> InlineBlock | None:
    """What runs a dense block; None if none of the forms gives, on random numbers, what its own
    code gives."""
    for (first, down), form in INLINE.items():
        if all(isinstance(getattr(module, name, None), nn.Module) for name in (*first, down)):
            try:
                found = InlineBlock(module, form(module), first, down)
            except AttributeError:
                continue
            if _is_same(found, form, first, down):
                return found
    return None


class _Small:
    """A block with small projections, and else what the module has."""

    def __init__(self, module: Any, first: Sequence[str], down: str) -> None:
        random = torch.Generator().manual_seed(0)
        self._whole = module
        for name in (*first, down):
            width = 16 if len(first) == 1 and name == first[0] else 8
            weight_DP = torch.randn(8, width, generator=random)
            setattr(self, name, lambda hidden, weight_DP=weight_DP: hidden @ weight_DP)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)


@torch.no_grad()
def _is_same(
    block: InlineBlock, form: Callable[[Any], Gate], first: Sequence[str], down: str
) -> bool:
    """Whether the runner computes, with small projections, what the module's own code does."""
    small = _Small(block.module, first, down)
    random = torch.Generator().manual_seed(1)
    hidden_SD = torch.empty(64, 8).uniform_(-LARGEST, LARGEST, generator=random)
    try:
        expected_SD = type(block.module).forward(small, hidden_SD)
    except (RuntimeError, TypeError, AttributeError):
        return False
    return torch.equal(expected_SD, InlineBlock(small, form(small), first, down)(hidden_SD))
