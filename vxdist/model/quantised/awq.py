"""AWQ: whole numbers of 4 bits, in groups of rows with a scale and a zero point each.

The format: github.com/casper-hansen/AutoAWQ, awq/utils/packing_utils.py, version `gemm`. Its
matrices are transposed: rows are the input features. The eight numbers of a word are not in order.

I: input feature, O: output feature, G: group of input features, W: word.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from vxdist.model.quantised.scheme import (
    NO_TENSOR,
    Shape,
    check_dims,
    check_shape,
    scale_groups,
    unpack_words,
)
from vxdist.model.safetensors_header import Tensor

BITS, PER_WORD = 4, 8
PLACES = (0, 4, 1, 5, 2, 6, 3, 7)
"""Where in a word each of eight neighbours is, counted from the lowest bits."""


class Awq:
    """AWQ weights of version `gemm`."""

    form = "awq, 4 bits"
    pattern = re.compile(r"(?P<stem>.+)\.(?P<part>qweight|qzeros|scales)")
    suffix = ".weight"
    unused = NO_TENSOR

    def __init__(self, about: Mapping[str, Any]) -> None:
        bits = about.get("bits", about.get("w_bit", BITS))
        self.group = int(about.get("group_size", about.get("q_group_size", 128)))
        version = str(about.get("version", about.get("format", "gemm"))).lower()
        if bits != BITS or version != "gemm":
            raise ValueError(f"{bits} bits, version {version}")

    def required(self, parts: Mapping[str, Tensor]) -> Sequence[str]:
        """All parts, if there are whole numbers."""
        return ("qweight", "qzeros", "scales") if "qweight" in parts else ()

    def shape(self, parts: Mapping[str, Tensor]) -> Shape:
        """(O, I)."""
        inputs, words = check_dims(parts, "qweight", 2)
        groups = 1 if self.group < 1 else -(-inputs // self.group)
        check_shape(parts, "scales", (groups, words * PER_WORD))
        check_shape(parts, "qzeros", (groups, words))
        return words * PER_WORD, inputs

    def unpack(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(number - zero point) * scale, in float32."""
        number_IO, zero_GO = _unpack(parts["qweight"]), _unpack(parts["qzeros"])
        size = len(number_IO) if self.group < 1 else self.group
        return scale_groups(number_IO, zero_GO, parts["scales"], size=size)


def _unpack(word_IW: torch.Tensor) -> torch.Tensor:
    number_IO = unpack_words(word_IW, BITS)
    return number_IO.reshape(len(word_IW), -1, PER_WORD)[..., list(PLACES)].flatten(-2)
