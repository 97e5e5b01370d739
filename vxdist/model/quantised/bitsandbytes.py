"""bitsandbytes: numbers of a table of 16 (nf4, fp4) by blocks, or whole numbers of 8 bits by rows.

The formats: github.com/bitsandbytes-foundation/bitsandbytes, bitsandbytes/functional.py,
`dequantize_4bit` and `QuantState`; and `int8_vectorwise_dequant`. The scales of 4-bit blocks may be
packed themselves, with a table of 256 (nested).
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from vxdist.model.quantised.scheme import MisfitError, Shape, check_dims, check_shape
from vxdist.model.safetensors_header import Tensor, read_values

STATES = tuple(f"weight.quant_state.bitsandbytes__{kind}" for kind in ("nf4", "fp4"))
MOST_STATE = 1 << 12
"""Bytes of a weight's settings, which have two hundred."""
LARGEST = 127
"""Of a whole number of 8 bits; SCB is the scale of it."""


class Bitsandbytes:
    """Weights of either kind; a checkpoint has one."""

    pattern = re.compile(
        r"(?P<stem>.+)\.(?P<part>SCB|weight_format|weight(\.(absmax|quant_map|nested_absmax|"
        r"nested_quant_map|quant_state\.bitsandbytes__(nf4|fp4)))?)"
    )
    suffix = ".weight"
    unused = re.compile(r"(?!)")  # matches nothing

    def __init__(self, about: Mapping[str, Any]) -> None:
        self.bits = 4 if about.get("load_in_4bit") else 8
        self.form = f"bitsandbytes, {self.bits} bits"

    def required(self, parts: Mapping[str, Tensor]) -> Sequence[str]:
        """What goes with whole numbers, or with any other part."""
        packed = "weight" in parts and parts["weight"].dtype in ("U8", "I8")
        if not packed and not set(parts) - {"weight"}:
            return ()
        if self.bits == 8:
            return "weight", "SCB"
        state = next((name for name in STATES if name in parts), STATES[0])
        return "weight", "weight.absmax", "weight.quant_map", state

    def shape(self, parts: Mapping[str, Tensor]) -> Shape:
        """That of the numbers of 8 bits; of 4 bits, what the state says."""
        if self.bits == 8:
            shape = check_dims(parts, "weight", 2)
            check_shape(parts, "SCB", (shape[0],))
            return shape
        name = next(name for name in STATES if name in parts)
        if parts[name].ends - parts[name].begins > MOST_STATE:
            raise MisfitError(name, f"at most {MOST_STATE} bytes")
        state = _read_state(read_values(parts[name]))
        rows, columns = shape = tuple(int(n) for n in state["shape"])
        size, blocks = rows * columns, -(-rows * columns // int(state["blocksize"]))
        weight = parts["weight"]
        if weight.ends - weight.begins != -(-size // 2):
            raise MisfitError("weight", f"{-(-size // 2):,} bytes for {list(shape)}")
        check_shape(parts, "weight.quant_map", (16,))
        check_shape(parts, "weight.absmax", (blocks,))
        if parts["weight.absmax"].dtype == "U8" or "nested_blocksize" in state:
            if not {"weight.nested_absmax", "weight.nested_quant_map"} <= set(parts):
                raise MisfitError("weight.absmax", "nested_absmax and nested_quant_map beside it")
            check_shape(
                parts, "weight.nested_absmax", (-(-blocks // int(state["nested_blocksize"])),)
            )
            check_shape(parts, "weight.nested_quant_map", (256,))
        return shape

    def unpack(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """A number times its row's or block's scale, in float32."""
        if self.bits == 8:
            if int(parts.get("weight_format", torch.zeros(())).max()) != 0:
                raise ValueError("its numbers are not in the order of rows (weight_format)")
            return parts["weight"].float().mul_(parts["SCB"].float()[:, None] / LARGEST)
        state = _read_state(next(parts[name] for name in STATES if name in parts))
        byte_K = parts["weight"].flatten().view(torch.uint8).int()
        index_N = torch.stack([byte_K >> 4, byte_K & 15], -1).flatten()
        scale_B = parts["weight.absmax"]
        if "weight.nested_absmax" in parts:
            nested_B = parts["weight.nested_absmax"].float()
            nested = min(int(state["nested_blocksize"]), len(scale_B))
            nested_B = nested_B.repeat_interleave(nested)[: len(scale_B)]
            scale_B = parts["weight.nested_quant_map"].float()[scale_B.int()] * nested_B
            scale_B = scale_B + float(state["nested_offset"])
        size = int(torch.Size(state["shape"]).numel())
        number_N = parts["weight.quant_map"].float()[index_N[:size]]
        block = min(int(state["blocksize"]), size)
        scale_N = scale_B.float().repeat_interleave(block)[:size]
        return number_N.mul_(scale_N).reshape(state["shape"])


def _read_state(byte_K: torch.Tensor) -> dict[str, Any]:
    """The settings of a weight, JSON as bytes. Raises ValueError if they are none."""
    state = json.loads(bytes(byte_K.tolist()))
    shape = state["shape"]
    if len(shape) != 2 or min(*shape, int(state["blocksize"])) < 1:
        raise ValueError(f"a shape of {shape} in blocks of {state['blocksize']}")
    return dict(state)
