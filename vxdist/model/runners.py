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

from vxdist.errors import UserError
from vxdist.model.gates import Gate

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
    call: int = 0
    """Number of the call, of experts that run one after the other."""

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

    def rest(self, *args: torch.Tensor) -> torch.Tensor | None:
        """What the down projections give, of these inputs, with all neurons at zero; None if that
        is the same for every token."""


class OfModule:
    """What all runners have in common: they do not keep their module alive, which keeps them."""

    transposed = False
    rows: Rows | None = None

    def __init__(self, module: Any) -> None:
        self._module = weakref.ref(module)

    @property
    def module(self) -> Any:
        """The module that is run."""
        return self._module()

    def rest(self, *_: torch.Tensor) -> torch.Tensor | None:
        """None: there is no bias, or the same one for every token."""
        return None


class GroupedExperts(OfModule):
    """Experts that are decorated with transformers' `use_experts_implementation`."""

    def __init__(self, module: Any, gate: Gate) -> None:
        super().__init__(module)
        self.activation = gate.activation
        self.transposed = bool(getattr(module, "is_transposed", False))
        self._gate = gate

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

    def rest(self, *args: torch.Tensor) -> torch.Tensor | None:
        """The weighted biases of a token's experts (T, D)."""
        if not getattr(self.module, "has_bias", False):
            return None
        _, expert_TK, weight_TK = args
        bias_TKD: torch.Tensor = self.module.down_proj_bias[expert_TK]
        return (bias_TKD * weight_TK[..., None]).sum(1)

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


class EveryExpert(OfModule):
    """Experts that are all given all tokens, as zeros where they are not routed there (Llama 4).

    The model's own code runs as it is; its router is asked for the tokens of each expert. The
    module is the block around both.
    """

    transposed = True

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.activation: nn.Module = module.experts.act_fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the block's own forward function returns."""
        handle = self.module.router.register_forward_hook(self._note)
        try:
            return type(self.module).forward(self.module, *args, **kwargs)
        finally:
            handle.remove()
            self.rows = None

    def _note(self, _: nn.Module, __: Any, output: tuple[torch.Tensor, ...]) -> None:
        score_ET = output[0].detach().T
        experts, tokens = score_ET.shape
        number_E = torch.arange(experts, device=score_ET.device, dtype=torch.int32)
        self.rows = Rows(
            token_S=torch.arange(tokens, device=score_ET.device).repeat(experts),
            expert_S=number_E.long().repeat_interleave(tokens),
            end_E=(number_E + 1) * tokens,
            given_S=(score_ET > 0).reshape(-1),
        )


class InTurn(OfModule):
    """Experts whose own code runs those in use one after the other, in the order of their numbers.

    The tokens of an expert are ordered by its rank among the experts of a token, then by token.
    """

    def __init__(self, module: Any, activation: nn.Module) -> None:
        super().__init__(module)
        self.activation = activation
        self._calls: Iterator[Rows] = iter(())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What its own forward function returns."""
        _, expert_TK, _ = (*args, *kwargs.values())
        self._calls = self._plan(expert_TK)
        handle = self.activation.register_forward_pre_hook(self._next, prepend=True)
        try:
            return type(self.module).forward(self.module, *args, **kwargs)
        finally:
            handle.remove()
            self.rows = None

    def _plan(self, expert_TK: torch.Tensor) -> Iterator[Rows]:
        expert_S = expert_TK.T.reshape(-1)
        token_S = torch.argsort(expert_S, stable=True) % len(expert_TK)
        counts = torch.bincount(expert_S, minlength=self.module.num_experts)
        number_E = torch.arange(len(counts), device=expert_S.device)
        sizes = counts.tolist()
        in_use = [(e, of_S) for e, of_S in enumerate(token_S.split(sizes)) if len(of_S)]
        for call, (expert, of_S) in enumerate(in_use):
            end_E = (number_E >= expert).int() * len(of_S)
            yield Rows(of_S, torch.full_like(of_S, expert), end_E, call=call)

    def _next(self, _: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        self.rows = next(self._calls, None)
        if self.rows is None or len(self.rows.token_S) != len(args[0]):
            raise UserError(
                f"model.path: the experts of {type(self.module).__name__} do not run one by one on "
                "the tokens routed to them, so vxdist cannot tell whose neurons it sees"
            )
