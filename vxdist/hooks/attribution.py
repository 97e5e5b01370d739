"""Attributing a number that a model computes to its neurons, to first order, by one backward pass.

What a neuron sends on is u = h m, its activation h times what the block multiplies it by (the
gate's partner; 1 without a gate). Setting h to zero sets u to zero, and to first order changes
L by -u dL/du = -h dL/dh, summed over tokens. So it is read where neurons are ablated, of every
layout and of experts alike; the weights are frozen, and no gradient of theirs is ever computed.

B: text, T: token, S: row of one call, N: neuron, L: layer.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from vxdist.hooks.attach import Rows, watch
from vxdist.model.blocks import Block, HookPoints
from vxdist.model.decoder import find_decoder, find_layers


class Attribution:
    """Adds up -h dL/dh of every neuron over the tokens of all backward passes."""

    def __init__(self, hook_points: HookPoints, device: torch.device) -> None:
        shape = (hook_points.num_layers, hook_points.num_neurons)
        self._total_LN = torch.zeros(shape, dtype=torch.float32, device=device)
        self._handles: list[Any] = list(watch(hook_points, self._see))
        self._checkpointed = False
        self._again = False
        self._activations: dict[tuple[Block, int], torch.Tensor] = {}

    def begin(self, model: Any, *, checkpointing: bool) -> None:
        """Have the graph begin at the token embeddings of `model`.

        With `checkpointing` a layer keeps its input only, and computes the rest again in the
        backward pass.
        """
        embeddings = model.get_input_embeddings()
        self._handles.append(embeddings.register_forward_hook(_begin_graph))
        self._checkpointed = checkpointing
        if checkpointing:
            for layer in find_layers(find_decoder(model)) or ():
                layer.forward = partial(
                    checkpoint,
                    layer.forward,
                    use_reentrant=False,
                    preserve_rng_state=False,
                    context_fn=lambda: (contextlib.nullcontext(), self._computing_again()),
                )
                self._handles.append(_Restore(layer))

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def take(self) -> torch.Tensor:
        """What was added up since the last time, (layer, neuron) on the CPU; start again from 0."""
        found_LN = self._total_LN.cpu().clone()
        self._total_LN.zero_()
        return found_LN

    @contextlib.contextmanager
    def _computing_again(self) -> Iterator[None]:
        self._again = True
        try:
            yield
        finally:
            self._again = False

    def _see(self, block: Block, activation: torch.Tensor, rows: Rows | None) -> None:
        if self._again:
            # The graph is that of the first pass; only numbers are computed again.
            self._activations[block, call_of(rows)] = activation.detach()
        elif activation.requires_grad:
            # Detached: a hook that held its own tensor would keep it until garbage is collected.
            kept = None if self._checkpointed else activation.detach()
            activation.register_hook(partial(self._add, block, rows, kept))

    def _add(
        self, block: Block, rows: Rows | None, kept: torch.Tensor | None, gradient: torch.Tensor
    ) -> None:
        activation = kept
        if activation is None:
            activation = self._activations.pop((block, call_of(rows)))
        units = activation.shape[-1]
        product_SN = activation.reshape(-1, units).float() * gradient.reshape(-1, units).float()
        total_N = self._total_LN[block.layer]
        for expert, of in [(0, slice(None))] if rows is None else rows.slices():
            total_N[block.neurons_of(expert)] -= product_SN[of].sum(0)


def call_of(rows: Rows | None) -> int:
    """Which call of a block's activation function it is, in one pass."""
    return 0 if rows is None else rows.call


class _Restore:
    """Gives a layer its own forward back."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer

    def remove(self) -> None:
        self._layer.__dict__.pop("forward", None)


def _begin_graph(_: nn.Module, __: Any, embedded_BTD: torch.Tensor) -> torch.Tensor:
    return embedded_BTD.requires_grad_() if torch.is_grad_enabled() else embedded_BTD


Backward = Callable[[], torch.Tensor]


def attribute(number: Backward) -> torch.Tensor:
    """Compute numbers (B,) with their graph, and run it backwards; returns them, detached.

    Texts of a batch do not meet, so the gradient of the sum is that of each text's own number.
    """
    with torch.enable_grad():
        number_B = number()
        number_B.sum().backward()
    return number_B.detach()
