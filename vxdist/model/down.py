"""Where in a checkpoint's files the weights are that read the neurons: the down projections.

A checkpoint may name its tensors otherwise than the model does, and keep each expert apart where
the model keeps all in one; transformers' own rules say which is which.

E: expert, U: unit of an expert, or neuron of a dense block, D: hidden size.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from vxdist.errors import UserError
from vxdist.model.blocks import Block, HookPoints
from vxdist.model.configuration import read_config
from vxdist.model.quantised.method import find_packing
from vxdist.model.safetensors_header import Tensor
from vxdist.model.source import ModelSource

BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16}
"""Types of numbers that weights can be changed in."""


@dataclass(frozen=True, kw_only=True)
class DownProjection:
    """The tensors of one block's down projection, as the checkpoint names them."""

    weights: tuple[str, ...]
    """One tensor, or one for each expert."""
    bias: str | None
    transposed: bool
    """Whether rows, and not columns, are the neurons (GPT-2, gpt-oss)."""


def find_down_projections(
    source: ModelSource, model: Any, hook_points: HookPoints, tensors: Mapping[str, Tensor]
) -> list[DownProjection]:
    """The down projection of each block, in order.

    `model` is without weights, `tensors` the checkpoint's.

    Raises UserError if its weights are packed, or shared with another module, or the checkpoint
    arranges them in a way that is not known.
    """
    _refuse_packed(source)
    _refuse_shared(source, model, hook_points)
    placed = _place(model, tensors)
    path = {id(module): name for name, module in model.named_modules()}
    found = []
    for block in hook_points.blocks:
        module = block.output
        weight = f"{path[id(module)]}.{'down_proj' if block.num_experts else 'weight'}"
        bias = placed.get(f"{path[id(module)]}.bias", [])
        down = DownProjection(
            weights=tuple(placed.get(weight, [])),
            bias=bias[0] if bias else None,
            transposed=block.transposed,
        )
        _check_arranged(source, weight, down, block, tensors)
        found.append(down)
    return found


def _place(model: Any, tensors: Mapping[str, Tensor]) -> Mapping[str, Sequence[str]]:
    """The checkpoint's tensors of each tensor of the model, experts in their order."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import (
        WeightConverter,
        WeightRenaming,
        dot_natural_key,
        rename_source_key,
    )

    rules = get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    expected, base = model.state_dict(), model.base_model_prefix
    placed: dict[str, list[str]] = {}
    for name in sorted(tensors, key=dot_natural_key):
        target, _ = rename_source_key(name, renamings, converters, base, expected)
        if target not in expected and name in expected:
            target, _ = rename_source_key(name, [], [], base, expected)
        placed.setdefault(target, []).append(name)
    return placed


def _refuse_packed(source: ModelSource) -> None:
    if find_packing(read_config(source)) is not None:
        raise UserError(
            f"model.path: {source.name} has packed (quantised) weights, whose columns cannot be "
            "changed one by one; give the unpacked model, or use vxdist.ablate on the loaded one"
        )


def _refuse_shared(source: ModelSource, model: nn.Module, hook_points: HookPoints) -> None:
    """Raise UserError if a down projection is also the weight of another module or layer."""
    names: dict[int, list[str]] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(weight), []).append(name)
    for block in hook_points.blocks:
        for weight in block.output.parameters():
            if len(shared := names[id(weight)]) > 1:
                raise UserError(
                    f"model.path: {source.name} has one tensor for {shared[0]} and {shared[1]}, so "
                    "that a change of one changes the other; use vxdist.ablate on the loaded model"
                )


def _check_arranged(
    source: ModelSource,
    weight: str,
    down: DownProjection,
    block: Block,
    tensors: Mapping[str, Tensor],
) -> None:
    """Raise UserError unless the tensors have the shapes and types of the block's experts."""
    experts, units = block.num_experts, block.num_units
    of = [tensors[name] for name in down.weights]
    shapes = [tensor.shape or () for tensor in of]
    if not experts:
        right = len(of) == 1 and len(shapes[0]) == 2 and shapes[0][-1 - down.transposed] == units
    elif len(of) == 1:
        right = len(shapes[0]) == 3 and shapes[0][0] == experts
        right = right and shapes[0][1 if down.transposed else 2] == units
    else:
        # One matrix for each expert is known only as nn.Linear's.
        numbers = [_expert_of(name) for name in down.weights]
        right = not down.transposed and numbers == list(range(experts))
        right = right and all(len(shape) == 2 and shape[1] == units for shape in shapes)
    if not right or not all(tensor.dtype in BITS for tensor in of):
        there = ", ".join(
            f"{n} {tensors[n].dtype} {list(tensors[n].shape or ())}" for n in down.weights[:2]
        )
        raise UserError(
            f"model.path: {source.name} keeps {weight} as {there or 'no tensor'}, which vxdist "
            "does not know how to change; use vxdist.ablate on the loaded model"
        )


def _expert_of(name: str) -> int:
    """The number of the expert in a tensor's name: the last number in it."""
    numbers = re.findall(r"\.(\d+)(?=\.)", name)
    return int(numbers[-1]) if numbers else -1
