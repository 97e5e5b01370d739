"""Whatever stands in a folder, files are written and removed in it only."""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vxstore.errors import StoreError
from vxstore.io import door
from vxstore.io.inside import find_inside
from vxstore.io.storage import find_storage

KEPT = "precious\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "s.zarr"
    (folder / "scores" / "a" / "c").mkdir(parents=True)
    (folder / "scores" / "a" / "c" / "0").write_text("1")
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder of the user's, which is the same after the test."""
    folder = tmp_path / "Documents"
    (folder / "c").mkdir(parents=True)
    (folder / "c" / "0").write_text(KEPT)
    (folder / "zarr.json").write_text(KEPT)
    yield folder
    assert sorted(f.name for f in folder.rglob("*")) == ["0", "c", "zarr.json"]
    assert {f.read_text() for f in folder.rglob("*") if f.is_file()} == {KEPT}


def test_write_and_remove(root: Path) -> None:
    door.write(root, "scores/b/c/0/1", b"2")
    door.write(root, "scores/b/c/0/1", b"3")
    assert (root / "scores/b/c/0/1").read_bytes() == b"3"
    with pytest.raises(FileExistsError):
        door.write(root, "scores/b/c/0/1", b"4", exclusive=True)
    for name in ("scores/b", "scores/b", "scores/a/c/0/x", "none/x"):
        door.remove(root, name)
    assert sorted(f.relative_to(root).as_posix() for f in root.rglob("*") if f.is_file()) == [
        "scores/a/c/0"
    ]
    door.remove(root, "")
    assert not root.exists()


@pytest.mark.parametrize("name", ["", "..", "a/../../Documents/c", "./x", "a//b", "/etc", "a\\b"])
@pytest.mark.usefixtures("outside")
def test_names_that_lead_out(root: Path, name: str) -> None:
    if name:
        with pytest.raises(StoreError, match="leads out"):
            door.remove(root, name)
    with pytest.raises(StoreError, match=r"leads out|no name"):
        door.write(root, name, b"1")
    assert (root / "scores/a/c/0").is_file()


def acts(root: Path, name: str) -> list[Callable[[], object]]:
    """All that writes or removes: of the storage, and of zarr's own."""
    storage = find_storage(str(root))
    zarr: Any = storage.zarr_store(read_only=False)
    from zarr.core.buffer import default_buffer_prototype as prototype
    from zarr.core.sync import sync

    one = prototype().buffer.from_bytes(b"1")
    return [
        lambda: storage.write(f"{name}/x", b"1"),
        lambda: storage.create(f"{name}/x", b"1"),
        lambda: storage.remove(f"{name}/c"),
        lambda: storage.remove(name),
        lambda: sync(zarr.set(f"{name}/x", one)),
        lambda: sync(zarr.set_if_not_exists(f"{name}/x", one)),
        lambda: sync(zarr.delete(f"{name}/c")),
        lambda: sync(zarr.delete_dir(f"{name}/")),
        lambda: zarr.set_sync(f"{name}/x", one),
        lambda: zarr.delete_sync(name),
    ]


@pytest.mark.parametrize("to", ["../../Documents", "../../Documents/zarr.json", "../../nowhere"])
@pytest.mark.parametrize("act", range(10))
@pytest.mark.usefixtures("outside")
def test_links_are_not_followed(root: Path, to: str, act: int) -> None:
    """To a folder, to a file, and to nothing."""
    (root / "scores" / "link").symlink_to(to)
    with pytest.raises(StoreError, match="is a link"):
        acts(root, "scores/link")[act]()
    assert not (root.parent / "nowhere").exists()


def test_links_below_what_is_removed(root: Path, outside: Path) -> None:
    for name, to in (("folder", outside), ("file", outside / "zarr.json"), ("dangling", "none")):
        (root / "scores" / "a" / name).symlink_to(to)
    find_storage(str(root)).remove("scores")
    assert list(root.iterdir()) == []


