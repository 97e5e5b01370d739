"""Files and folders that are written under another name, so that they appear whole or not at all.

Who writes one keeps a lock of the system on it (flock), which ends with the process: what a killed
one has left is recognised, on any machine, and removed by the next that writes the same.
"""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from vxstore.io.storage import PARTIAL
from vxstore.io.sync import sync


@contextlib.contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """A path beside `path`: it gets its name, on the disk, at the end, and is removed on failure.

    Raises OSError if it cannot be written, or somebody else has written `path` in the meantime.
    """
    before = _mark(path)
    partial = _name(path.parent, path.name)
    number = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        _claim(number)
        yield partial
        sync(partial)
        if _mark(path) != before:
            raise OSError(errno.EEXIST, "somebody else has written it in the meantime", str(path))
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        os.close(number)


@contextlib.contextmanager
def make_scratch(parent: Path, name: str) -> Iterator[Path]:
    """A folder in `parent` for who writes `name` there; what is in it at the end is removed."""
    partial = _name(parent, name)
    partial.mkdir(mode=0o700)
    number = os.open(partial, os.O_RDONLY)
    try:
        _claim(number)
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(number)


def _name(folder: Path, name: str) -> Path:
    """A free name; what killed processes have left of the same is removed."""
    prefix = f".{name[:100]}."
    with contextlib.suppress(OSError):
        for found in folder.iterdir():
            if found.name.startswith(prefix) and found.name.endswith(PARTIAL):
                _remove_if_dead(found)
    return folder / f"{prefix}{uuid.uuid4().hex}{PARTIAL}"


def _remove_if_dead(path: Path) -> None:
    with contextlib.suppress(OSError):
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            if not _claim(number):
                return
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        finally:
            os.close(number)


def _claim(number: int) -> bool:
    """Lock an open file or folder, unless another process has; whether that could be done."""
    try:
        import fcntl

        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (OSError, ImportError):  # another's, or the system has no such locks
        return False
    return True


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
