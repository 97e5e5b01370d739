"""Where a store is: a folder, or a URL such as s3://bucket/run.zarr. Files are written whole.

Nothing relies on renaming in the store: on an object store one file is one upload, there or not.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from zarr.abc.store import ByteRequest
from zarr.abc.store import Store as ZarrStore
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, LocalStore

from vxstore.errors import StoreError
from vxstore.io.inside import find_inside

OF_WINDOWS = ("Thumbs.db", "desktop.ini")


class Storage(Protocol):
    """Files by name, '/' between the parts of a name."""

    def read(self, name: str) -> bytes | None:
        """All of a file; None if there is none."""

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file, whole and lasting."""

    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one already; whether it was written."""

    def remove(self, name: str) -> None:
        """Remove a file or everything below a folder; nothing there is no error."""

    def children(self, name: str = "") -> list[str]:
        """Names of the files and folders directly in a folder, sorted."""

    def files(self, name: str = "") -> Iterator[str]:
        """Names of all files below a folder, sorted."""

    def zarr_store(self, *, read_only: bool) -> ZarrStore:
        """The same storage, for zarr."""


def is_url(path: str) -> bool:
    """Whether a store's path names another machine's storage."""
    return "://" in path


def is_foreign(name: str) -> bool:
    """Whether a file is not one of a store's but what another program left in its folders, such as
    .DS_Store, ._zarr.json or Thumbs.db. No group and no array begins with a dot."""
    return any(at.startswith(".") or at in OF_WINDOWS for at in name.split("/"))


def find_storage(path: str) -> Storage:
    """The storage of a path or URL. Raises StoreError if the URL's package is not installed."""
    if path.startswith("file://"):
        return _Folder(path.removeprefix("file://"))
    return _Remote(path) if is_url(path) else _Folder(path)


def beside(path: str, suffix: str) -> tuple[Storage, str]:
    """A file that belongs to a store but is beside it: its storage, and its name there.

    `suffix` replaces `.zarr`, as in runs/demo.yaml for runs/demo.zarr.
    """
    folder, _, name = path.rstrip("/").rpartition("/")
    if is_url(path) and folder.endswith("/"):  # memory://run.zarr
        folder += "/"
    return find_storage(folder or ("/" if path.startswith("/") else ".")), (
        name.removesuffix(".zarr") + suffix
    )


class _Folder:
    """A folder of a file system; every name goes through `find_inside`."""

    def __init__(self, path: str) -> None:
        self._root = Path(path)

    def read(self, name: str) -> bytes | None:
        try:
            return find_inside(self._root, name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def size(self, name: str) -> int | None:
        file = find_inside(self._root, name)
        return file.stat().st_size if file.is_file() else None

    def write(self, name: str, data: bytes) -> None:
        file = find_inside(self._root, name)
        partial = self._partial(file, data)
        partial.replace(file)
        _sync_folder(file.parent)

    def create(self, name: str, data: bytes) -> bool:
        file = find_inside(self._root, name)
        partial = self._partial(file, data)
        try:
            os.link(partial, file)  # there with all its content, or not at all
        except FileExistsError:
            return False
        finally:
            partial.unlink()
        _sync_folder(file.parent)
        return True

    @staticmethod
    def _partial(file: Path, data: bytes) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f"{file.name}.{uuid.uuid4().hex}.partial")
        try:
            with partial.open("wb") as opened:
                opened.write(data)
                opened.flush()
                os.fsync(opened.fileno())
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return partial

    def remove(self, name: str) -> None:
        path = find_inside(self._root, name)
        if path.is_dir():
            shutil.rmtree(path)  # it does not follow links below
        else:
            path.unlink(missing_ok=True)

    def children(self, name: str = "") -> list[str]:
        folder = find_inside(self._root, name)
        return sorted(child.name for child in folder.iterdir()) if folder.is_dir() else []

    def files(self, name: str = "") -> Iterator[str]:
        for folder, below, names in os.walk(find_inside(self._root, name)):
            below.sort()
            links = [child for child in below if (Path(folder) / child).is_symlink()]
            for file in sorted([*names, *links]):
                yield (Path(folder) / file).relative_to(self._root).as_posix()

    def zarr_store(self, *, read_only: bool) -> ZarrStore:
        return _DurableStore(self._root, read_only=read_only)