def test_hard_links(root: Path, outside: Path) -> None:
    """A file is replaced, never written over: its other name keeps what it had."""
    (root / "scores" / "a" / "c" / "0").unlink()
    os.link(outside / "c" / "0", root / "scores" / "a" / "c" / "0")
    door.write(root, "scores/a/c/0", b"2")
    assert (root / "scores/a/c/0").read_bytes() == b"2"
    os.link(outside / "zarr.json", root / "scores" / "zarr.json")
    door.remove(root, "scores")


@pytest.mark.parametrize("act", ["remove", "write"])
def test_a_link_put_in_place_between_look_and_act(
    root: Path, outside: Path, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look finds a folder; before the act a link to the user's folder is in its place."""
    real = find_inside

    def look(at: Path, name: str) -> Path:
        found = real(at, name)
        shutil.move(root / "scores", root / "old")
        (root / "scores").symlink_to(outside)
        return found

    monkeypatch.setattr("vxstore.io.door.find_inside", look)
    tried = {
        "remove": lambda: door.remove(root, "scores/c"),
        "write": lambda: door.write(root, "scores/c/0", b"2"),
    }
    with pytest.raises(StoreError, match="a link was put where"):
        tried[act]()


@pytest.mark.usefixtures("outside")
def test_a_race(root: Path, soak: int) -> None:
    """Folder and link change places all the time, while another thread removes and writes."""
    link, folder = root / "link", root / "folder"
    link.symlink_to("../Documents")
    folder.mkdir()
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                os.rename(folder, root / "at")
                os.rename(link, folder)
                os.rename(root / "at", link)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(150 * soak):
            # Refused, or there was nothing in that moment.
            with contextlib.suppress(StoreError, OSError):
                door.write(root, "folder/c/1", b"1")
                door.remove(root, "folder/c")
    finally:
        over.set()
        thread.join()


MOUNTED = """
import os, subprocess, sys
from pathlib import Path
from vxstore.errors import StoreError
from vxstore.io import door
from vxstore.io.inside import find_inside
root = Path(sys.argv[1])
if subprocess.run(["mount", "-t", "tmpfs", "none", root / "scores/a"], stderr=-3).returncode:
    sys.exit(77)
(root / "scores/a/kept").write_text("1")
try:
    door.remove(root, "scores")
except StoreError as error:
    print(error)
assert (root / "scores/a/kept").is_file() and (root / "scores/b").is_file()
"""


def test_a_mounted_file_system_is_not_emptied(root: Path) -> None:
    (root / "scores" / "b").write_text("1")
    command = [sys.executable, "-c", MOUNTED, str(root)]
    for apart in (["unshare", "-m"], ["unshare", "-rm"]):
        with contextlib.suppress(FileNotFoundError):
            done = subprocess.run([*apart, *command], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                assert "on another file system; nothing is removed" in done.stdout
                return
    pytest.skip("this machine lets nobody mount a file system for a test")


def test_another_device_is_not_emptied(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, where nothing can be mounted: `a` says that it is on another device."""
    real, at = os.fstat, (root / "scores" / "a").stat().st_ino

    def fstat(number: int) -> os.stat_result:
        found = real(number)
        if found.st_ino != at:
            return found
        return os.stat_result([*found[:2], found.st_dev + 1, *found[3:]])

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(StoreError, match="on another file system"):
        door.remove(root, "scores")
    monkeypatch.undo()
    assert (root / "scores/a/c/0").is_file()


def test_what_is_deeper_than_any_store(root: Path) -> None:
    (root / "scores" / "/".join("d" * 70)).mkdir(parents=True)
    with pytest.raises(StoreError, match="too deep"):
        door.remove(root, "scores")


def test_what_the_system_refuses_says_of_which_file(root: Path) -> None:
    """Not of a name, or a number, within a folder that is open."""
    with pytest.raises(NotADirectoryError) as error:
        door.write(root, "scores/a/c/0/1", b"2")
    assert error.value.filename == str(root / "scores/a/c/0/1")
    with pytest.raises(IsADirectoryError) as other:
        door.write(root, "scores/a", b"2")
    assert (other.value.filename, other.value.filename2) == (str(root / "scores/a"), None)
