"""Blocks: whose unit a neuron is where layers have several feed-forward blocks, or differ.

The neurons of a layer are those of its blocks, block after block, and of a block those of its
experts, expert after expert. Layers with fewer than the widest are padded at their ends with
neurons that do not exist; no token is given to those.

L: layer, N: neuron, E: routed expert of a layer, over its blocks, K: one of the neurons asked for.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from vxstore.errors import StoreError
from vxstore.io import arrays
from vxstore.schema import BLOCKS_VERSION, ArraySpec

BLOCKS = "blocks"
"""Attribute of the root: the blocks of each layer."""
PLACES = {
    "block": "feed-forward block of its layer that the neuron is in, from 0; -1: does not exist",
    "expert": "expert of its block that the neuron belongs to, from 0; -1: its block is dense",
    "unit": "unit of its expert, or of its dense block, that the neuron is; -1: does not exist",
}
"""Coordinates along layer and neuron."""
PLACE_ARRAYS: Mapping[str, ArraySpec] = {
    name: ArraySpec(dims=("layer", "neuron"), dtype="int32", units="1", long_name=long_name)
    for name, long_name in PLACES.items()
}


@dataclass(frozen=True, kw_only=True)
class Block:
    """One feed-forward block: `experts` of `units` neurons each, or as many if it is dense (0)."""

    units: int
    experts: int = 0
    experts_per_token: int | None = None

    @property
    def num_neurons(self) -> int:
        """Neurons of the block."""
        return self.units * max(1, self.experts)


@dataclass(frozen=True)
class Blocks:
    """The blocks of each layer, in order; a layer may have none."""

    layers: tuple[tuple[Block, ...], ...]

    @functools.cached_property
    def num_neurons(self) -> int:
        """Neurons of the layer that has most."""
        return max(map(_width, self.layers))

    @functools.cached_property
    def num_experts(self) -> int:
        """Routed experts of the layer that has most, over its blocks."""
        return max(sum(of.experts for of in layer) for layer in self.layers)

    @property
    def alike(self) -> bool:
        """Whether each layer has one block, and all are the same."""
        return all(len(layer) == 1 for layer in self.layers) and len(set(self.layers)) == 1

    def exists(self, layers: slice = slice(None)) -> NDArray[np.bool_]:
        """Which neurons of some layers there are, (layer, neuron)."""
        width_L = np.array([_width(layer) for layer in self.layers[layers]])
        return np.arange(self.num_neurons) < width_L[:, None]

    def places(self, layers: slice = slice(None)) -> dict[str, NDArray[np.int32]]:
        """The coordinates of some layers by name, (layer, neuron); -1 where there is none."""
        some = self.layers[layers]
        found = np.full((len(PLACES), len(some), self.num_neurons), -1, dtype=np.int32)
        for at, layer in enumerate(some):
            for number, (of, neurons, _) in enumerate(_spans(layer)):
                expert_N, unit_N = np.divmod(np.arange(of.num_neurons), of.units)
                found[0, at, neurons] = number
                found[1, at, neurons] = expert_N if of.experts else -1
                found[2, at, neurons] = unit_N
        return dict(zip(PLACES, found, strict=True))

    def given(
        self, routed_LE: NDArray[Any] | None, token_count: Any, layers: slice = slice(None)
    ) -> NDArray[np.int64]:
        """Tokens that the neurons of some layers were given, (layer, neuron, ...).

        `routed_LE` are those layers' counts (layer, expert, ...), None where no layer has experts;
        `token_count` is (...). Neurons that do not exist were given none.
        """
        token = np.asarray(token_count, dtype=np.int64)
        further = np.stack([token, np.zeros_like(token)])
        found = np.empty((len(self.layers[layers]), self.num_neurons, *token.shape), dtype=np.int64)
        for at, source_N in enumerate(self._sources(layers)):
            routed = further[:0] if routed_LE is None else routed_LE[at]
            found[at] = np.concatenate([routed, further])[source_N]
        return found

    def _sources(self, layers: slice) -> Iterator[NDArray[np.intp]]:
        """Of each neuron of a layer the routed expert; E if it is given all tokens, E + 1: none."""
        for layer in self.layers[layers]:
            source_N = np.full(self.num_neurons, self.num_experts + 1, dtype=np.intp)
            for of, neurons, first_expert in _spans(layer):
                expert_N = np.arange(of.num_neurons) // of.units + first_expert
                source_N[neurons] = expert_N if of.experts else self.num_experts
            yield source_N

    def routed_expert(self, layer: int, neuron: int) -> int | None:
        """The expert whose routed tokens a neuron is given; None if it is given all of them.

        Raises StoreError if the neuron does not exist.
        """
        source = int(next(self._sources(slice(layer, layer + 1)))[neuron])
        if source > self.num_experts:
            width = _width(self.layers[layer])
            raise StoreError(f"layer {layer} has no neuron {neuron}; it has {width:,}")
        return None if source == self.num_experts else source

    def routed_totals(self, token_count: int, layers: slice = slice(None)) -> NDArray[np.int64]:
        """What the routed counts of each layer add up to, (layer,); -1 where that is not known."""
        total_L = []
        for layer in self.layers[layers]:
            per_token = [of.experts_per_token for of in layer if of.experts]
            total_L.append(
                -1 if None in per_token else token_count * sum(n or 0 for n in per_token)
            )
        return np.array(total_L, dtype=np.int64)

    def place(self, layer_K: Any, neuron_K: Any) -> dict[str, Any]:
        """The coordinates of some neurons, or of one."""
        layer_K, neuron_K = np.broadcast_arrays(layer_K, neuron_K)
        found = {name: np.empty(layer_K.shape, dtype=np.int64) for name in PLACES}
        for layer in np.unique(layer_K).tolist():
            here_K = layer_K == layer
            for name, of_LN in self.places(slice(layer, layer + 1)).items():
                found[name][here_K] = of_LN[0, neuron_K[here_K]]
        if layer_K.ndim == 0:
            return {name: int(number) for name, number in found.items()}
        return dict(found)

    def find(self, path: str, layer: int, at: Sequence[int]) -> int:
        """The number of the neuron (block, expert, unit); the expert is -1 or 0 in a dense block.

        Raises StoreError if there is none such.
        """
        block, expert, unit = at
        blocks = self.layers[layer]
        if not 0 <= block < len(blocks):
            raise StoreError(f"{path}: layer {layer} has no block {block}; it has {len(blocks)}")
        of, first = blocks[block], _width(blocks[:block])
        for name, number, most in (("expert", max(expert, 0), max(1, of.experts)),
                                   ("unit", unit, of.units)):  # fmt: skip
            if not 0 <= number < most:
                raise StoreError(
                    f"{path}: block {block} of layer {layer} has no {name} {number}; there are 0 "
                    f"to {most - 1:,}"
                )
        return first + max(expert, 0) * of.units + unit

    def described(self) -> list[list[dict[str, int]]]:
        """As the root's attribute has them."""
        return [
            [{key: n for key, n in vars(of).items() if n} for of in layer] for layer in self.layers
        ]


