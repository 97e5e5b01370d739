"""All readers go through one guarded door, and whatever changes files through another."""

import ast
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vxstore.cli.main import main
from vxstore.io.digests import digest
from vxstore.io.metadata import OTHERS, OWN, ZEROS

STORE = Path(__file__).parents[3] / "store" / "vxstore"
OPENING = {"open_zarr", "open_dataset", "open_datatree", "open_group", "open_array", "open_store"}
OPENERS = {"io/arrays.py", "read.py", "write.py"}
"""Files that call zarr or xarray to open a store; each verifies it before, or creates it."""
CHANGING = {
    "rmtree", "unlink", "rmdir", "removedirs", "write_text", "write_bytes", "mkdir", "makedirs",
    "symlink_to", "hardlink_to", "rename", "link", "symlink", "move", "copytree", "copyfile",
}  # fmt: skip
CHANGERS = {"io/door.py", "io/scratch.py", "query/files.py"}
"""Files that change a file system: the door, and what writes the user's exports."""


def calls(file: Path) -> Iterator[tuple[str, str]]:
    """What is called in a file, as (of what, what)."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of = node.func.value
            yield of.id if isinstance(of, ast.Name) else "", node.func.attr


def test_nothing_goes_around_the_doors() -> None:
    found: dict[str, set[str]] = {"opens": set(), "changes": set()}
    for file in STORE.rglob("*.py"):
        name = file.relative_to(STORE).as_posix()
        for of, what in calls(file):
            if of in ("zarr", "xr", "xarray") and what in OPENING:
                found["opens"].add(name)
            # DataFrames have a `rename`, too.
            if what in CHANGING and (what not in ("rename", "move") or of in ("os", "shutil")):
                found["changes"].add(name)
    assert found == {"opens": OPENERS, "changes": CHANGERS}


@pytest.fixture
def spoilt(full_store: str, tmp_path: Path) -> str:
    """A finished store of one's own."""
    return str(shutil.copytree(full_store, tmp_path / "s.zarr"))


def rewrite(path: str, name: str, change: Callable[[Any], None], *, vouch: bool) -> None:
    """Change one zarr.json; with `vouch` as a stranger can, who has the root vouch for it."""
    file = Path(path) / name
    doc = json.loads(file.read_text())
    change(doc)
    file.write_text(json.dumps(doc))
    if vouch:
        root = json.loads((Path(path) / "zarr.json").read_text())
        root["attributes"][OTHERS][name] = digest(file.read_bytes())
        root["attributes"][OWN] = ZEROS
        text = json.dumps(root).encode()
        (Path(path) / "zarr.json").write_bytes(
            text.replace(ZEROS.encode(), digest(text).encode(), 1)
        )


def to_gzip(doc: Any) -> None:
    codecs = doc["codecs"]
    if codecs[0]["name"] == "sharding_indexed":
        codecs = codecs[0]["configuration"]["codecs"]
    codecs[1:] = [{"name": "gzip", "configuration": {"level": 5}}]


COMMANDS = (["info"], ["info", "--settings", "vape"], ["neuron", "L0/N0"])
"""What reads the counts; each is given the store as first argument."""


def ask(path: str, command: list[str]) -> int:
    name, *options = command
    return main([name, path, *options])


@pytest.mark.parametrize("name", ["token_count", "value", "record/sealed", "active_count"])
@pytest.mark.parametrize("command", [["info"], ["check", "--format", "json"]])
def test_a_codec_that_is_not_read(
    spoilt: str, name: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """F30: a bomb in gzip is never opened, not by `info` either."""
    if command == ["info"] and name.startswith("record/"):
        pytest.skip("the sealed parts of a complete store are not read")
    rewrite(spoilt, f"{name}/zarr.json", to_gzip, vouch=True)
    assert ask(spoilt, command) == 2
    out, err = capsys.readouterr()
    shown = json.loads(out)["findings"][0]["what"] if command[0] == "check" else err
    assert "codec 'gzip' is not one of" in shown
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["scores/vape/zarr.json", "evaluation/choice/zarr.json"])
def test_attributes_that_nothing_vouches_for_are_not_shown(
    spoilt: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(spoilt, name, lambda doc: doc["attributes"].update(ascending=False), vouch=False)
    for command in (["info"], ["info", "--format", "json"]):
        assert ask(spoilt, command) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert f"{name} is damaged: its digest differs" in err


@pytest.mark.parametrize("name", ["value", "token_count", "layer"])
def test_metadata_of_an_array_that_were_changed(
    spoilt: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(spoilt, f"{name}/zarr.json", lambda doc: doc["attributes"].clear(), vouch=False)
    for command in COMMANDS:
        assert ask(spoilt, command) == 2, command
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1), command


def test_a_lost_chunk_is_not_shown_as_minus_one(
    spoilt: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(Path(spoilt) / "token_count" / "c")
    assert ask(spoilt, ["info"]) == 2
    out, err = capsys.readouterr()
    assert (out, "is missing" in err) == ("", True)
