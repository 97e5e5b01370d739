"""The header of a GGUF file, checked before anything of it is converted.

The format: github.com/ggml-org/ggml, docs/gguf.md. As in llama.cpp, no key and no tensor may occur
twice, and the tensors must follow each other, whole, in the order of the header. Readers that do
not look take bytes of a neighbour, or past the end, for weights.
"""

import functools
import math
import mmap
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vxdist.errors import UserError
from vxdist.model.sizes import MOST_LAYERS

MAGIC, VERSIONS = b"GGUF", (2, 3)
MOST_TENSORS, MOST_KEYS, MOST_ITEMS = 100_000, 10_000, 10_000_000
MOST_DIMS, LONGEST_NAME, LONGEST_TEXT = 4, 1024, 64 << 20
STRING, ARRAY = 8, 9
NUMBERS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
"""Kinds of values, as `struct` names them; strings and arrays beside."""
REQUIRED = ("block_count", "embedding_length", "attention.head_count")
"""Keys of an architecture for which transformers would take a default of its own."""
EPSILONS = ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon")


_BLOCK = re.compile(r"blk\.(\d{1,9})\.")


class _Damaged(Exception):
    """What is wrong with the file."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the header says: its values by key (of an array only the length), and each tensor's
    number of weights."""

    values: Mapping[str, Any]
    weights: Mapping[str, int]


def check_header(file: Path) -> Header:
    """Read the header of a GGUF file. Raises UserError, in one line, unless the file is whole."""
    try:
        if file.stat().st_size < 24:
            raise _Damaged("it is too short")
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as m:
            return _Reader(m).read()
    except (_Damaged, struct.error, UnicodeDecodeError, ValueError, OSError) as error:
        reason = str(error) if isinstance(error, _Damaged) else "its header is cut off or damaged"
        raise UserError(
            f"model.path: {file} is not a whole GGUF file: {reason}; download it again"
        ) from error


