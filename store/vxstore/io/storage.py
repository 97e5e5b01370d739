"""Where a store is: a folder, or a URL such as s3://bucket/run.zarr. Files are written whole.

Nothing relies on renaming in the store: on an object store one file is one upload, there or not.
"""

from collections.abc import Iterator
from typing import Protocol

from zarr.abc.store import Store as ZarrStore

from vxstore.io.folder import Folder
from vxstore.io.remote import Remote

OF_WINDOWS = ("Thumbs.db", "desktop.ini")
PARTIAL = ".partial"
"""How the name ends of a file that is not written whole yet."""


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
    for scheme in ("file://", "local://"):
        if path.startswith(scheme):
            return Folder(path.removeprefix(scheme))
    return Remote(path) if is_url(path) else Folder(path)


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
