"""Nothing outside a store is read, written or removed, whatever stands in it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vxstore
from vxstore.cli.main import main
from vxstore.errors import StoreError
from vxstore.io.inside import find_inside
from vxstore.io.storage import find_storage

MakeStore = Callable[..., str]
KEPT = "precious\n"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the user's, beside the store."""
    folder = tmp_path / "Documents"
    folder.mkdir()
    (folder / "zarr.json").write_text(KEPT)
    return folder


def is_untouched(folder: Path) -> bool:
    return [f.name for f in folder.iterdir()] == ["zarr.json"] and (
        (folder / "zarr.json").read_text() == KEPT
    )


def list_group(path: str, name: str) -> None:
    """Have the root vouch for a group, as a stranger's store can."""
    from vxstore.io.metadata import OTHERS, OWN, ZEROS, _digest

    file = Path(path) / "zarr.json"
    doc = json.loads(file.read_text())
    doc["attributes"][OTHERS][f"{name}/zarr.json"] = "0" * 63 + "1"
    doc["attributes"][OWN] = ZEROS
    text = json.dumps(doc, indent=2).encode()
    file.write_bytes(text.replace(ZEROS.encode(), _digest(text).encode(), 1))


@pytest.mark.parametrize("command", ["check", "check --repair", "info", "top", "layers"])
def test_a_link_to_the_folder_above(
    make_store: MakeStore, tmp_path: Path, outside: Path, command: str
) -> None:
    """F25: `scores` is a link to the folder that holds the store and the user's documents."""
    path = shutil.copytree(make_store(), tmp_path / "s.zarr").__fspath__()
    (Path(path) / "scores").symlink_to("..")
    list_group(path, "scores/Documents")
    name, *options = command.split()
    assert main([name, path, *options]) in (0, 2)
    assert is_untouched(outside)
    assert Path(path, "zarr.json").is_file()


def test_check_names_the_link(
    make_store: MakeStore, tmp_path: Path, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shutil.copytree(make_store(), tmp_path / "s.zarr").__fspath__()
    (Path(path) / "scores").symlink_to("..")
    list_group(path, "scores/Documents")
    for options in ([], ["--repair"]):
        assert main(["check", path, *options]) == 2
        out, err = capsys.readouterr()
        assert "is a link" in " ".join((out + err).split())
    assert is_untouched(outside)


@pytest.mark.parametrize("name", ["scores/../../Documents", "..", "scores/..", "scores/./x/.."])
def test_a_name_that_leads_out(
    make_store: MakeStore, tmp_path: Path, outside: Path, name: str
) -> None:
    path = shutil.copytree(make_store(), tmp_path / "s.zarr").__fspath__()
    list_group(path, name)
    for options in ([], ["--repair"]):
        assert main(["check", path, *options]) == 2
    assert is_untouched(outside)
    assert Path(path, "zarr.json").is_file()
    storage = find_storage(path)
    for act in (storage.remove, storage.read, storage.size, storage.children):
        with pytest.raises(StoreError, match="leads out of the store"):
            act(name)
    for write in (storage.write, storage.create):
        with pytest.raises(StoreError, match="leads out of the store"):
            write(f"{name}/x", b"1")


def test_reduce_and_select_do_not_write_through_a_link(
    make_store: MakeStore, tmp_path: Path, outside: Path
) -> None:
    from vxdist.cli import main as vxdist

    path = shutil.copytree(make_store(), tmp_path / "s.zarr").__fspath__()
    (Path(path) / "scores").symlink_to(outside)
    assert vxdist(["reduce", "--store", path]) == 2
    assert main(["select", path, "--name", "x"]) == 2
    assert is_untouched(outside)


@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_a_chunk_that_is_no_file(make_store: MakeStore, tmp_path: Path, kind: str) -> None:
    """F29: a pipe is never opened, or reading it would not end; a link to a device neither."""
    path = shutil.copytree(make_store(), tmp_path / "s.zarr")
    chunk = next(file for file in (path / "token_count").rglob("c/*/*") if file.is_file())
    chunk.unlink()
    if kind == "fifo":
        os.mkfifo(chunk)
    else:
        chunk.symlink_to("/dev/zero")
    with pytest.raises((StoreError, ValueError, RuntimeError), match="store holds files and fold"):
        vxstore.open(str(path)).root().token_count.load()
    assert main(["check", str(path)]) == 2


def test_a_store_may_itself_be_a_link(make_store: MakeStore, tmp_path: Path) -> None:
    link = tmp_path / "latest.zarr"
    link.symlink_to(make_store())
    assert main(["check", str(link)]) == 0


@given(st.lists(st.sampled_from(["a", "..", ".", "", "b\\c", "d\0"]), min_size=1, max_size=4))
def test_every_name_stays_inside(steps: list[str]) -> None:
    root = Path("/nowhere/store.zarr")
    name = "/".join(steps)
    try:
        found = find_inside(root, name)
    except StoreError:
        assert set(steps) - {"a"}
    else:
        assert os.path.normpath(found) == str(found)
        assert found == root or root in found.parents
