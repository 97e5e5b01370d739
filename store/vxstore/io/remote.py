"""Storage at a URL, through fsspec."""

import contextlib
from collections.abc import Iterator
from typing import Any

from zarr.abc.store import Store as ZarrStore
from zarr.storage import FsspecStore

from vxstore.errors import StoreError


class Remote:
    """A bucket, or whatever else fsspec knows."""

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
        """All of a file; None if there is none."""
        try:
            return bytes(self._call("cat_file", name))
        except FileNotFoundError:
            return None

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if there is none."""
        try:
            info = self._call("info", name)
        except FileNotFoundError:
            return None
        return int(info["size"]) if info["type"] == "file" else None

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file, whole and lasting."""
        self._call("pipe_file", name, data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one already; whether it was written."""
        try:
            self._call("pipe_file", name, data, mode="create")
        except FileExistsError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Remove a file or everything below a folder."""
        with contextlib.suppress(FileNotFoundError):
            self._call("rm", name, recursive=True)

    def children(self, name: str = "") -> list[str]:
        """Names of the files and folders directly in a folder, sorted."""
        try:
            found = self._call("ls", name, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted({item.rstrip("/").rpartition("/")[2] for item in found} - {""})

    def files(self, name: str = "") -> Iterator[str]:
        """Names of all files below a folder, sorted."""
        start = self._root.rstrip("/") + "/"
        for item in sorted(self._call("find", name)):
            yield item.removeprefix(start)

    def zarr_store(self, *, read_only: bool) -> ZarrStore:
        """The same storage, for zarr."""
        options: dict[str, Any] = {"use_listings_cache": False}
        return FsspecStore.from_url(self._url, options, read_only=read_only)
