"""Hook points: the modules of a decoder whose outputs are its neurons' activations."""

import copy
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from torch import nn

from vxdist.errors import UserError
from vxdist.model.activation import is_fixed
from vxdist.model.blocks import Block, HookPoints
from vxdist.model.decoder import LAYERS, find_layers
from vxdist.model.layouts import LAYOUTS, NOT_FEED_FORWARD, ROUTERS, Layout
from vxdist.model.runners import Runner
from vxdist.model.running import runner_of

__all__ = ["Block", "HookPoints", "find_hook_points"]

PER_TOKEN = ("num_experts_per_tok", "top_k_experts", "moe_topk", "moe_k", "moe_top_k")
"""What configurations call the number of experts that a token is routed to."""
UNITS = ("intermediate_dim", "ffn_hidden_size", "intermediate_size")
"""What modules of all experts call the number of units of one."""


def find_hook_points(decoder: nn.Module) -> HookPoints:
    """The hook points of `decoder`.

    Raises UserError, naming the modules that it has, if its layout is unknown, or has weights of
    neurons that vxdist would miss.
    """
    layers = find_layers(decoder)
    if layers is None:
        _refuse_layout(decoder, None)
    found = [list(_layouts_of(layer)) for layer in layers]
    if not any(found):
        _refuse_layout(decoder, layers)
    _separate(layers, found)
    blocks: list[Block] = []
    for n, (layer, layouts) in enumerate(zip(layers, found, strict=True)):
        _refuse_unseen(decoder, layers, n, layouts)
        blocks += _blocks_of(decoder, n, layer, layouts)
    return HookPoints(num_layers=len(found), blocks=blocks)


def _refuse_layout(
    decoder: nn.Module, layers: nn.ModuleList | None, number: int | None = None
) -> NoReturn:
    there = (
        f"it has no list {' or '.join(LAYERS)}"
        if layers is None
        else _describe_layers(layers, number)
    )
    raise UserError(
        f"model.path: the layout of {type(decoder).__name__} is not supported: {there}; "
        "`vxdist models` lists the supported layouts"
    )


def _describe_layers(layers: nn.ModuleList, other: int | None) -> str:
    """In a line, the modules of the first layer, and of another that differs, for messages."""
    described = [_describe_layer(layer) for layer in layers]
    if other is None:
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


def _layouts_of(layer: nn.Module) -> Iterator[Layout]:
    """The layouts that modules of a layer have, each module in one of them at most."""
    if _is_for_images(layer):
        return
    taken: set[int] = set()
    for layout in LAYOUTS:
        modules = [_get(layer, n) for n in (*layout.first, layout.activation, layout.output)]
        if None in modules or taken & {id(module) for module in modules}:
            continue
        if _width(_module(layer, layout.output)) is not None:
            taken |= {id(module) for module in modules}
            yield layout


def _is_for_images(layer: nn.Module) -> bool:
    """Whether a layer is one that Llama 3.2 runs for images alone."""
    return hasattr(layer, "cross_attn")


def _separate(layers: nn.ModuleList, found: Sequence[Sequence[Layout]]) -> None:
    """Give each block an activation function of its own where several share one module, so that a
    hook knows which block runs. GPT's is even that of all models."""
    places = [
        (layer, layout.activation)
        for layer, layouts in zip(layers, found, strict=True)
        for layout in layouts
    ]
    times = Counter(id(_module(layer, name)) for layer, name in places)
    for layer, name in places:
        function = _module(layer, name)
        if times[id(function)] > 1 and is_fixed(function):
            place, _, own = name.rpartition(".")
            setattr(layer.get_submodule(place), own, copy.deepcopy(function))


def _blocks_of(
    decoder: nn.Module, number: int, layer: nn.Module, layouts: Sequence[Layout]
) -> Iterator[Block]:
    first_neuron = first_expert = 0
    for layout in layouts:
        output = _module(layer, layout.output)
        width = _width(output)
        assert width is not None
        num_experts, num_units = width
        runner = _runner(decoder, number, layer, layout)
        block = Block(
            layer=number,
            name=f"layer {number}" + (f", {_block(layout)}" if len(layouts) > 1 else ""),
            layout=layout,
            activation=_module(layer, layout.activation) if runner is None else runner.activation,
            output=output,
            num_units=num_units,
            num_experts=num_experts,
            experts_per_token=_experts_per_token(decoder) if layout.experts else 0,
            first_neuron=first_neuron,
            first_expert=first_expert,
            runner=runner,
        )
        first_neuron += block.num_neurons
        first_expert += num_experts
        yield block


def _runner(decoder: nn.Module, number: int, layer: nn.Module, layout: Layout) -> Runner | None:
    """What runs a block while it is watched; None if it runs as it is.

    Raises UserError if what it computes is not known.
    """
    if not layout.experts and not layout.inline:
        return None
    name = layout.output if layout.experts else layout.activation
    module = _module(layer, name)
    function = None if layout.inline else _module(layer, layout.activation)
    runner = runner_of(module, _get(layer, name.rpartition(".")[0]) or layer, function)
    if runner is None:
        raise UserError(
            f"model.path: layer {number} of {type(decoder).__name__}: what {type(module).__name__} "
            "computes between its two projections is none of the forms that vxdist knows, so that "
            "it cannot see the activations; it does not support this model"
        )
    return runner


def _block(layout: Layout) -> str:
    """The module, within a decoder layer, that is the block."""
    if layout.inline:
        return layout.activation
    return layout.activation.rpartition(".")[0]


def _place(name: str) -> str:
    """What stands before the names of the modules beside one."""
    return "".join(name.rpartition(".")[:2])


def _refuse_unseen(
    decoder: nn.Module, layers: nn.ModuleList, number: int, layouts: Sequence[Layout]
) -> None:
    """Raise UserError if a layer has weights that neither attention nor a watched block explains.

    Vectors, such as those of norms, have no neurons.
    """
    if _is_for_images(layers[number]):
        return
    routed = [layout for layout in layouts if layout.experts]
    seen = [n for layout in layouts for n in (*layout.first, layout.output)]
    # Of an inline function this is the whole block, in which there may be more.
    seen += [layout.activation for layout in layouts if not layout.inline]
    seen += [f"{_place(of.output)}{router}" for of in routed for router in ROUTERS]
    places = {layout.output.partition(".")[0] for layout in layouts}
    for name, weight in layers[number].named_parameters():
        if weight.dim() < 2 or NOT_FEED_FORWARD.search(name) or _is_in(name, seen):
            continue
        if not layouts:
            _refuse_layout(decoder, layers, number)
        steps = name.split(".")
        module = ".".join(steps[: 2 if steps[0] in places else 1])
        beside = "its routed experts" if routed else "its feed-forward block"
        raise UserError(
            f"model.path: layer {number} of {type(decoder).__name__} has {module} beside {beside}; "
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
    for name in UNITS:
        if hasattr(found, "num_experts") and hasattr(found, name):
            return int(found.num_experts), int(getattr(found, name))
    size = getattr(found, "in_features", None) or getattr(found, "nx", None)
    return (0, size) if isinstance(size, int) else None


def _experts_per_token(decoder: Any) -> int:
    """0 if the configuration does not say one number for all layers."""
    whole = decoder.config.get_text_config()
    config = getattr(whole, "ffn_config", whole)  # DBRX keeps it there
    found = [n for name in PER_TOKEN if isinstance(n := getattr(config, name, None), int)]
    return found[0] if found else 0
