"""What a stranger's store may declare: looked at in the metadata, before anything is allocated.

Only Zarr v3, plain number and string types, and codecs that decode and do nothing else; no chunk
larger than memory is sure to hold. A decoder that is handed a bomb refuses it.
"""

import math
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec
from zarr.codecs import VLenUTF8Codec as UnguardedStrings
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer
from zarr.registry import register_codec

from vxstore.errors import StoreError

LARGEST_METADATA = 64 << 20
LARGEST_CHUNK = 256 << 20
LARGEST_SHARD = 1 << 20
"""Bytes of a zarr.json and of a decoded chunk; inner chunks of a shard."""
LARGEST_ARRAY = 1 << 40
LONGEST_COORDINATE = 10_000_000
"""Elements of an array; of one with a single dimension, which is read on opening."""
ITEM_BYTES = {"bool": 1, "int32": 4, "int64": 8, "float32": 4, "float64": 8, "string": 64}
_OPENING = threading.RLock()
CODECS = ("bytes", "vlen-utf8", "zstd", "crc32c", "sharding_indexed")


class ChunkError(StoreError):
    """A chunk whose content is not what was written."""

    def __init__(self, why: str) -> None:
        super().__init__(f"a chunk is damaged: {why}; `vxstore check STORE` finds which")
        self.why = why


def check_array(name: str, doc: Mapping[str, Any]) -> None:
    """Refuse an array that could exhaust memory or asks for an unknown codec.

    `doc` is its zarr.json. Raises StoreError, naming what was found.
    """
    try:
        _check_array(name, doc)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"{name}: its metadata are not those of a Zarr v3 array") from error


def _check_array(name: str, doc: Mapping[str, Any]) -> None:
    if doc["zarr_format"] != 3 or doc["node_type"] != "array":
        raise StoreError(f"{name}: found {doc['node_type']!r}, expected a Zarr v3 array")
    kind = doc["data_type"]
    if not isinstance(kind, str) or kind not in ITEM_BYTES:
        raise StoreError(f"{name}: type {kind!r} is not one of {', '.join(ITEM_BYTES)}")
    shape = _lengths(name, doc["shape"], least=0)
    most = LONGEST_COORDINATE if len(shape) == 1 else LARGEST_ARRAY
    if math.prod(shape) > most:
        raise StoreError(f"{name}: shape {list(shape)} is beyond {most:,} elements")
    if doc["chunk_grid"]["name"] != "regular" or doc.get("storage_transformers"):
        raise StoreError(f"{name}: only a regular chunk grid without transformers is read")
    chunk = _lengths(name, doc["chunk_grid"]["configuration"]["chunk_shape"], least=1)
    _check_codecs(name, doc["codecs"], chunk, ITEM_BYTES[kind])


def _check_codecs(name: str, codecs: Any, chunk: tuple[int, ...], item: int) -> None:
    for codec in codecs:
        kind = codec["name"]
        if kind not in CODECS:
            raise StoreError(f"{name}: codec {kind!r} is not one of {', '.join(CODECS)}")
        if kind == "sharding_indexed":
            inner = _lengths(name, codec["configuration"]["chunk_shape"], least=1)
            count = math.prod(chunk) // math.prod(inner)
            if len(codecs) > 1 or len(inner) != len(chunk) or count > LARGEST_SHARD:
                raise StoreError(f"{name}: shards of {list(chunk)} in {list(inner)} are not read")
            _check_codecs(name, codec["configuration"]["codecs"], inner, item)
            _check_codecs(name, codec["configuration"]["index_codecs"], (1,), 16)
            return
    if math.prod(chunk) * item > LARGEST_CHUNK:
        raise StoreError(f"{name}: chunks of {list(chunk)} are beyond {LARGEST_CHUNK:,} bytes")


def _lengths(name: str, shape: Any, *, least: int) -> tuple[int, ...]:
    if not isinstance(shape, list) or not all(type(n) is int and n >= least for n in shape):
        raise StoreError(f"{name}: shape {str(shape)[:80]} is not a list of lengths")
    return tuple(shape)


@contextmanager
def guarded() -> Iterator[None]:
    """Arrays opened inside decode with the guarded codecs below; nothing else is changed.

    One thread at a time: zarr's settings are the process's, and are put back on leaving.
    """
    names = {}
    kinds = {
        "zstd": GuardedZstd,
        "crc32c": GuardedCrc32c,
        "vlen-utf8": VLenUTF8Codec,
        "bytes": GuardedBytes,
    }
    for key, kind in kinds.items():
        names[f"codecs.{key}"] = f"{kind.__module__}.{kind.__qualname__}"
        register_codec(key, kind, qualname=names[f"codecs.{key}"])
    with _OPENING, zarr.config.set(names):
        yield


class GuardedZstd(ZstdCodec):
    """zstd that looks at the size a frame declares before it allocates it."""

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        declared = frame_size(chunk_bytes.as_numpy_array()[:18].tobytes())
        if declared is None or declared > LARGEST_CHUNK:
            raise ChunkError("its zstd frame declares no size, or a huge one")
        try:
            return await super()._decode_single(chunk_bytes, chunk_spec)
        except (RuntimeError, ValueError) as error:
            raise ChunkError(str(error)) from error


class GuardedCrc32c(Crc32cCodec):
    """crc32c whose errors are in vxstore's words."""

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        try:
            return await super()._decode_single(chunk_bytes, chunk_spec)
        except ValueError as error:
            raise ChunkError("its checksum differs") from error


class VLenUTF8Codec(UnguardedStrings):
    """Strings whose number is looked at before so many are allocated.

    zarr wants a codec of strings to have this very name.
    """

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return self._decode_sync(chunk_bytes, chunk_spec)

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        data = chunk_bytes.as_numpy_array()
        wanted = math.prod(chunk_spec.shape)
        # A number of strings, then each with a length of four bytes of its own.
        count = int.from_bytes(data[:4].tobytes(), "little") if data.size >= 4 else -1
        if count != wanted or 4 + 4 * count > data.size:
            raise ChunkError(f"it does not hold {wanted} strings")
        try:
            return super()._decode_sync(chunk_bytes, chunk_spec)
        except (RuntimeError, ValueError) as error:
            raise ChunkError(str(error)) from error


class GuardedBytes(BytesCodec):
    """Numbers whose bytes are as many as the chunk's shape wants."""

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return self._decode_sync(chunk_bytes, chunk_spec)

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        kind = chunk_spec.dtype.to_native_dtype()
        wanted = math.prod(chunk_spec.shape) * kind.itemsize
        if len(chunk_bytes) != wanted:
            raise ChunkError(f"it holds {len(chunk_bytes):,} bytes, and not {wanted:,}")
        return super()._decode_sync(chunk_bytes, chunk_spec)


def frame_size(head: bytes) -> int | None:
    """Content size that a zstd frame declares (RFC 8878, 3.1.1.1); None if it does not."""
    if len(head) < 6 or head[:4] != b"\x28\xb5\x2f\xfd":
        return None
    descriptor = head[4]
    single, flag = bool(descriptor & 0x20), descriptor >> 6
    at = 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3]
    width = (1 if single else 0, 2, 4, 8)[flag]
    if width == 0 or len(head) < at + width:
        return None
    size: int = struct.unpack_from({1: "<B", 2: "<H", 4: "<I", 8: "<Q"}[width], head, at)[0]
    return size + 256 if width == 2 else size
