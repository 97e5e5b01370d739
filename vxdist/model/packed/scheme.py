"""What a way to pack weights says of itself, and what several of them share.

R: row of a matrix (output feature), C: column (input feature), W: word of 32 bits.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch

from vxdist.model.safetensors_header import Tensor

Shape = tuple[int, ...]


class MisfitError(Exception):
    """A tensor of a packed weight has not the shape that goes with the others."""

    def __init__(self, part: str, expected: object) -> None:
        super().__init__(part, expected)
        self.part, self.expected = part, expected


class Scheme(Protocol):
    """A way to pack a weight into several tensors, its parts."""

    form: str
    """How the weights are packed, for people and for a store's attributes."""
    pattern: re.Pattern[str]
    """Matches the names of parts: a group `stem`, and a group `part` with the part's own name."""
    suffix: str
    """What a model adds to the stem to name the weight."""
    unused: re.Pattern[str]
    """Matches tensors that only packed arithmetic reads, such as scales of activations."""

    def required(self, parts: Mapping[str, Tensor]) -> Sequence[str]:
        """The parts that a weight with these must have; none if it is not packed."""

    def shape(self, parts: Mapping[str, Tensor]) -> Shape:
        """The shape of the weight. Raises MisfitError if the parts do not fit together."""

    def unpack(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The weight, as floating-point numbers. Raises ValueError if a part makes no sense."""


NO_SCALES = re.compile(
    r"\.(input_scale|input_global_scale|input_zero_point|activation_scale|[qkv]_scale"
    r"|output_scale|[qkv]_zero_point)$"
)
"""Scales of activations and of the cache of keys and values."""


def check_shape(parts: Mapping[str, Tensor], part: str, *shapes: Shape) -> None:
    """Raise MisfitError unless the part, if it is there, has one of these shapes."""
    if part in parts and parts[part].shape not in shapes:
        raise MisfitError(part, " or ".join(str(list(shape)) for shape in dict.fromkeys(shapes)))


def check_dims(parts: Mapping[str, Tensor], part: str, dims: int) -> Shape:
    """The shape of a part. Raises MisfitError unless it has so many dimensions."""
    shape = parts[part].shape or ()
    if len(shape) != dims:
        raise MisfitError(part, f"{dims} dimensions")
    return shape


def scale_shapes(shape: Shape, block: Shape | None) -> list[Shape]:
    """The shapes that a matrix's scales may have: one, one for each row, or one for each block."""
    rows, columns = shape
    shapes: list[Shape] = [(), (1,), (1, 1), (rows,), (rows, 1)]
    if block is not None:
        shapes.append((-(-rows // block[0]), -(-columns // block[1])))
    return shapes


def spread(scale: torch.Tensor, shape: Shape, block: Shape | None) -> torch.Tensor:
    """Scales, one for each block, for each row, or only one, so that they broadcast to `shape`."""
    scale = scale.float()
    if scale.numel() == 1:
        return scale.reshape(1, 1)
    if scale.dim() == 1 or scale.shape == (shape[0], 1):
        return scale.reshape(-1, 1)
    assert block is not None
    rows_RC = scale.repeat_interleave(min(block[0], shape[0]), 0)[: shape[0]]
    return rows_RC.repeat_interleave(min(block[1], shape[1]), 1)[:, : shape[1]]


def unpack_words(word_RW: torch.Tensor, bits: int) -> torch.Tensor:
    """The whole numbers of `bits` bits in words of 32, the lowest bits first; (R, 32 / bits * W).

    `bits` must divide 32.
    """
    shift_S = torch.arange(0, 32, bits, dtype=torch.int32)
    return ((word_RW[..., None] >> shift_S) & ((1 << bits) - 1)).flatten(-2)
