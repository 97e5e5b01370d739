"""GPTQ: whole numbers of 2, 4 or 8 bits, in groups of rows with a scale and a zero point each.

The format: github.com/AutoGPTQ/AutoGPTQ, auto_gptq/nn_modules/qlinear/qlinear_cuda_old.py, `pack`
and `forward`. Its matrices are transposed: rows are the input features. Version 1 keeps every zero
point minus one; version 2 (github.com/ModelCloud/GPTQModel) keeps it as it is.

I: input feature, O: output feature, G: group of input features.
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

BITS = (2, 4, 8)
"""Those that divide the 32 of a word; with 3 bits, numbers straddle words."""
FORMATS = {"gptq": 1, "gptq_v2": 0}
"""What is to be added to the zero points of each format."""


class Gptq:
    """GPTQ weights, in the order of their columns or of their importance (`g_idx`)."""

    pattern = re.compile(r"(?P<stem>.+)\.(?P<part>qweight|qzeros|scales|g_idx)")
    suffix = ".weight"
    unused = NO_TENSOR

    def __init__(self, about: Mapping[str, Any]) -> None:
        self.bits, self.group = int(about["bits"]), int(about.get("group_size", -1))
        kind = about.get("checkpoint_format") or "gptq"
        if self.bits not in BITS or kind not in FORMATS or about.get("dynamic"):
            raise ValueError(
                f"{self.bits} bits, checkpoint_format {kind}"
                + (", with modules that differ (dynamic)" if about.get("dynamic") else "")
            )
        self.offset = FORMATS[kind]
        self.form = f"gptq, {self.bits} bits"

    def required(self, parts: Mapping[str, Tensor]) -> Sequence[str]:
        """All but g_idx, if there are whole numbers."""
        return ("qweight", "qzeros", "scales") if "qweight" in parts else ()

    def shape(self, parts: Mapping[str, Tensor]) -> Shape:
        """(O, I)."""
        words, outputs = check_dims(parts, "qweight", 2)
        inputs, per_word = words * 32 // self.bits, 32 // self.bits
        groups = 1 if self.group < 1 else -(-inputs // self.group)
        check_shape(parts, "scales", (groups, outputs))
        check_shape(parts, "qzeros", (groups, -(-outputs // per_word)))
        check_shape(parts, "g_idx", (inputs,))
        return outputs, inputs

    def unpack(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(number - zero point) * scale, in float32."""
        number_IO = unpack_words(parts["qweight"].T, self.bits).T
        scale_GO, inputs = parts["scales"], len(number_IO)
        zero_GO = unpack_words(parts["qzeros"], self.bits)[:, : scale_GO.shape[1]]
        zero_GO = (zero_GO + self.offset) & ((1 << self.bits) - 1)
        group_I = parts.get("g_idx")
        if group_I is not None and not 0 <= group_I.min() <= group_I.max() < len(scale_GO):
            raise ValueError(f"g_idx names groups that are not among the {len(scale_GO)}")
        size = inputs if self.group < 1 else self.group
        return scale_groups(number_IO, zero_GO, scale_GO, size=size, group_I=group_I)
