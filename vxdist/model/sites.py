"""Where a model's neurons are.

A neuron is unit j of the hidden layer of a feed-forward block; its activation is what comes out
of the activation function, before a gate's partner multiplies it (arXiv 2504.04994). In every
layout below that function is a module of its own, so its output is the neurons' activations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from vxdist.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Module names, below the decoder and below each of its layers."""

    name: str
    layers: str
    first: tuple[str, ...]
    activation: str
    down: str

    def describe(self) -> str:
        """For messages: what is looked for."""
        inside = ", ".join((*self.first, self.activation, self.down))
        return f"{self.name} ({self.layers}.N with {inside})"


LAYOUTS = (
    # Llama, Mistral, Qwen2, Qwen3, Gemma 1 to 3
    Layout(
        name="gated",
        layers="layers",
        first=("mlp.gate_proj", "mlp.up_proj"),
        activation="mlp.act_fn",
        down="mlp.down_proj",
    ),
    # Phi-3
    Layout(
        name="gated, fused",
        layers="layers",
        first=("mlp.gate_up_proj",),
        activation="mlp.activation_fn",
        down="mlp.down_proj",
    ),
    Layout(name="GPT-2", layers="h", first=("mlp.c_fc",), activation="mlp.act", down="mlp.c_proj"),
    Layout(
        name="GPT-NeoX",
        layers="layers",
        first=("mlp.dense_h_to_4h",),
        activation="mlp.act",
        down="mlp.dense_4h_to_h",
    ),
    Layout(name="OPT", layers="layers", first=("fc1",), activation="activation_fn", down="fc2"),
)


@dataclass(frozen=True, kw_only=True)
class Sites:
    """The activation and the down projection of each layer, in order."""

    layout: Layout
    activations: Sequence[nn.Module]
    downs: Sequence[nn.Module]
    num_neurons: int

    @property
    def num_layers(self) -> int:
        """Decoder layers."""
        return len(self.activations)


def find_sites(decoder: nn.Module) -> Sites:
    """The neurons of `decoder`. Raises UserError, saying what was looked for, if it is unknown."""
    for layout in LAYOUTS:
        layers = _get(decoder, layout.layers)
        if not isinstance(layers, nn.ModuleList) or not len(layers):
            continue
        wanted = (*layout.first, layout.activation, layout.down)
        if all(_get(layer, name) is not None for layer in layers for name in wanted):
            downs = [_module(layer, layout.down) for layer in layers]
            widths = {_num_inputs(down) for down in downs}
            if len(widths) == 1:
                return Sites(
                    layout=layout,
                    activations=[_module(layer, layout.activation) for layer in layers],
                    downs=downs,
                    num_neurons=widths.pop(),
                )
    looked = "; ".join(layout.describe() for layout in LAYOUTS)
    raise UserError(
        f"model.path: the neurons of a {type(decoder).__name__} are not known; looked for, alike "
        f"in every layer: {looked}"
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


def _num_inputs(down: nn.Module) -> int:
    """Inputs of a down projection; nn.Linear and GPT-2's Conv1D name them differently."""
    size = getattr(down, "in_features", None) or getattr(down, "nx", None)
    assert isinstance(size, int), f"{type(down).__name__} has no known input size"
    return size


@torch.inference_mode()
def check_sites(decoder: nn.Module, sites: Sites, token_ids: Sequence[int]) -> None:
    """Run a few tokens and make sure that the neurons are where `sites` says.

    With every other neuron zeroed at the activation, the down projection must see zeros there,
    and the activation must run once a layer. Raises UserError if not.
    """
    kept_N = torch.arange(sites.num_neurons) % 2 == 0
    calls = [0] * sites.num_layers
    faults: list[str] = []

    def zero(layer: int) -> Any:
        def hook(_: nn.Module, __: Any, output_N: torch.Tensor) -> torch.Tensor:
            calls[layer] += 1
            if output_N.shape[-1] != sites.num_neurons:
                faults.append(f"layer {layer} has {output_N.shape[-1]} activations")
                return output_N
            # Not a product: it would keep a NaN.
            return output_N.masked_fill(~kept_N.to(output_N.device), 0)

        return hook

    def look(layer: int) -> Any:
        def hook(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            if args[0][..., ~kept_N.to(args[0].device)].any():
                faults.append(f"layer {layer}: a zeroed neuron reaches the down projection")

        return hook

    handles = [m.register_forward_hook(zero(i)) for i, m in enumerate(sites.activations)]
    handles += [m.register_forward_pre_hook(look(i)) for i, m in enumerate(sites.downs)]
    try:
        device = next(decoder.parameters()).device
        decoder(input_ids=torch.tensor([list(token_ids)], device=device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    faults += [f"layer {i}: the activation ran {n} times" for i, n in enumerate(calls) if n != 1]
    if faults:
        raise UserError(
            f"model.path: the neurons of {type(decoder).__name__} are not at "
            f"{sites.layout.describe()}, expected {sites.num_neurons} a layer: {faults[0]}"
        )
