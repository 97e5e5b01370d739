"""Memory that a decoder's activations take, found by running it without numbers.

On torch's meta device every operation yields a tensor's shape and no content, so a model of any
size runs in a second. What lives at once is added up as tensors come and go: what is measured is
the code that will run. B: text, T: token.
"""

import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel


def measure_activations(
    model: PreTrainedModel, dtype: torch.dtype, *, rows: int, width: int, expert_share: float | None
) -> int:
    """Most bytes that live at once in one pass of `rows` texts of `width` tokens, weights aside.

    `model` is on the meta device. `expert_share` is the share of the tokens that the busiest expert
    is given; None if the model is dense. Texts are taken to differ in length, so that attention
    needs a mask.
    """
    if expert_share is not None:
        model.set_experts_implementation("eager")  # as `load_model` has it
    nn.Module.to(model, dtype)
    decoder = model.eval().requires_grad_(False).get_decoder()
    token_ids_BT = torch.ones(rows, width, dtype=torch.int64, device="meta")
    mask_BT = torch.ones_like(token_ids_BT)
    live = LiveBytes()
    with torch.inference_mode(), _Answers(expert_share or 1.0), live:
        decoder(input_ids=token_ids_BT, attention_mask=mask_BT, use_cache=False)
    return live.peak


class LiveBytes(TorchDispatchMode):
    """Adds up the bytes of tensors made within; `peak` is the most that lived at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run the operation; note the memory of what it made, and when that is let go."""
        given = {_key(tensor) for tensor in _tensors((args, kwargs))}
        made = operation(*args, **(kwargs or {}))
        for tensor in _tensors(made):
            key, storage = _key(tensor), tensor.untyped_storage()
            if key in given or key in self._sizes:
                continue  # a view
            self._sizes[key] = storage.nbytes()
            self._now += self._sizes[key]
            weakref.finalize(storage, self._let_go, key)
        self.peak = max(self.peak, self._now)
        return made

    def _let_go(self, key: int) -> None:
        self._now -= self._sizes.pop(key, 0)


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _key(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


class _Answers(TorchFunctionMode):
    """Answers what the code asks of contents that are not there.

    No condition holds: that not all of a mask is true means that there is padding. A search finds
    two of many experts in use, and a busy expert's share of the tokens.
    """

    def __init__(self, expert_share: float) -> None:
        super().__init__()
        self._share = expert_share
        self._answers: dict[Any, Callable[..., Any]] = {
            torch.Tensor.__bool__: lambda _: False,
            torch.Tensor.item: lambda _: 0,
            torch.Tensor.nonzero: self._found,
            nn.functional.scaled_dot_product_attention: _attend,
        }

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """The answer, or what the function gives."""
        if function in self._answers:
            return self._answers[function](*args, **(kwargs or {}))
        if function is torch.where and len(args) == 1 and not kwargs:
            return tuple(torch.unbind(self._found(args[0]), dim=1))
        if function is torch.Tensor.__getitem__ and _is_number(args[1]):
            return args[0][0]
        return function(*args, **(kwargs or {}))

    def _found(self, of: torch.Tensor) -> torch.Tensor:
        """Places, (found, dimension), of what is not zero: experts, or (choice, token) of one."""
        chosen = of.dim() == 2
        found = math.ceil(self._share * of.shape[1]) if chosen else min(2, of.numel())
        return torch.empty(found, of.dim(), dtype=torch.int64, device=of.device)


def _attend(query_BHTD: torch.Tensor, *others: torch.Tensor, **_: Any) -> torch.Tensor:
    """What fused attention makes on CPU and GPU: its result alone, in memory by token and head.

    The meta device would lay it out by head, which costs a copy that no real pass makes.
    """
    value_BHTD = others[1]
    shape = (*query_BHTD.shape[:-1], value_BHTD.shape[-1])
    return query_BHTD.new_empty([shape[n] for n in (0, 2, 1, 3)]).transpose(1, 2)


def _is_number(index: object) -> bool:
    return isinstance(index, torch.Tensor) and index.dim() == 0
