"""Feed-forward blocks: a layer has any number of them, of any width.

The neurons of a layer are those of its blocks, block after block, and of a block those of its
experts, expert after expert. So a neuron is (layer, block, expert, unit), and has one number within
its layer. Layers with fewer neurons than the widest are at their ends without: neurons with these
numbers do not exist.

L: layer, N: neuron.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vxdist.model.layouts import Layout
from vxdist.model.runners import Runner
from vxstore.blocks import Block as RecordedBlock
from vxstore.blocks import Blocks

Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """One feed-forward block: its activation function, and the module that reads its output.

    `layer` is the number of its layer, `name` what messages call it. `num_experts` is 0 if it is
    dense: then every token is given to it, and to `experts_per_token` of its experts otherwise (0:
    not known).
    """

    layer: int
    name: str
    layout: Layout
    activation: nn.Module
    output: nn.Module
    num_units: int
    """Number of neurons, or of neurons of one expert."""
    num_experts: int
    experts_per_token: int
    first_neuron: int
    """Number of neurons of the layer's blocks before it."""
    first_expert: int
    """Number of routed experts of the layer's blocks before it."""
    runner: Runner | None = None
    """What runs while the block is watched, in place of a module's own forward function; None if
    the activation function runs once, on all tokens, as it is."""

    @property
    def num_neurons(self) -> int:
        """Number of neurons, over all its experts."""
        return self.num_units * max(1, self.num_experts)

    @property
    def all_neurons(self) -> slice:
        """Its neurons, by their numbers in the layer."""
        return slice(self.first_neuron, self.first_neuron + self.num_neurons)

    @property
    def size(self) -> tuple[int, int, int]:
        """Units, experts and experts per token."""
        return self.num_units, self.num_experts, self.experts_per_token

    @property
    def transposed(self) -> bool:
        """Whether rows, and not columns, of the down projection are the neurons."""
        return hasattr(self.output, "nx") if self.runner is None else self.runner.transposed

    def neurons_of(self, expert: int) -> slice:
        """The neurons of an expert, by their numbers in the layer; a dense block is expert 0."""
        first = self.first_neuron + expert * self.num_units
        return slice(first, first + self.num_units)


class Placed(NamedTuple):
    """Some neurons of one expert, or of a dense block, which is expert 0."""

    block: Block
    expert: int
    at_N: NDArray[np.bool_]
    """Which of the neurons asked for they are."""
    unit_N: Integers
    """Which units of the expert they are."""


@dataclass(frozen=True, kw_only=True)
class HookPoints:
    """All blocks of a decoder, by layer and then by their place in it."""

    num_layers: int
    blocks: Sequence[Block]
    _of_layer: dict[int, list[Block]] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for block in self.blocks:
            self._of_layer.setdefault(block.layer, []).append(block)

    @property
    def num_neurons(self) -> int:
        """Number of neurons of the layer that has most; see `exists`."""
        return max(block.first_neuron + block.num_neurons for block in self.blocks)

    @property
    def num_experts(self) -> int:
        """Number of routed experts of the layer that has most; 0 if the model is dense."""
        return max(block.first_expert + block.num_experts for block in self.blocks)

    @property
    def alike(self) -> bool:
        """Whether every layer has one block, and all have the same layout and size."""
        first = self.blocks[0]
        return [block.layer for block in self.blocks] == list(range(self.num_layers)) and all(
            (block.layout, block.size) == (first.layout, first.size) for block in self.blocks
        )

    def recorded(self) -> Blocks:
        """The blocks as a store describes them."""
        layers = ([_recorded(of) for of in self.of_layer(n)] for n in range(self.num_layers))
        return Blocks(tuple(map(tuple, layers)))

    def of_layer(self, layer: int) -> Sequence[Block]:
        """The blocks of a layer, which may have none."""
        return self._of_layer.get(layer, ())

    def exists(self) -> NDArray[np.bool_]:
        """Which neurons there are, (layer, neuron): the first ones of every layer."""
        return self.recorded().exists()

    def place(self, layer: int, number_N: Integers) -> Iterator[Placed]:
        """Where neurons of a layer are: by block, then by expert, of those that have some.

        Raises ValueError if one does not exist.
        """
        found = 0
        for block in self.of_layer(layer):
            within_N = number_N - block.first_neuron
            of_block_N = (within_N >= 0) & (within_N < block.num_neurons)
            expert_N, unit_N = np.divmod(within_N, block.num_units)
            for expert in np.unique(expert_N[of_block_N]).tolist():
                at_N = of_block_N & (expert_N == expert)
                found += int(at_N.sum())
                yield Placed(block, expert, at_N, unit_N[at_N])
        if found != len(number_N):
            raise ValueError(f"layer {layer}: {len(number_N) - found} neurons do not exist")


def _recorded(block: Block) -> RecordedBlock:
    per_token = block.experts_per_token or None
    return RecordedBlock(
        units=block.num_units, experts=block.num_experts, experts_per_token=per_token
    )