class _DurableStore(LocalStore):
    """zarr's own reading, writing and removing, through the same door.

    Every file is on the disk, and not just on its way, before the next is written.
    """

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        find_inside(self.root, key)
        return await super().get(key, prototype, byte_range)

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        ranges = list(key_ranges)
        for key, _ in ranges:
            find_inside(self.root, key)
        return await super().get_partial_values(prototype, ranges)

    async def exists(self, key: str) -> bool:
        find_inside(self.root, key)
        return await super().exists(key)

    async def delete(self, key: str) -> None:
        find_inside(self.root, key)
        await super().delete(key)

    async def delete_dir(self, prefix: str) -> None:
        find_inside(self.root, prefix.rstrip("/"))
        await super().delete_dir(prefix)

    async def _set(self, key: str, value: Buffer, exclusive: bool = False) -> None:
        file = find_inside(self.root, key)
        await super()._set(key, value, exclusive)
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
        folder = file.parent
        while folder != self.root.parent:
            _sync_folder(folder)
            folder = folder.parent

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        find_inside(self.root, key)
        return super().get_sync(key, prototype=prototype, byte_range=byte_range)

    def set_sync(self, key: str, value: Buffer) -> None:
        find_inside(self.root, key)
        super().set_sync(key, value)

    def delete_sync(self, key: str) -> None:
        find_inside(self.root, key)
        super().delete_sync(key)


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class _Remote:
    def __init__(self, url: str) -> None:
        try:
            from fsspec.core import url_to_fs

            # What another process wrote must be seen: no listing is kept.
            self._fs, self._root = url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise StoreError(
                f"{url}: {error}; install vxdist with its extra `remote`, or give a path"
            ) from error
        self._url = url

    def _call(self, method: str, name: str, *arguments: Any, **options: Any) -> Any:
        """Call the file system; FileNotFoundError and FileExistsError are for the caller."""
        if not {"", ".", ".."}.isdisjoint(name.split("/")) and name:
            raise StoreError(f"{self._url}: found the name {name[:80]!r}, which leads out of it")
        at = f"{self._root.rstrip('/')}/{name}".rstrip("/")
        try:
            return getattr(self._fs, method)(at, *arguments, **options)
        except FileNotFoundError as error:
            if method == "pipe_file":
                raise StoreError(f"{self._url}: {error}; make it first") from error
            raise
        except FileExistsError:
            raise
        except Exception as error:  # each service has errors of its own
            if "PreconditionFailed" in str(error) or "pre-condition" in str(error):
                raise FileExistsError(at) from error
            raise StoreError(
                f"{self._url}: {error}; check the URL, the credentials and the network"
            ) from error

    def read(self, name: str) -> bytes | None:
        try:
            return bytes(self._call("cat_file", name))
        except FileNotFoundError:
            return None

    def size(self, name: str) -> int | None:
        try:
            info = self._call("info", name)
        except FileNotFoundError:
            return None
        return int(info["size"]) if info["type"] == "file" else None

    def write(self, name: str, data: bytes) -> None:
        self._call("pipe_file", name, data)

    def create(self, name: str, data: bytes) -> bool:
        try:
            self._call("pipe_file", name, data, mode="create")
        except FileExistsError:
            return False
        return True

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._call("rm", name, recursive=True)

    def children(self, name: str = "") -> list[str]:
        try:
            found = self._call("ls", name, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted({item.rstrip("/").rpartition("/")[2] for item in found} - {""})

    def files(self, name: str = "") -> Iterator[str]:
        start = self._root.rstrip("/") + "/"
        for item in sorted(self._call("find", name)):
            yield item.removeprefix(start)

    def zarr_store(self, *, read_only: bool) -> ZarrStore:
        options: dict[str, Any] = {"use_listings_cache": False}
        return FsspecStore.from_url(self._url, options, read_only=read_only)