class _Reader:
    """Reads from the beginning on; nothing is taken on trust."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content, self._at = content, 0

    def read(self) -> Header:
        """The header, checked."""
        if self._content[:4] != MAGIC:
            raise _Damaged("it does not begin with GGUF")
        self._at = 4
        if (version := self._number("I")) not in VERSIONS:
            raise _Damaged(f"version {version} is not 2 or 3")
        num_tensors, num_keys = self._count(MOST_TENSORS), self._count(MOST_KEYS)
        values: dict[str, Any] = {}
        for _ in range(num_keys):
            key = self._text(LONGEST_NAME)
            if key in values:
                raise _Damaged(f"the key {key[:60]!r} occurs twice")
            values[key] = self._value(self._number("I"))
        _check_values(values, num_tensors)
        sizes = self._tensors(num_tensors)
        _check_blocks(values, sizes)
        self._check_places(sizes, int(values.get("general.alignment", 32)))
        return Header(values=values, weights={name: n for name, (n, _, _) in sizes.items()})

    def _number(self, kind: str) -> Any:
        (found,) = struct.unpack_from(f"<{kind}", self._content, self._at)
        self._at += struct.calcsize(kind)
        return found

    def _count(self, most: int) -> int:
        count: int = self._number("Q")
        if count > most:
            raise _Damaged(f"it declares {count:,} items, expected at most {most:,}")
        return count

    def _text(self, longest: int = LONGEST_TEXT) -> str:
        length = self._count(longest)
        text = self._content[self._at : self._at + length]
        if len(text) < length:
            raise _Damaged("its header is cut off or damaged")
        self._at += length
        return text.decode()

    def _value(self, kind: int, *, inner: bool = False) -> Any:
        if kind in NUMBERS:
            return self._number(NUMBERS[kind])
        if kind == STRING:
            return self._text()
        if kind != ARRAY or inner:
            raise _Damaged(f"it holds a value of the unknown kind {kind}")
        kind, count = self._number("I"), self._count(MOST_ITEMS)
        if kind in NUMBERS:
            self._at += count * struct.calcsize(NUMBERS[kind])
            if self._at > len(self._content):
                raise _Damaged("its header is cut off or damaged")
        else:
            for _ in range(count):
                self._value(kind, inner=True)
        return [count]

    def _tensors(self, count: int) -> dict[str, tuple[int, int, int]]:
        """Number of weights, bytes and place of each tensor, in the order of the header."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        found: dict[str, tuple[int, int, int]] = {}
        for _ in range(count):
            name = self._text(LONGEST_NAME)
            num_dims = self._number("I")
            if name in found or not 1 <= num_dims <= MOST_DIMS:
                raise _Damaged(
                    f"the tensor {name[:60]!r} occurs twice, or has {num_dims} dimensions"
                )
            shape = [self._number("Q") for _ in range(num_dims)]
            kind, place = self._number("I"), self._number("Q")
            try:
                known = GGMLQuantizationType(kind)
                block, size = GGML_QUANT_SIZES[known]
            except (ValueError, KeyError):
                raise _Damaged(f"the tensor {name[:60]!r} is of the unknown type {kind}") from None
            _check_type(name, known)
            if min(shape) < 1 or shape[0] % block:
                raise _Damaged(f"the tensor {name[:60]!r} has the shape {shape}")
            found[name] = math.prod(shape), math.prod(shape) // block * size, place
        return found

    def _check_places(self, sizes: Mapping[str, tuple[int, int, int]], alignment: int) -> None:
        def aligned(at: int) -> int:
            return -(-at // alignment) * alignment

        expected = 0
        for name, (_, size, place) in sizes.items():
            if place != expected:
                raise _Damaged(
                    f"the tensor {name[:60]!r} is at {place:,}, expected at {expected:,}, behind "
                    "the one before it"
                )
            end, expected = place + size, aligned(place + size)
        begins = aligned(self._at)
        if not sizes or not begins + end <= len(self._content) <= begins + expected:
            raise _Damaged(
                f"its header promises {begins + (end if sizes else 0):,} bytes, it has "
                f"{len(self._content):,}"
            )


def _check_type(name: str, kind: Any) -> None:
    """Raise UserError unless the package gguf unpacks this type."""
    if not _is_read(kind):
        raise UserError(
            f"model.path: the tensor {name[:60]!r} of the GGUF file is of the type {kind.name}, "
            "which cannot be unpacked; convert the model to another type, such as Q4_K, Q8_0 or F16"
        )


@functools.cache
def _is_read(kind: Any) -> bool:
    from gguf import GGML_QUANT_SIZES
    from gguf.quants import dequantize

    try:
        with np.errstate(all="ignore"):
            dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8), kind)
    except NotImplementedError:
        return False
    return True


def _check_values(values: Mapping[str, Any], num_tensors: int) -> None:
    """What decides how the model computes must be there, and be possible."""
    alignment = values.get("general.alignment", 32)
    if type(alignment) is not int or not 1 <= alignment <= 1 << 20:
        raise _Damaged(f"general.alignment is {alignment!r}")
    family = values.get("general.architecture")
    missing = [key for key in REQUIRED if f"{family}.{key}" not in values]
    if not isinstance(family, str) or missing:
        raise _Damaged(f"it has no {missing[0] if missing else 'general.architecture'}")
    if not any(f"{family}.{key}" in values for key in EPSILONS):
        raise _Damaged(f"it has no {EPSILONS[0]}")
    layers = values[f"{family}.block_count"]
    if type(layers) is not int or not 1 <= layers <= min(num_tensors, MOST_LAYERS):
        raise _Damaged(f"block_count is {layers!r}, and it has {num_tensors:,} tensors")
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise _Damaged(f"{key[:60]} is {value}")


def _check_blocks(values: Mapping[str, Any], tensors: Iterable[str]) -> None:
    """A model of fewer blocks than the file holds would compute too, with other results."""
    numbers = [int(found[1]) for name in tensors if (found := _BLOCK.match(name))]
    declared = values[f"{values['general.architecture']}.block_count"]
    if declared != (held := max(numbers, default=-1) + 1):
        raise _Damaged(f"block_count is {declared}, and it holds {held} blocks")
