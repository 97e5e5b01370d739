"""Forward functions that run in place of a module's own while its neurons are watched.

They compute the same, and call a module, whose output hooks see, for the activations: of a block
whose activation function is no module, and of experts, all at once and sorted by expert. The
experts follow transformers' `grouped_mm` step by step, so that they give the same bits.

T: token, K: expert of a token, S: row, one for each token and each of its experts; E: expert,
D: hidden size, U: unit of an expert, P: output of the first projection, gate and up.
"""

import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn
from transformers.integrations import moe

from vxdist.model.gates import Gate, find_gate


ALIGNED = 16
"""Bytes."""


class Rows(NamedTuple):
    """The rows of all experts' activations, sorted by expert."""

    token_S: torch.Tensor
    """Number of its token in the batch."""
    expert_S: torch.Tensor
    end_E: torch.Tensor
    """Number of rows of this expert and those before it, int32, on the rows' device."""
    given_S: torch.Tensor | None = None
    """Whether the token is routed to the expert; None if every row's is."""

    def slices(self) -> Iterator[tuple[int, slice]]:
        """The rows of each expert that has some. Waits for the device."""
        begin = 0
        for expert, end in enumerate(self.end_E.tolist()):
            if end > begin:
                yield expert, slice(begin, end)
            begin = end


class Runner(Protocol):
    """A forward function of a module, and where its activations are."""

    @property
    def module(self) -> Any:
        """The module."""

    activation: nn.Module
    transposed: bool
    """Whether rows, and not columns, of the down projection are the neurons."""
    rows: Rows | None
    """While experts' `activation` runs, the rows that it runs on."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the module's own forward function returns."""


class GroupedExperts:
    """Experts that are decorated with transformers' `use_experts_implementation`."""

    def __init__(self, module: Any, gate: Gate) -> None:
        self._module = weakref.ref(module)
        self.activation = gate.activation
        self.transposed = bool(getattr(module, "is_transposed", False))
        self.rows: Rows | None = None
        self._gate = gate

    @property
    def module(self) -> Any:
        """The module of all experts."""
        return self._module()

    def __call__(self, *args: torch.Tensor, **kwargs: torch.Tensor) -> torch.Tensor:
        """From hidden states (T, D), experts and weights (T, K) to the weighted sum (T, D)."""
        hidden_TD, expert_TK, weight_TK = (*args, *kwargs.values())
        module = self.module
        per_token = expert_TK.shape[-1]
        expert_S, order_S = torch.sort(expert_TK.reshape(-1))
        token_S = order_S // per_token
        number_E = torch.arange(module.num_experts, device=expert_S.device, dtype=expert_S.dtype)
        end_E = torch.searchsorted(expert_S, number_E, right=True, out_int32=True)
        first = "gate_up_proj" if getattr(module, "has_gate", True) else "up_proj"
        projected_SP = self._project(first, hidden_TD[token_S], expert_S, end_E)
        self.rows = Rows(token_S, expert_S, end_E)
        try:
            gated_SU = self._gate(projected_SP)
        finally:
            self.rows = None
        del projected_SP
        output_SD = self._project("down_proj", gated_SU, expert_S, end_E)
        weighted_SD = output_SD * weight_TK.reshape(-1)[order_S].unsqueeze(-1)
        back_S = torch.empty_like(order_S)
        back_S[order_S] = torch.arange(len(order_S), device=order_S.device)
        of_token_TKD = weighted_SD[back_S].view(len(hidden_TD), per_token, hidden_TD.shape[-1])
        return of_token_TKD.sum(dim=1).to(hidden_TD.dtype)

    def _project(
        self, name: str, input_SD: torch.Tensor, expert_S: torch.Tensor, end_E: torch.Tensor
    ) -> torch.Tensor:
        """A projection of this name, each row by its expert's weights."""
        weight_EPD = getattr(self.module, name)
        weight_EDP = weight_EPD if self.transposed else weight_EPD.transpose(-2, -1)
        found_SP = _multiply(input_SD, weight_EDP, end_E)
        if getattr(self.module, "has_bias", False):
            found_SP.add_(getattr(self.module, f"{name}_bias")[expert_S])
        return found_SP


def _multiply(
    input_SD: torch.Tensor, weight_EDP: torch.Tensor, end_E: torch.Tensor
) -> torch.Tensor:
    """The product of each row with the weights of its expert."""
    library: Any = moe
    # torch's product reads 16 bytes at once; a real model's rows begin at multiples of them.
    whole = all(
        n * input_SD.element_size() % ALIGNED == 0
        for n in (*input_SD.stride(), *weight_EDP.stride())
        if n != 1
    )
    multiply = library._grouped_mm if whole else torch.ops.transformers.grouped_mm_fallback
    found: torch.Tensor = multiply(input_SD.to(weight_EDP.dtype), weight_EDP, end_E)
    return found


def find_experts(module: Any) -> Runner | None:
    """What runs a module of experts; None if what they compute is not known."""
    if not hasattr(module, "down_proj") or getattr(module, "has_post_expert_norm", False):
        return None
    gate = find_gate(module)
    return None if gate is None else GroupedExperts(module, gate)


_runners: "weakref.WeakKeyDictionary[nn.Module, Runner | None]" = weakref.WeakKeyDictionary()


def runner_of(module: nn.Module) -> Runner | None:
    """The runner of a module of experts, which stays the same as long as the module lives."""
    if module not in _runners:
        _runners[module] = find_experts(module)
    return _runners[module]


class Running:
    """A module's forward function is a runner's, until the last of these is removed."""

    def __init__(self, runner: Runner) -> None:
        self._own = vars(runner.module)
        # accelerate's forward, on an instance too, moves tensors and calls the module's own.
        self._name = "_old_forward" if "_old_forward" in self._own else "forward"
        before = self._own.get(self._name)
        if not isinstance(before, _Bound):
            before = self._own[self._name] = _Bound(runner, before)
        before.users += 1

    def remove(self) -> None:
        """Give the module its own back if nobody else needs the runner's."""
        bound = self._own[self._name]
        bound.users -= 1
        if bound.users:
            return
        if bound.before is None:
            del self._own[self._name]
        else:
            self._own[self._name] = bound.before


class _Bound:
    def __init__(self, runner: Runner, before: Any) -> None:
        self.before, self.users = before, 0
        self._runner = runner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._runner(*args, **kwargs)
