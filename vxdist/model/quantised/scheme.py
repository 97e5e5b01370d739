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


NO_TENSOR = re.compile(r"(?!)")
"""Matches nothing."""


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
    """The whole numbers of `bits` bits in words of 32, the lowest bits first, as bytes;
    (R, 32 / bits * W). `bits` is 2, 4 or 8."""
    byte_RB = word_RW.contiguous().view(torch.uint8)  # the lowest byte comes first
    if bits == 8:
        return byte_RB
    shift_S = torch.arange(0, 8, bits, dtype=torch.uint8)
    return ((byte_RB[..., None] >> shift_S) & ((1 << bits) - 1)).flatten(-2)


def scale_groups(
    number_IO: torch.Tensor,
    zero_GO: torch.Tensor,
    scale_GO: torch.Tensor,
    *,
    size: int,
    group_I: torch.Tensor | None = None,
) -> torch.Tensor:
    """(number - zero point) * scale, in float32, transposed: (O, I).

    I: input feature, O: output feature, G: group of `size` input features, or of those that
    `group_I` puts there.
    """
    weight_IO, zero_GO, scale_GO = number_IO.float(), zero_GO.float(), scale_GO.float()
    inputs, groups = len(weight_IO), len(scale_GO)
    in_order_I = torch.arange(inputs) // size
    if group_I is None or torch.equal(group_I.long(), in_order_I):
        group_I = in_order_I
        if inputs == groups * size:
            weight_GSO = weight_IO.view(groups, size, -1)
            weight_GSO.sub_(zero_GO[:, None]).mul_(scale_GO[:, None])
            return weight_IO.T.contiguous()
    group_I = group_I.long()
    return weight_IO.sub_(zero_GO[group_I]).mul_(scale_GO[group_I]).T.contiguous()
