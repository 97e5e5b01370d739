"""The header of a safetensors file, which names every tensor with its type, shape and place.

The format: github.com/huggingface/safetensors, "Format". It allows no holes and no overlaps.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vxdist.errors import UserError
from vxstore.text import shorten

MOST_HEADER = 100_000_000
"""Bytes of the largest header; the safetensors package reads no larger one either."""
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor of a checkpoint; without shape and dtype if only the index is here."""

    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    file: Path | None = None
    begins: int = 0
    """Where in the file its first byte is."""
    ends: int = 0
    """The same of the byte behind its last."""


def read_header(file: Path) -> Mapping[str, Tensor]:
    """The tensors of a safetensors file. Raises UserError if it is missing, cut off or no such."""
    if not file.is_file():
        raise UserError(f"model.path: {file} is missing; download the model again")
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > min(size, MOST_HEADER):
                raise ValueError
            header = json.loads(stream.read(length), object_pairs_hook=_once)
        header.pop("__metadata__", None)
        tensors = {str(name): _described(file, 8 + length, of) for name, of in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise UserError(
            f"model.path: {file} is not a whole safetensors file (its header is unreadable); "
            "download it again"
        ) from error
    _check_places(file, size, 8 + length, tensors)
    return tensors


def read_values(tensor: Tensor) -> torch.Tensor:
    """The numbers of a tensor whose file is here. Raises UserError if it cannot be read."""
    assert tensor.file is not None
    assert tensor.shape is not None
    if tensor.dtype not in DTYPES:
        raise UserError(
            f"model.path: {tensor.file} has a tensor of the type {shorten(str(tensor.dtype))}, "
            "which vxdist does not read; use the unpacked model"
        )
    try:
        with tensor.file.open("rb") as stream:
            stream.seek(tensor.begins)
            content = bytearray(stream.read(tensor.ends - tensor.begins))
    except OSError as error:
        told = f"model.path: {tensor.file} cannot be read: {error.strerror}"
        raise UserError(told) from error
    if len(content) != tensor.ends - tensor.begins:
        raise UserError(f"model.path: {tensor.file} is cut off; download it again")
    dtype = DTYPES[tensor.dtype]
    if not content:
        return torch.empty(tensor.shape, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype).reshape(tensor.shape)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)


def _described(file: Path, data: int, found: Mapping[str, Any]) -> Tensor:
    begins, ends = found["data_offsets"]
    shape = found["shape"]
    if not all(type(n) is int and n >= 0 for n in (*shape, begins, ends)):
        raise ValueError
    return Tensor(
        shape=tuple(shape),
        dtype=str(found["dtype"]),
        file=file,
        begins=data + begins,
        ends=data + ends,
    )


def _check_places(file: Path, size: int, data: int, tensors: Mapping[str, Tensor]) -> None:
    """Raise UserError unless the tensors, each of its shape's size, fill the file: no byte is in
    two of them, and none in none."""
    at = data
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begins, item[1].ends)):
        dtype = DTYPES.get(str(tensor.dtype))
        length = None if dtype is None else math.prod(tensor.shape or ()) * dtype.itemsize
        held = tensor.ends - tensor.begins
        if tensor.begins != at or held < 0 or length not in (None, held):
            raise UserError(
                f"model.path: {file} is damaged: its tensor {shorten(name)} ({tensor.dtype} "
                f"{list(tensor.shape or ())}) is at bytes {tensor.begins:,} to {tensor.ends:,}, "
                f"expected {length if length is not None else held:,} from {at:,}; download it "
                "again"
            )
        at = tensor.ends
    if size != at:
        raise UserError(
            f"model.path: {file} is cut off: its header promises {at:,} bytes, it has {size:,}; "
            "download it again"
        )
