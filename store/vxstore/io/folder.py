"""Storage in a folder of a file system. Files are written whole, and are lasting once written."""

import asyncio
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from zarr.abc.store import ByteRequest
from zarr.abc.store import Store as ZarrStore
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from vxstore.io import door
from vxstore.io.inside import find_inside


class Folder:
    """A folder of a file system; every name goes through `find_inside`."""

    def __init__(self, path: str) -> None:
        self._root = Path(path)

    def read(self, name: str) -> bytes | None:
        """All of a file; None if there is none."""
        try:
            return find_inside(self._root, name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if there is none."""
        file = find_inside(self._root, name)
        return file.stat().st_size if file.is_file() else None

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file, whole and lasting."""
        door.write(self._root, name, data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one already; whether it was written."""
        try:
            door.write(
                self._root, name, data, exclusive=True
            )  # with all its content, or not at all
        except FileExistsError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Remove a file or everything below a folder."""
        door.remove(self._root, name)

    def children(self, name: str = "") -> list[str]:
        """Names of the files and folders directly in a folder, sorted."""
        folder = find_inside(self._root, name)
        return sorted(child.name for child in folder.iterdir()) if folder.is_dir() else []

    def files(self, name: str = "") -> Iterator[str]:
        """Names of all files below a folder, sorted."""
        for folder, below, names in os.walk(find_inside(self._root, name)):
            below.sort()
            links = [child for child in below if (Path(folder) / child).is_symlink()]
            for file in sorted([*names, *links]):
                yield (Path(folder) / file).relative_to(self._root).as_posix()

    def zarr_store(self, *, read_only: bool) -> ZarrStore:
        """The same storage, for zarr."""
        return DurableStore(self._root, read_only=read_only)


class DurableStore(LocalStore):
    """zarr's own reading, writing and removing, through the same doors.

    Every file is on the disk, and not just on its way, before the next is written.
    """

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Read a file, or a range of its bytes."""
        find_inside(self.root, key)
        return await super().get(key, prototype, byte_range)

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Read ranges of several files."""
        ranges = list(key_ranges)
        for key, _ in ranges:
            find_inside(self.root, key)
        return await super().get_partial_values(prototype, ranges)

    async def exists(self, key: str) -> bool:
        """Whether there is such a file."""
        find_inside(self.root, key)
        return await super().exists(key)

    async def delete(self, key: str) -> None:
        """Remove a file."""
        self.delete_sync(key)

    async def delete_dir(self, prefix: str) -> None:
        """Remove everything below a folder."""
        self.delete_sync(prefix.rstrip("/"))

    async def clear(self) -> None:
        """Remove everything."""
        self.delete_sync("")

    async def _set(self, key: str, value: Buffer, exclusive: bool = False) -> None:
        self._check_writable()
        data = value.as_buffer_like()
        await asyncio.to_thread(door.write, self.root, key, data, exclusive=exclusive)

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """`get`, without waiting."""
        find_inside(self.root, key)
        return super().get_sync(key, prototype=prototype, byte_range=byte_range)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write a file, without waiting."""
        self._check_writable()
        door.write(self.root, key, value.as_buffer_like())

    def delete_sync(self, key: str) -> None:
        """`delete`, without waiting."""
        self._check_writable()
        door.remove(self.root, key)
