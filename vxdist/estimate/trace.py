"""Memory of a decoder's activations, found by running it on torch's meta device.

There every operation yields a tensor's shape but no values, so a model of any size runs in a
second. The sizes of tensors alive at the same time are added up, so what is measured is the code
that will run. B: text, T: token.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributions import Distribution
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from vxdist.model.decoder import find_decoder, find_layers
from vxdist.model.hook_points import find_hook_points
from vxdist.model.runners import InTurn
from vxdist.model.running import run_always


def measure_activations(
    model: PreTrainedModel,
    dtype: torch.dtype,
    *,
    rows: int,
    width: int,
) -> int:
    """Peak bytes of activations in a forward pass of `rows` texts of `width` tokens.

    `model` is on the meta device. Texts are assumed to differ in length, so that attention needs a
    mask.
    """
    decoder = _prepare(model, dtype)
    token_ids_BT = torch.ones(rows, width, dtype=torch.int64, device="meta")
    mask_BT = torch.ones_like(token_ids_BT)
    live = LiveBytes()
    answers = _Answers()
    with torch.inference_mode(), answers, live, _distributions_unchecked():
        decoder(input_ids=token_ids_BT, attention_mask=mask_BT, use_cache=False)
    return live.peak


def measure_backward(
    model: PreTrainedModel,
    dtype: torch.dtype,
    *,
    rows: int,
    width: int,
    checkpointing: bool,
) -> int:
    """Peak bytes of activations in a forward and a backward pass, as `attribute` runs them.

    Arguments are those of `measure_activations`; with `checkpointing` layers are computed again.
    """
    decoder = _prepare(model, dtype)
    hook_points = find_hook_points(decoder)
    handles = [of.activation.register_forward_hook(_keep) for of in hook_points.blocks]
    embeddings = model.get_input_embeddings()
    handles.append(embeddings.register_forward_hook(lambda _, __, out: out.requires_grad_()))
    layers = (find_layers(decoder) or ()) if checkpointing else ()
    for layer in layers:
        layer.forward = partial(
            checkpoint,
            layer.forward,
            use_reentrant=False,
            preserve_rng_state=False,
            # Within the backward pass, a torch function itself, the mode is off.
            context_fn=lambda: (contextlib.nullcontext(), _Answers()),
        )
    token_ids_BT = torch.ones(rows, width, dtype=torch.int64, device="meta")
    mask_BT = torch.ones_like(token_ids_BT)
    live, answers = LiveBytes(), _Answers()
    try:
        with torch.enable_grad(), answers, live, _distributions_unchecked():
            found = decoder(input_ids=token_ids_BT, attention_mask=mask_BT, use_cache=False)
            found.last_hidden_state.sum().backward()
    finally:
        for handle in handles:
            handle.remove()
        for layer in layers:
            layer.__dict__.pop("forward", None)
    return live.peak


def _prepare(model: PreTrainedModel, dtype: torch.dtype) -> nn.Module:
    nn.Module.to(model, dtype)
    decoder = find_decoder(model.eval().requires_grad_(False))
    # As while it is watched. Experts in turn ask which of them are in use.
    blocks = find_hook_points(decoder).blocks
    run_always(block for block in blocks if not isinstance(block.runner, InTurn))
    return decoder


def _keep(_: nn.Module, __: Any, activation: torch.Tensor) -> None:
    """What attribution keeps until the gradient of an activation is there."""
    if activation.requires_grad:
        kept = activation.detach()
        activation.register_hook(partial(_let_go, kept))


def _let_go(kept: torch.Tensor, gradient: torch.Tensor) -> None:
    """The product that is summed, in float32."""
    _ = kept.float() * gradient.float()


@contextlib.contextmanager
def _distributions_unchecked() -> Iterator[None]:
    """torch's distributions would refuse parameters of which nothing is known to be true."""
    checked = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(checked)


