"""Folders in the user's cache that are made once, and verified before they are used again."""

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from vxstore.io.scratch import make_scratch
from vxstore.io.sync import sync

DIGESTS = "digests.json"
"""SHA-256 of every other file of the folder."""


def cache_folder() -> Path:
    """Folder of what can be made again: $XDG_CACHE_HOME/vxdist, or ~/.cache/vxdist."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "vxdist"


def hash_file(file: Path) -> str:
    """SHA-256 of the whole file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def make_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Make `folder` of the files that `write` writes into the folder it is given.

    What is at `folder` is replaced. It appears whole or not at all, even if the machine stops.
    Raises what `write` raises, and OSError.
    """
    with make_scratch(folder.parent, folder.name[:12]) as partial:
        write(partial)
        digests = {file.name: hash_file(file) for file in sorted(partial.iterdir())}
        (partial / DIGESTS).write_text(json.dumps(digests, indent=1), encoding="utf-8")
        for path in (*partial.iterdir(), partial):
            sync(path)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
        sync(folder.parent)


def is_intact(folder: Path) -> bool:
    """Whether `make_folder` made it and no byte has changed since; read once in a process."""
    try:
        found = sorted((file.name, file.stat()) for file in folder.iterdir())
    except OSError:
        return False
    stamps = tuple((name, about.st_size, about.st_mtime_ns) for name, about in found)
    return _verify(folder, stamps)


@functools.cache
def _verify(folder: Path, stamps: tuple[tuple[str, int, int], ...]) -> bool:
    """`stamps` (name, size, time of change) stand for the contents while this process runs."""
    try:
        digests = json.loads((folder / DIGESTS).read_text(encoding="utf-8"))
        names = {name for name, _, _ in stamps} - {DIGESTS}
        return set(digests) == names and all(
            hash_file(folder / name) == digest for name, digest in digests.items()
        )
    except (OSError, ValueError, TypeError):
        return False