def _width(blocks: Sequence[Block]) -> int:
    """Neurons of some blocks of a layer."""
    return sum(of.num_neurons for of in blocks)


def _spans(layer: Sequence[Block]) -> Iterator[tuple[Block, slice, int]]:
    """The blocks of a layer, each with its neurons and its first routed expert in the layer."""
    first = first_expert = 0
    for of in layer:
        yield of, slice(first, first + of.num_neurons), first_expert
        first, first_expert = first + of.num_neurons, first_expert + of.experts


def read_blocks(attrs: Mapping[str, Any]) -> Blocks | None:
    """The blocks of a store whose root has these attributes; None where all layers are alike.

    Raises ValueError if the attribute cannot be.
    """
    described = attrs.get(BLOCKS)
    if described is None:
        return None
    if not isinstance(described, list) or not all(isinstance(of, list) for of in described):
        raise ValueError("expected a list of blocks for each layer")
    blocks = Blocks(tuple(tuple(_read_block(of) for of in layer) for layer in described))
    if not any(blocks.layers) or blocks.alike:
        raise ValueError("expected layers that differ, or have several blocks")
    return blocks


def _read_block(described: Any) -> Block:
    numbers = described if isinstance(described, dict) else {}
    known = {"units", "experts", "experts_per_token"}
    if "units" not in numbers or set(numbers) - known:
        raise ValueError(f"found a block {str(described)[:60]!r}, expected units, experts")
    if not all(type(n) is int and n > 0 for n in numbers.values()):
        raise ValueError(f"found a block {str(described)[:60]!r}, expected numbers above zero")
    return Block(**numbers)


def check_blocks(path: str, attrs: Mapping[str, Any]) -> None:
    """Raise StoreError if the root's attribute cannot be, or is not of this format."""
    version = attrs["format_version"]
    if (BLOCKS in attrs) != (version >= BLOCKS_VERSION):
        what = "there are none" if version >= BLOCKS_VERSION else "there are some"
        raise StoreError(
            f"{path}: blocks: {what} in a store of format {version}; its metadata are damaged"
        )
    try:
        read_blocks(attrs)
    except ValueError as error:
        raise StoreError(f"{path}: blocks: {error}; its metadata are damaged") from error


def describe_blocks(layers: Sequence[Sequence[Block]]) -> dict[str, Any]:
    """Attributes of a new store with these blocks. Raises ValueError if all layers are alike."""
    described = Blocks(tuple(map(tuple, layers))).described()
    read_blocks({BLOCKS: described})
    return {BLOCKS: described, "coordinates": " ".join(PLACES)}


def write_places(group: zarr.Group, blocks: Blocks) -> tuple[str, ...]:
    """Write the coordinates of all neurons; returns their names."""
    for name, place_LN in blocks.places().items():
        arrays.write_array(group, name, PLACE_ARRAYS[name], place_LN)
    return tuple(PLACES)


def is_padded(blocks: Blocks, number_LN: NDArray[Any], empty: float, layers: slice) -> bool:
    """Whether neurons that do not exist hold what no token gives, and nothing else."""
    return bool((blocks.exists(layers) | (number_LN == empty)).all())