class LiveBytes(TorchDispatchMode):
    """Adds up the bytes of tensors made in its context; `peak` is the most alive at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run the operation; track the memory of its results until they are freed."""
        inputs = {_key(tensor) for tensor in _tensors((args, kwargs))}
        result = operation(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            key, storage = _key(tensor), tensor.untyped_storage()
            if key in inputs or key in self._sizes:
                continue  # a view
            self._sizes[key] = storage.nbytes()
            self._now += self._sizes[key]
            weakref.finalize(storage, self._free, key)
        self.peak = max(self.peak, self._now)
        return result

    def _free(self, key: int) -> None:
        self._now -= self._sizes.pop(key, 0)


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _key(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


class _Answers(TorchFunctionMode):
    """Answers what the code asks about values, which tensors on the meta device do not have.

    Conditions are false: if not all of a mask is true, there is padding. A search for nonzero
    elements finds two of the experts in use, each given all tokens.
    """

    def __init__(self) -> None:
        super().__init__()
        self._answers: dict[Any, Callable[..., Any]] = {
            torch.Tensor.__bool__: lambda _: False,
            torch.Tensor.item: lambda _: 0,
            torch.Tensor.nonzero: self._find,
            nn.functional.scaled_dot_product_attention: _attend,
            getattr(torch, "_grouped_mm", None): _multiply_grouped,
        }

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """The answer, or the result of the function itself."""
        if function in self._answers:
            return self._answers[function](*args, **(kwargs or {}))
        if function is torch.where and len(args) == 1 and not kwargs:
            return tuple(torch.unbind(self._find(args[0]), dim=1))
        if function is torch.Tensor.__getitem__ and _is_number(args[1]):
            return args[0][0]
        return function(*args, **(kwargs or {}))

    def _find(self, tensor: torch.Tensor) -> torch.Tensor:
        """Indices (found, dimension) of nonzero elements: experts, or (choice, token) of one."""
        is_choice = tensor.dim() == 2
        found = tensor.shape[1] if is_choice else min(2, tensor.numel())
        return torch.empty(found, tensor.dim(), dtype=torch.int64, device=tensor.device)


def _attend(
    query_BHTD: torch.Tensor, key_BHTD: torch.Tensor, value_BHTD: torch.Tensor, *_: Any, **__: Any
) -> torch.Tensor:
    """Fused attention as on CPU and GPU: it allocates only its result, ordered by token and head.

    The meta device would order it by head, which would cost a copy that no real pass makes.
    """
    found: torch.Tensor = _Attention.apply(query_BHTD, key_BHTD, value_BHTD)  # type: ignore[no-untyped-call]
    return found


class _Attention(torch.autograd.Function):
    """It keeps its inputs and its result for the backward pass."""

    @staticmethod
    def forward(ctx: Any, *inputs: torch.Tensor) -> torch.Tensor:
        query_BHTD, _, value_BHTD = inputs
        shape = (*query_BHTD.shape[:-1], value_BHTD.shape[-1])
        found = query_BHTD.new_empty([shape[n] for n in (0, 2, 1, 3)]).transpose(1, 2)
        ctx.save_for_backward(*inputs, found)
        return found

    @staticmethod
    def backward(ctx: Any, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])


def _is_number(index: object) -> bool:
    return isinstance(index, torch.Tensor) and index.dim() == 0


def _multiply_grouped(
    input_SD: torch.Tensor, weight_EDU: torch.Tensor, **_: torch.Tensor
) -> torch.Tensor:
    """A grouped product, which the meta device knows of bfloat16 alone."""
    found: torch.Tensor = _Grouped.apply(input_SD, weight_EDU)  # type: ignore[no-untyped-call]
    return found


class _Grouped(torch.autograd.Function):
    """The weights are frozen, so it keeps nothing of its input."""

    @staticmethod
    def forward(ctx: Any, input_SD: torch.Tensor, weight_EDU: torch.Tensor) -> torch.Tensor:
        ctx.width = input_SD.shape[1]
        return input_SD.new_empty(len(input_SD), weight_EDU.shape[-1])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        gradient_SU = gradients[0]
        return gradient_SU.new_empty(len(gradient_SU), ctx.width), None
