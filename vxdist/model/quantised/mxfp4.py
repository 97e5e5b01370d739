"""MXFP4: 4-bit floating-point numbers, 32 of which share a power of two, as gpt-oss is published.

The format: OCP Microscaling Formats (MX) Specification 1.0, sections 5.2 and 6.3. An element E2M1
has a sign, two bits of exponent and one of fraction; the scale E8M0 is 2 ** (byte - 127).

E: expert, R: row, G: group of 32 columns, K: byte of two columns, C: column.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from vxdist.model.quantised.scheme import NO_TENSOR, Shape, check_dims, check_shape
from vxdist.model.safetensors_header import Tensor

VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
NUMBERS = (*VALUES, *(-number for number in VALUES))
BIAS, GROUP = 127, 32


class Mxfp4:
    """The experts of gpt-oss; everything else in its checkpoint is not packed."""

    form = "mxfp4"
    pattern = re.compile(r"(?P<stem>.+_proj)_(?P<part>blocks|scales)")
    suffix = ""
    unused = NO_TENSOR

    def __init__(self, _: Mapping[str, Any]) -> None:
        pass

    def required(self, _: Mapping[str, Tensor]) -> Sequence[str]:
        """All parts: no weight shares their names."""
        return "blocks", "scales"

    def shape(self, parts: Mapping[str, Tensor]) -> Shape:
        """(E, C, R), as gpt-oss multiplies from the left."""
        experts, rows, groups, _ = shape = check_dims(parts, "blocks", 4)
        check_shape(parts, "blocks", (*shape[:3], GROUP // 2))
        check_shape(parts, "scales", (experts, rows, groups))
        return experts, groups * GROUP, rows

    def unpack(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """In bfloat16, which holds the product of such a number and scale exactly."""
        number = torch.tensor(NUMBERS, dtype=torch.bfloat16)
        pairs = torch.stack([number[torch.arange(256) & 15], number[torch.arange(256) >> 4]], -1)
        experts = zip(parts["blocks"], parts["scales"], strict=True)
        return torch.stack([_unpack(pairs, *expert).T for expert in experts])


def _unpack(pairs: torch.Tensor, block_RGK: torch.Tensor, scale_RG: torch.Tensor) -> torch.Tensor:
    """(R, C), of one expert; `pairs` are the two numbers of each byte, the lower bits first."""
    number_RGC = pairs[block_RGK.int()].flatten(-2)
    return torch.ldexp(number_RGC, (scale_RG.int() - BIAS)[..., None]).flatten(-2)
