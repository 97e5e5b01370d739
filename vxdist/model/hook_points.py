"""Hook points: the modules of a decoder whose outputs are its neurons' activations."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from vxdist.errors import UserError
from vxdist.model.layouts import LAYERS, LAYOUTS, NOT_FEED_FORWARD, ROUTERS, Layout


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

    Raises UserError, naming the modules that it has, if its layout is unknown, or has weights of
    neurons that vxdist would miss.
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
    width = widths.pop()
    if widths or width is None:
        return None
    _refuse_unseen(decoder, layers, layout)
    num_experts, num_units = width
    return HookPoints(
        layout=layout,
        activations=[_module(layer, layout.activation) for layer in layers],
        outputs=outputs,
        num_units=num_units,
        num_experts=num_experts,
        experts_per_token=_experts_per_token(decoder) if layout.experts else 0,
    )


def _refuse_unseen(decoder: nn.Module, layers: nn.ModuleList, layout: Layout) -> None:
    """Raise UserError if a layer has weights that neither attention nor the watched block explains.

    Vectors, such as those of norms, have no neurons.
    """
    seen = (*layout.first, layout.activation, layout.output)
    seen += ROUTERS if layout.experts else ()
    block = layout.output.partition(".")[0]
    for n, layer in enumerate(layers):
        for name, weight in layer.named_parameters():
            if weight.dim() < 2 or NOT_FEED_FORWARD.search(name) or _is_in(name, seen):
                continue
            steps = name.split(".")
            module = ".".join(steps[: 2 if steps[0] == block else 1])
            beside = "its routed experts" if layout.experts else "its feed-forward block"
            raise UserError(
                f"model.path: layer {n} of {type(decoder).__name__} has {module} beside {beside}; "
                "vxdist would miss the neurons there, and does not support this model"
            )


def _is_in(name: str, modules: Sequence[str]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)


def _get(module: nn.Module, name: str) -> nn.Module | None:
    found: Any = module
    for step in name.split("."):
        found = getattr(found, step, None)
    return found if isinstance(found, nn.Module) else None


def _module(module: nn.Module, name: str) -> nn.Module:
    found = _get(module, name)
    assert found is not None
    return found


def _width(output: nn.Module) -> tuple[int, int] | None:
    """Numbers of experts and of units per expert that `output` reads; 0 experts if it is dense.

    None if the module does not say.

    nn.Linear and GPT-2's Conv1D name their inputs differently. Shapes of weights are of no use
    here: under ZeRO-3 weights are in shards.
    """
    found: Any = output
    if hasattr(found, "num_experts") and hasattr(found, "intermediate_dim"):
        return int(found.num_experts), int(found.intermediate_dim)
    size = getattr(found, "in_features", None) or getattr(found, "nx", None)
    return (0, size) if isinstance(size, int) else None


def _experts_per_token(decoder: Any) -> int:
    return int(decoder.config.get_text_config().num_experts_per_tok)
