"""Hook points: the modules of a decoder whose outputs are its neurons' activations."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from vxdist.errors import UserError
from vxdist.model.layouts import EXPERT_PARTS, LAYERS, LAYOUTS, Layout


@dataclass(frozen=True, kw_only=True)
class HookPoints:
    """The activation function of each layer, in order, and the module that reads its output."""

    layout: Layout
    activations: Sequence[nn.Module]
    outputs: Sequence[nn.Module]
    num_units: int
    """Number of neurons of a feed-forward block, or of one expert."""
    num_experts: int
    """Number of experts per layer; 0 if the model is dense."""
    experts_per_token: int
    """Number of experts that each token is routed to; 0 if the model is dense."""

    @property
    def num_layers(self) -> int:
        """Number of decoder layers."""
        return len(self.activations)

    @property
    def num_neurons(self) -> int:
        """Number of neurons per layer, over all its experts: neuron = expert x num_units + unit."""
        return self.num_units * max(1, self.num_experts)

    def neurons_of(self, expert: int) -> slice:
        """The neurons of an expert; a dense layer counts as expert 0."""
        return slice(expert * self.num_units, (expert + 1) * self.num_units)


def find_hook_points(decoder: nn.Module) -> HookPoints:
    """The hook points of `decoder`.

    Raises UserError, naming the modules that it has, if its layout is unknown.
    """
    layers = [m for name in LAYERS if isinstance(m := _get(decoder, name), nn.ModuleList)]
    for layout in LAYOUTS if layers else ():
        hook_points = _at_layout(decoder, layers[0], layout)
        if hook_points is not None:
            return hook_points
    found = _describe_layers(layers[0]) if layers else f"it has no list {' or '.join(LAYERS)}"
    raise UserError(
        f"model.path: the layout of {type(decoder).__name__} is not supported: {found}; "
        "`vxdist models` lists the supported layouts"
    )


def _describe_layers(layers: nn.ModuleList) -> str:
    """In a line, the modules of the first layer, and of another that differs, for messages."""
    described = [_describe_layer(layer) for layer in layers]
    other = next((n for n, text in enumerate(described) if text != described[0]), None)
    if other is None:
        return f"its layers have {described[0]}"
    return f"layer 0 has {described[0]}, but layer {other} has {described[other]}"


def _describe_layer(layer: nn.Module) -> str:
    """Modules of a layer, with those inside, without attention and norms."""
    names = []
    for name, module in layer.named_children():
        if re.search(r"attn|attention|norm|ln_|drop", name):
            continue
        inside = ", ".join(child for child, _ in module.named_children())
        names.append(f"{name} ({inside})" if inside else name)
    return ", ".join(names) or "no feed-forward block"


def _at_layout(decoder: nn.Module, layers: nn.ModuleList, layout: Layout) -> HookPoints | None:
    """The hook points, if every layer has this layout and the same width."""
    names = (*layout.first, layout.activation, layout.output)
    if not all(_get(layer, name) is not None for layer in layers for name in names):
        return None
    outputs = [_module(layer, layout.output) for layer in layers]
    widths = {_width(module) for module in outputs}
    if len(widths) != 1:
        return None
    if layout.experts:
        _refuse_shared(decoder, layers)
    num_experts, num_units = widths.pop()
    return HookPoints(
        layout=layout,
        activations=[_module(layer, layout.activation) for layer in layers],
        outputs=outputs,
        num_units=num_units,
        num_experts=num_experts,
        experts_per_token=_experts_per_token(decoder) if layout.experts else 0,
    )


def _refuse_shared(decoder: nn.Module, layers: nn.ModuleList) -> None:
    for n, layer in enumerate(layers):
        others = {name for name, _ in _module(layer, "mlp").named_children()} - EXPERT_PARTS
        if others:
            raise UserError(
                f"model.path: layer {n} of {type(decoder).__name__} has {sorted(others)[0]} beside "
                "its routed experts; vxdist does not support the neurons of shared experts"
            )


def _get(module: nn.Module, name: str) -> nn.Module | None:
    found: Any = module
    for step in name.split("."):
        found = getattr(found, step, None)
    return found if isinstance(found, nn.Module) else None


def _module(module: nn.Module, name: str) -> nn.Module:
    found = _get(module, name)
    assert found is not None
    return found


def _width(output: nn.Module) -> tuple[int, int]:
    """Numbers of experts and of units per expert that `output` reads; 0 experts if it is dense.

    nn.Linear and GPT-2's Conv1D name their inputs differently. Shapes of weights are of no use
    here: under ZeRO-3 weights are in shards.
    """
    found: Any = output
    if hasattr(found, "num_experts"):
        return int(found.num_experts), int(found.intermediate_dim)
    size = getattr(found, "in_features", None) or getattr(found, "nx", None)
    assert isinstance(size, int), f"{type(output).__name__} has no known input size"
    return 0, size


def _experts_per_token(decoder: Any) -> int:
    return int(decoder.config.get_text_config().num_experts_per_tok)
