"""The one door through which files of a store in a folder are written and removed.

Folders are opened one below the other, each by its name in the one above, and no link is followed
on the way. So it does not matter if somebody puts a link in a folder's place between a look and an
act: what is written or removed is in the folder that was opened.
"""

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vxstore.errors import StoreError
from vxstore.io.inside import find_inside, split_name

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What file systems without hard links answer, such as exFAT, SMB and some network ones."""
DEEPEST = 64
"""Folders below one another in what is removed; no store is nearly as deep."""


def write(root: Path, name: str, data: Any, *, exclusive: bool = False) -> None:
    """Write or replace a file, whole and lasting: its content is on the disk before its name is,
    and all folders above it after.

    `data` has a buffer. Raises FileExistsError if there is one already and `exclusive`, StoreError
    if the name leads out of the store, or a link is in the way.
    """
    find_inside(root, name)
    steps = split_name(root, name)
    if not steps:
        raise StoreError(f"{root}: found no name of a file to write")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # which says of `name` that it is there
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(root)) from None
    with _named(root / name), _opened(root, steps[:-1], make=True) as folders:
        partial = _write_partial(folders[-1], steps[-1], data)
        at = {"src_dir_fd": folders[-1], "dst_dir_fd": folders[-1]}
        try:
            if exclusive:
                _link(partial, steps[-1], folders[-1], data)
            else:
                os.replace(partial, steps[-1], **at)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial, dir_fd=folders[-1])
        for folder in reversed(folders):
            os.fsync(folder)


def remove(root: Path, name: str) -> None:
    """Remove a file or everything below a folder, of a store or all of it; nothing there is no
    error.

    A link below it is removed, and what it points to is not. Raises StoreError, before anything is
    removed, if the name leads out of the store, a link is on the way to it, or another file
    system is mounted below it.
    """
    find_inside(root, name)
    steps = split_name(root, name)
    absent = contextlib.suppress(FileNotFoundError, NotADirectoryError)
    with absent, _named(root / name), _opened(root, steps[:-1], make=False) as folders:
        if steps:
            _remove(folders[-1], steps[-1], root)
            return
        _remove_below(folders[0], root)
        root.rmdir()  # not if it is a link


@contextlib.contextmanager
def _named(file: Path) -> Iterator[None]:
    """Have what the system refuses say of which file, not of a name within an open folder."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(file), None
        raise


def _link(partial: str, name: str, folder: int, data: Any) -> None:
    """Give a file another name, unless there is one of that name; where the file system has no
    links, it is for a moment empty. Raises FileExistsError."""
    try:
        os.link(partial, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        _write_new(folder, name, data)


def _write_new(folder: int, name: str, data: Any) -> None:
    with os.fdopen(os.open(name, NEW, 0o666, dir_fd=folder), "wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())


def _write_partial(folder: int, name: str, data: Any) -> str:
    partial = f"{name}.{uuid.uuid4().hex}.partial"
    try:
        _write_new(folder, partial, data)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial, dir_fd=folder)
        raise
    return partial


@contextlib.contextmanager
def _opened(root: Path, steps: tuple[str, ...], *, make: bool) -> Iterator[list[int]]:
    """The folder of the store, which may itself be a link, and those below it, all of them open."""
    folders = [os.open(root, FOLDER & ~os.O_NOFOLLOW)]
    try:
        for step in steps:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(step, dir_fd=folders[-1])
            folders.append(_open_folder(folders[-1], step, root))
        yield folders
    finally:
        for folder in folders:
            os.close(folder)


@contextlib.contextmanager
def _opened_folder(above: int, name: str, root: Path) -> Iterator[int]:
    folder = _open_folder(above, name, root)
    try:
        yield folder
    finally:
        os.close(folder)


def _open_folder(above: int, name: str, root: Path) -> int:
    """Open a folder by its name in another. Raises StoreError if a link is in its place."""
    try:
        return os.open(name, FOLDER, dir_fd=above)
    except OSError:
        if stat.S_ISLNK(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
            raise StoreError(
                f"{root}: a link was put where the folder {name[:80]!r} was; nothing is written or "
                "removed through it"
            ) from None
        raise


def _remove(above: int, name: str, root: Path) -> None:
    if not stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=above)
        return
    with _opened_folder(above, name, root) as folder:
        _remove_below(folder, root)
    os.rmdir(name, dir_fd=above)


def _remove_below(folder: int, root: Path) -> None:
    _refuse_mounts(folder, os.fstat(folder).st_dev, root, DEEPEST)
    _empty(folder, root)


def _refuse_mounts(folder: int, device: int, root: Path, levels: int) -> None:
    """Raise StoreError if part of what is below lies on another device, or is too deep."""
    for name in _folders(folder):
        with _opened_folder(folder, name, root) as below:
            if os.fstat(below).st_dev != device or not levels:
                what = "is on another file system" if levels else "is too deep"
                raise StoreError(f"{root}: the folder {name[:80]!r} {what}; nothing is removed")
            _refuse_mounts(below, device, root, levels - 1)


def _empty(folder: int, root: Path) -> None:
    for name in _folders(folder):
        with _opened_folder(folder, name, root) as below:
            _empty(below, root)
        os.rmdir(name, dir_fd=folder)
    for name in os.listdir(folder):
        os.unlink(name, dir_fd=folder)


def _folders(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
