"""Where a model's neurons are: the modules of its decoder that hold them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from vxdist.errors import UserError
from vxdist.model.layouts import EXPERT_PARTS, LAYERS, LAYOUTS, Layout


@dataclass(frozen=True, kw_only=True)
class HookPoints:
    """The activation function of each layer, in order, and what it feeds."""

    layout: Layout
    activations: Sequence[nn.Module]
    outputs: Sequence[nn.Module]
    num_units: int
    """Neurons of a feed-forward block, or of one expert."""
    num_experts: int
    """Experts of a layer; 0 if the model is dense."""
    experts_per_token: int
    """Experts that each token goes to; 0 if the model is dense."""

    @property
    def num_layers(self) -> int:
        """Decoder layers."""
        return len(self.activations)

    @property
    def num_neurons(self) -> int:
        """Neurons of a layer, over all its experts: neuron = expert x units + unit."""
        return self.num_units * max(1, self.num_experts)

    def neurons_of(self, expert: int) -> slice:
        """Neurons of an expert; of a dense layer, its only one."""
        return slice(expert * self.num_units, (expert + 1) * self.num_units)


def find_hook_points(decoder: nn.Module) -> HookPoints:
    """The neurons of `decoder`. Raises UserError, saying what was looked for, if it is unknown."""
    layers = [m for name in LAYERS if isinstance(m := _get(decoder, name), nn.ModuleList)]
    for layout in LAYOUTS if layers else ():
        hook_points = _at_layout(decoder, layers[0], layout)
        if hook_points is not None:
            return hook_points
    looked = "; ".join(layout.describe() for layout in LAYOUTS)
    raise UserError(
        f"model.path: the neurons of a {type(decoder).__name__} are not known; looked for, "
        f"alike in all its {' or '.join(LAYERS)}: {looked}"
    )


def _at_layout(decoder: nn.Module, layers: nn.ModuleList, layout: Layout) -> HookPoints | None:
    """The neurons, if every layer is laid out so, and alike."""
    wanted = (*layout.first, layout.activation, layout.output)
    if not all(_get(layer, name) is not None for layer in layers for name in wanted):
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
                f"model.path: layer {n} of a {type(decoder).__name__} has {sorted(others)[0]} "
                "beside its routed experts, whose neurons vxdist does not record"
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
    """(experts, units of each) that `output` reads; a dense down projection has 0 experts.

    nn.Linear and GPT-2's Conv1D name their inputs differently. Weights are not looked at: under
    ZeRO-3 they are in shards.
    """
    found: Any = output
    if hasattr(found, "num_experts"):
        return int(found.num_experts), int(found.intermediate_dim)
    size = getattr(found, "in_features", None) or getattr(found, "nx", None)
    assert isinstance(size, int), f"{type(output).__name__} has no known input size"
    return 0, size


def _experts_per_token(decoder: Any) -> int:
    return int(decoder.config.get_text_config().num_experts_per_tok)
