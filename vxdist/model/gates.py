"""What experts do between their two projections, split where the activations are.

transformers computes it in one function of the module, `_apply_gate`, which may clamp, compute in
float32, or hold the activation function itself. Each form below computes the same in three steps,
so that the second is a module that a hook can watch. Which form a module has is not looked up but
tried out: it is the first that gives what `_apply_gate` gives, bit for bit.

S: row, one for each token and each of its experts; U: unit of an expert; P: output of the first
projection, gate and up.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

Step = Callable[[torch.Tensor], torch.Tensor]
Projected = Any
"""What the first projection gives: gate and up in one tensor, or a pair of them."""

LARGEST = 40.0
"""Inputs tried lie between plus and minus this, far beyond any clamp in use."""
TRIED_ROWS = 8


@dataclass(frozen=True, kw_only=True)
class Gate:
    """`after(activation(before(projected_SP)), projected_SP)` is what the down projection reads."""

    before: Callable[[Projected], torch.Tensor]
    activation: nn.Module
    after: Callable[[torch.Tensor, Projected], torch.Tensor]

    def __call__(self, projected_SP: Projected) -> torch.Tensor:
        """All three steps."""
        return self.after(self.activation(self.before(projected_SP)), projected_SP)


class SigmoidGLU(nn.Module):
    """x * sigmoid(alpha * x): of gpt-oss, where alpha is 1.702."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self._alpha = alpha

    def forward(self, gate_SU: torch.Tensor) -> torch.Tensor:
        """The activation of each unit."""
        return gate_SU * torch.sigmoid(gate_SU * self._alpha)


def find_gate(experts: Any) -> Gate | None:
    """The form that computes what these experts do; None if there is none.

    Reads no weights, which may be on the meta device.
    """
    if not getattr(experts, "has_gate", True):
        return Gate(before=_same, activation=_module_of(experts.act_fn), after=_only)
    own = getattr(experts, "_apply_gate", None)
    if own is None:
        return None
    return next((gate for gate in _forms(experts) if _is_equal(gate, own)), None)


def _forms(experts: Any) -> Iterator[Gate]:
    """Every form that the attributes of a module allow."""
    for form in FORMS.values():
        try:
            yield form(experts)
        except AttributeError:
            continue


@torch.no_grad()
def _is_equal(gate: Gate, own: Step) -> bool:
    random = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16):
        # The number of units is of no importance: each is computed from its own gate and up.
        projected_SP = torch.empty(TRIED_ROWS, 512).uniform_(-LARGEST, LARGEST, generator=random)
        projected_SP = projected_SP.to(dtype)
        try:
            expected_SU, found_SU = own(projected_SP), gate(projected_SP)
        except (RuntimeError, TypeError, AttributeError):
            return False
        if expected_SU.dtype != found_SU.dtype or not torch.equal(expected_SU, found_SU):
            return False
    return True


def _plain(experts: Any) -> Gate:
    return Gate(before=_gate, activation=_module_of(experts.act_fn), after=_times_up)


def _in_float32(experts: Any) -> Gate:
    return Gate(
        before=lambda projected_SP: _gate(projected_SP).float(),
        activation=_module_of(experts.act_fn),
        after=lambda active_SU, projected_SP: (active_SU * _up(projected_SP).float()).to(
            projected_SP.dtype
        ),
    )


def _clamped(experts: Any) -> Gate:
    limit = _limit(experts)
    return Gate(
        before=lambda projected_SP: _gate(projected_SP).clamp(max=limit),
        activation=_module_of(getattr(experts, "act_fn", F.silu)),
        after=lambda active_SU, projected_SP: active_SU * _up(projected_SP).clamp(-limit, limit),
    )


def _clamped_glu(experts: Any, interleaved: bool) -> Gate:
    limit = _limit(experts)
    gate, up = (_even, _odd) if interleaved else (_gate, _up)
    return Gate(
        before=lambda projected_SP: gate(projected_SP).clamp(max=limit),
        activation=SigmoidGLU(_alpha(experts)),
        after=lambda active_SU, projected_SP: (
            (up(projected_SP).clamp(-limit, limit) + 1) * active_SU
        ),
    )


FORMS: dict[str, Callable[[Any], Gate]] = {
    "plain": _plain,
    "in float32": _in_float32,  # Beam
    "clamped": _clamped,  # DeepSeek-V4, GLM-5 Next, Hunyuan V4
    "clamped GLU": functools.partial(_clamped_glu, interleaved=False),  # MiniMax M3
    "clamped GLU, interleaved": functools.partial(_clamped_glu, interleaved=True),  # gpt-oss
}
"""By name, what makes the form of a module, which must have what it needs (else AttributeError)."""


def silu_of_pair(_: Any) -> Gate:
    """silu(gate) * up, of two projections (LFM2)."""
    return Gate(
        before=lambda pair: pair[0],
        activation=nn.SiLU(),
        after=lambda active_SU, pair: active_SU * pair[1],
    )


def _limit(experts: Any) -> float:
    return float(experts.swiglu_limit if hasattr(experts, "swiglu_limit") else experts.limit)


def _alpha(experts: Any) -> float:
    return float(experts.swiglu_alpha if hasattr(experts, "swiglu_alpha") else experts.alpha)


def _module_of(function: Any) -> nn.Module:
    """A function as a module; one that is a module already is itself."""
    if isinstance(function, nn.Module):
        return function
    return nn.SiLU() if function is F.silu else Function(function)


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Step) -> None:
        super().__init__()
        self._function = function

    def forward(self, gate_SU: torch.Tensor) -> torch.Tensor:
        """What the function makes of it."""
        return self._function(gate_SU)


def _same(projected_SU: torch.Tensor) -> torch.Tensor:
    return projected_SU


def _only(active_SU: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return active_SU


def _gate(projected_SP: torch.Tensor) -> torch.Tensor:
    return projected_SP.chunk(2, dim=-1)[0]


def _up(projected_SP: torch.Tensor) -> torch.Tensor:
    return projected_SP.chunk(2, dim=-1)[1]


def _even(projected_SP: torch.Tensor) -> torch.Tensor:
    return projected_SP[..., ::2]


def _odd(projected_SP: torch.Tensor) -> torch.Tensor:
    return projected_SP[..., 1::2]


def _times_up(active_SU: torch.Tensor, projected_SP: torch.Tensor) -> torch.Tensor:
    return active_SU * _up(projected_SP)
