"""The storage that zarr is given: it passes over foreign files, and knows what was written."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Self

from zarr.abc.store import ByteRequest
from zarr.abc.store import Store as ZarrStore
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

from vxstore.errors import StoreError
from vxstore.io.digests import digest
from vxstore.io.fence import FencedStore
from vxstore.io.storage import find_storage, is_foreign

LARGE = 1 << 20
"""Bytes of a chunk from which on its digest is taken beside the writing."""
METADATA = ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")
"""What zarr looks for and need not be there; every other file is a chunk."""


class CleanStore(WrapperStore[ZarrStore]):
    """Takes the digest of each chunk that is handed to it; and does not list files that an
    operating system leaves in folders: zarr would warn of each."""

    def __init__(self, store: ZarrStore) -> None:
        super().__init__(store)
        self.written: dict[str, str] = {}

    def _with_store(self, store: ZarrStore) -> Self:
        made = super()._with_store(store)
        made.written = self.written
        return made

    async def set(self, key: str, value: Buffer) -> None:
        if _is_metadata(key):
            await super().set(key, value)
            return
        data = value.as_buffer_like()
        if len(value) < LARGE:
            found = digest(data)
            await super().set(key, value)
        else:  # while the disk is waited for
            hashed = asyncio.to_thread(digest, data)
            found, _ = await asyncio.gather(hashed, super().set(key, value))
        self.written[key] = found

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        for key, value in values:
            await self.set(key, value)

    async def delete(self, key: str) -> None:
        await super().delete(key)
        self.written.pop(key, None)

    async def delete_dir(self, prefix: str) -> None:
        await super().delete_dir(prefix)
        below = prefix.rstrip("/") + "/"
        for key in [key for key in self.written if below == "/" or key.startswith(below)]:
            del self.written[key]

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        async for name in super().list_dir(prefix):
            if not is_foreign(name):
                yield name


def _is_metadata(key: str) -> bool:
    return key.rpartition("/")[2] in METADATA


class WholeStore(CleanStore):
    """What is finished has all its chunks: a missing one is damage, not a fill value."""

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        found = await super().get(key, prototype, byte_range)
        # zarr takes an empty file, which a power cut can leave, for one that is not there.
        if not found and not _is_metadata(key):
            raise StoreError(f"{key} is missing; `vxstore check STORE` tells what to do")
        return found


def zarr_store(path: str, *, read_only: bool = True, whole: bool = False) -> ZarrStore:
    """The store at a path or URL, for zarr; with `whole`, a missing chunk is an error."""
    store = find_storage(path).zarr_store(read_only=read_only)
    if not read_only:
        store = FencedStore(store, path)
    return WholeStore(store) if whole else CleanStore(store)
