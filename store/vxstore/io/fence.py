"""Writing only while the run that a store was opened for holds its lock.

A process that was stopped, or a machine that was cut off, may wake up when another run has taken
the store over, and finished: it must not write a byte of what it had begun.
"""

import asyncio
import time
from collections.abc import Iterable

from zarr.abc.store import Store as ZarrStore
from zarr.core.buffer import Buffer
from zarr.storage import WrapperStore

from vxstore.io import in_flight, lock
from vxstore.io.storage import is_url

LOOK_SECONDS = 0.1
"""Age of a look at the lock that still counts, at a URL: a look takes as long as a file there."""


class FencedStore(WrapperStore[ZarrStore]):
    """Looks at the lock of the store at `path` before each file that is written or removed.

    Raises StoreError if the run that this process is of no longer holds it.
    """

    def __init__(self, store: ZarrStore, path: str) -> None:
        super().__init__(store)
        self._path, self._run = path, lock.own_run(path)
        self._looked = -LOOK_SECONDS if is_url(path) else None

    def _with_store(self, store: ZarrStore) -> "FencedStore":
        return FencedStore(store, self._path)

    async def _require(self) -> None:
        if self._looked is not None:
            # A process that was stopped for longer looks again: this clock goes on meanwhile.
            if time.monotonic() - self._looked < LOOK_SECONDS:
                return
            now = time.monotonic()
            await asyncio.to_thread(lock.require, self._path, self._run)
            self._looked = now
            return
        # In a thread, as a network file system may be slow too.
        await asyncio.to_thread(lock.require, self._path, self._run)

    async def set(self, key: str, value: Buffer) -> None:
        """Write or replace a file."""
        with in_flight.write_for(self._run):
            await self._require()
            await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write a file if there is none."""
        with in_flight.write_for(self._run):
            await self._require()
            await super().set_if_not_exists(key, value)

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        for key, value in values:
            await self.set(key, value)

    async def delete(self, key: str) -> None:
        """Remove a file."""
        await self._require()
        await super().delete(key)

    async def delete_dir(self, prefix: str) -> None:
        """Remove everything below a folder."""
        await self._require()
        await super().delete_dir(prefix)

    async def clear(self) -> None:
        """Remove everything."""
        await self._require()
        await super().clear()
