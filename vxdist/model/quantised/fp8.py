"""FP8: 8-bit floating-point numbers, with a scale for each block of a matrix, or for all of it.

As DeepSeek-V3 is published (arXiv 2412.19437, section 3.3; its inference/kernel.py,
`weight_dequant`): the weight is the number times the scale, though the scale is named
`weight_scale_inv`. Blocks at the right and lower edges may be smaller.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from vxdist.model.quantised.scheme import (
    NO_SCALES,
    Shape,
    check_dims,
    check_shape,
    scale_shapes,
    spread,
)
from vxdist.model.safetensors_header import Tensor

DTYPES = ("F8_E4M3", "F8_E5M2")
SCALES = ("weight_scale_inv", "weight_scale")


class Fp8:
    """FP8 weights, in blocks if the configuration has `weight_block_size`."""

    form = "fp8"
    pattern = re.compile(rf"(?P<stem>.+)\.(?P<part>weight|{'|'.join(SCALES)})")
    suffix = ".weight"
    unused = NO_SCALES

    def __init__(self, about: Mapping[str, Any]) -> None:
        size = about.get("weight_block_size")
        self.block = None if size is None else (int(size[0]), int(size[1]))
        if self.block is not None and min(self.block) < 1:
            raise ValueError(f"weight_block_size {size}")

    def required(self, parts: Mapping[str, Tensor]) -> Sequence[str]:
        """A weight and its scale, if its numbers are of 8 bits or it has a scale."""
        scale = next((name for name in SCALES if name in parts), None)
        packed = "weight" in parts and parts["weight"].dtype in DTYPES
        return ("weight", scale or SCALES[0]) if packed or scale else ()

    def shape(self, parts: Mapping[str, Tensor]) -> Shape:
        """That of the numbers."""
        shape = check_dims(parts, "weight", 2)
        for name in SCALES:
            check_shape(parts, name, *scale_shapes(shape, self.block))
        return shape

    def unpack(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The numbers times their scales, in float32."""
        weight_RC = parts["weight"].float()
        scale = next(parts[name] for name in SCALES if name in parts)
        return weight_RC.mul_(spread(scale, tuple(weight_RC.shape), self.block))
