"""The one door to the files of a store in a folder: what leads out of it is refused.

A store may come from a stranger. A link in it could have a file elsewhere read, replaced or removed
in its place, a name with `..` likewise; and a pipe or a device where a chunk should be never ends.
The folder of the store itself may be a link: that is its owner's choice.
"""

import os
import stat
from pathlib import Path

from vxstore.errors import StoreError


def find_inside(root: Path, name: str) -> Path:
    """The file or folder `name` of the store at `root`, whether it exists or not.

    Raises StoreError if the name leads out of the store, or a link, a pipe or a device is on the
    way to it.
    """
    path = root
    for step in split_name(root, name):
        path = path / step
        _refuse_special(root, path)
    return path


def split_name(root: Path, name: str) -> tuple[str, ...]:
    """The steps of a name, none for the store itself. Raises StoreError if one leads out of it."""
    steps = tuple(name.split("/")) if name else ()
    for step in steps:
        if step in ("", ".", "..") or "\\" in step or "\0" in step:
            raise StoreError(f"{root}: found the name {name[:80]!r}, which leads out of the store")
    return steps


def _refuse_special(root: Path, path: Path) -> None:
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return
    kind = "a link" if stat.S_ISLNK(mode) else "no ordinary file"
    raise StoreError(
        f"{path} is {kind}; a store holds files and folders only, so nothing there is read, "
        f"written or removed: look at it, and take it out of {root}"
    )
