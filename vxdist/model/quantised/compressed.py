"""compressed-tensors, which llm-compressor writes and vLLM reads: whole or floating-point numbers,
with scales for a matrix, its rows, groups of its columns, or blocks.

The formats: github.com/vllm-project/compressed-tensors, src/compressed_tensors/compressors:
`naive_quantized` keeps a number in 8 bits, `pack_quantized` several in a word, each plus half of
the range, with zero points packed along the rows.

R: row, C: column, G: group of columns.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from vxdist.model.quantised.scheme import (
    NO_SCALES,
    MisfitError,
    Shape,
    check_dims,
    check_shape,
    scale_shapes,
    spread,
    unpack_words,
)
from vxdist.model.safetensors_header import Tensor, read_values

PACKED = "pack-quantized"
EIGHT_BITS = {"int-quantized", "float-quantized", "naive-quantized"}
BITS = (4, 8)
"""Those that divide the 32 of a word."""


class Compressed:
    """Weights of one format and number of bits."""

    pattern = re.compile(
        r"(?P<stem>.+)\.(?P<part>weight|weight_(packed|scale|shape|zero_point|g_idx))"
    )
    suffix = ".weight"
    unused = NO_SCALES

    def __init__(self, about: Mapping[str, Any]) -> None:
        groups = [group for group in about["config_groups"].values() if group.get("weights")]
        formats = {str(group.get("format") or about.get("format")) for group in groups}
        weights = [group["weights"] for group in groups]
        bits = {int(of["num_bits"]) for of in weights}
        blocks = {_block(of) for of in weights}
        known = formats <= ({PACKED} if bits <= set(BITS) else set()) | EIGHT_BITS
        if not known or _is_changed(about) or {len(formats), len(bits), len(blocks)} != {1}:
            raise ValueError(
                f"format {' and '.join(sorted(formats)) or 'none'}, "
                f"{' and '.join(map(str, sorted(bits))) or 'no'} bits"
                f"{', sparse or transformed' * _is_changed(about)}"
            )
        self.format, self.bits, self.block = formats.pop(), bits.pop(), blocks.pop()
        self.form = f"compressed-tensors {self.format}, {self.bits} bits"

    def required(self, parts: Mapping[str, Tensor]) -> Sequence[str]:
        """Numbers, scales, and for words the shape, if the weight has any part beside itself."""
        if self.format == PACKED:
            packed = set(parts) - {"weight"}
            return ("weight_packed", "weight_scale", "weight_shape") if packed else ()
        dtypes = ("I8", "F8_E4M3", "F8_E5M2")
        packed_one = "weight" in parts and parts["weight"].dtype in dtypes
        return ("weight", "weight_scale") if packed_one or len(parts) > 1 else ()

    def shape(self, parts: Mapping[str, Tensor]) -> Shape:
        """That of the numbers; of words, the one that the checkpoint has as numbers."""
        shape = check_dims(parts, "weight" if self.format != PACKED else "weight_packed", 2)
        zeros = list(scale_shapes(shape, self.block))
        if self.format == PACKED:
            check_shape(parts, "weight_shape", (2,))
            found = tuple(read_values(parts["weight_shape"]).tolist())
            per_word = 32 // self.bits
            if found[0] != shape[0] or -(-found[1] // per_word) != shape[1]:
                raise MisfitError("weight_packed", f"words of {list(found)}")
            shape = found
            zeros = [
                (-(-of[0] // per_word), *of[1:]) for of in scale_shapes(shape, self.block) if of
            ]
        check_shape(parts, "weight_scale", *scale_shapes(shape, self.block))
        check_shape(parts, "weight_zero_point", *zeros)
        check_shape(parts, "weight_g_idx", (shape[1],))
        return shape

    def unpack(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(number - zero point) * scale, in float32."""
        zero = parts.get("weight_zero_point")
        scale = parts["weight_scale"]
        if self.format == PACKED:
            half = 1 << (self.bits - 1)
            columns = int(parts["weight_shape"][1])
            number_RC = unpack_words(parts["weight_packed"], self.bits)[:, :columns].float() - half
            if zero is not None:
                zero = unpack_words(zero.T, self.bits).T[: len(number_RC)].float() - half
        else:
            number_RC = parts["weight"]
        shape = tuple(number_RC.shape)
        group_C = parts.get("weight_g_idx")
        weight_RC = number_RC.float()
        if zero is not None:
            weight_RC = weight_RC - self._spread(zero, shape, group_C)
        return weight_RC.mul_(self._spread(scale, shape, group_C))

    def _spread(
        self, scale: torch.Tensor, shape: Shape, group_C: torch.Tensor | None
    ) -> torch.Tensor:
        """One for each number; `group_C` names the group of each column, if not in their order."""
        if group_C is None or int(group_C.min()) < 0 or scale.dim() < 2:
            return spread(scale, shape, self.block)
        return scale.float()[:, group_C.long()]


def _block(weights: Mapping[str, Any]) -> Shape | None:
    """Rows and columns that share a scale; None if there is one for each row, or only one."""
    if found := weights.get("block_structure"):
        return int(found[0]), int(found[1])
    size = int(weights.get("group_size") or 0)
    return (1, size) if size > 0 else None


def _is_changed(about: Mapping[str, Any]) -> bool:
    """Whether weights are also kept sparse, or were rotated."""
    sparse = (about.get("sparsity_config") or {}).get("format") or "dense"
    return sparse != "dense" or bool(about.get("transform_config"))
