"""Stores from strangers: nothing they declare is believed, nothing in them is run."""

import json
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import zarr

import vxstore
from vxstore.cli.main import main
from vxstore.errors import StoreError
from vxstore.io.guard import check_array, frame_size, guarded

Change = Callable[[dict[str, Any]], object]
MEMORY = 4 << 30


def strip_digests(path: Path) -> None:
    """As a stranger would write it: no digest stands in the way."""
    file = path / "zarr.json"
    doc = json.loads(file.read_text())
    for name in ("metadata_digest", "metadata_digests"):
        doc["attributes"].pop(name, None)
    file.write_text(json.dumps(doc))


@pytest.fixture
def stranger(make_store: Callable[..., str]) -> Path:
    path = Path(make_store())
    strip_digests(path)
    return path


def change(path: Path, array: str, edit: Change) -> None:
    file = path / array / "zarr.json"
    doc = json.loads(file.read_text())
    edit(doc)
    file.write_text(json.dumps(doc))


def set_codecs(*names: str) -> Change:
    return lambda doc: doc.update(codecs=[{"name": n, "configuration": {}} for n in names])


def set_chunk(*shape: int) -> Change:
    return lambda doc: doc["chunk_grid"]["configuration"].update(chunk_shape=list(shape))


HOSTILE: list[tuple[str, Change, str]] = [
    ("layer", lambda doc: doc.update(shape=[1 << 50]), "beyond"),
    ("value", lambda doc: doc.update(shape=[1 << 40]), "beyond"),
    ("active_count", lambda doc: doc.update(shape=[1 << 30, 1 << 30, 3, 2]), "beyond"),
    ("active_count", lambda doc: doc.update(shape="huge"), "not a list of lengths"),
    ("active_count", lambda doc: doc.update(shape=[4, -6, 3, 2]), "not a list of lengths"),
    ("active_count", lambda doc: doc.update(shape=[4, True, 3, 2]), "not a list of lengths"),
    ("active_count", set_chunk(1 << 20, 1 << 20, 3, 2), "beyond"),
    ("active_count", set_codecs("bytes", "numcodecs.pickle"), "codec 'numcodecs.pickle'"),
    ("active_count", set_codecs("bytes", "blosc"), "codec 'blosc'"),
    ("active_count", lambda doc: doc.update(data_type="object"), "type 'object'"),
    ("active_count", lambda doc: doc.update(data_type={"name": "struct"}), "is not one of"),
    ("active_count", lambda doc: doc.update(storage_transformers=[{"name": "x"}]), "transformers"),
    ("active_count", lambda doc: doc.update(zarr_format=2), "not of Zarr v3"),
    ("active_count", lambda doc: doc.pop("codecs"), "not those of a Zarr v3 array"),
]


@pytest.mark.parametrize(("array", "edit", "told"), HOSTILE)
def test_refused_before_anything_is_allocated(
    stranger: Path, array: str, edit: Change, told: str
) -> None:
    change(stranger, array, edit)
    with pytest.raises(StoreError, match=told) as refusal:
        vxstore.open(str(stranger)).root()
    assert "\n" not in str(refusal.value)


def test_shards_of_too_many_chunks(stranger: Path) -> None:
    doc = json.loads((stranger / "record" / "active_count" / "zarr.json").read_text())
    doc["shape"] = [1, 1 << 12, 1 << 12]
    set_chunk(1, 1 << 12, 1 << 12)(doc)
    doc["codecs"][0]["configuration"]["chunk_shape"] = [1, 1, 1]
    with pytest.raises(StoreError, match="are not read"):
        check_array("record/active_count", doc)


def test_metadata_that_are_too_much(stranger: Path, tmp_path: Path) -> None:
    shutil.copytree(stranger, tmp_path / "deep.zarr")
    (tmp_path / "deep.zarr" / "zarr.json").write_text("[" * 100_000)
    with pytest.raises(StoreError, match="not JSON"):
        vxstore.open(str(tmp_path / "deep.zarr"))
    with (stranger / "zarr.json").open("r+b") as file:
        file.truncate(200 << 20)
    with pytest.raises(StoreError, match=r"has 209,715,200 bytes"):
        vxstore.open(str(stranger))


def test_zarr_2(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "old.zarr", mode="w", zarr_format=2, attributes={"format": "x"})
    with pytest.raises(StoreError, match="not a vxstore"):
        vxstore.open(str(tmp_path / "old.zarr"))


@pytest.mark.parametrize("size", [64 << 30, 1 << 62])
def test_a_bomb_is_not_set_off(stranger: Path, size: int) -> None:
    """A chunk whose frame says that it holds far more than the chunk can."""
    frame = b"\x28\xb5\x2f\xfd" + bytes([0b11100000]) + size.to_bytes(8, "little") + b"\x01\x00\x00"
    assert frame_size(frame) == size
    crc = google_crc32c.value(frame).to_bytes(4, "little")
    (stranger / "active_count" / "c" / "0" / "0" / "0" / "0").write_bytes(frame + crc)
    done = asked(stranger, "root().active_count.load()")
    assert done.returncode == 1
    assert "its zstd frame declares no size, or a huge one" in done.stderr


def test_a_real_bomb(stranger: Path) -> None:
    """A gibibyte of zeros in a few kilobytes, in place of a chunk of some hundred bytes."""
    from numcodecs.zstd import Zstd

    zeros = Zstd(level=1).encode(np.zeros(1 << 30, dtype="u1"))
    assert frame_size(bytes(zeros[:18])) == 1 << 30
    data = bytes(zeros)
    data += google_crc32c.value(data).to_bytes(4, "little")
    (stranger / "active_count" / "c" / "0" / "0" / "0" / "0").write_bytes(data)
    with pytest.raises(StoreError, match="a huge one"):
        vxstore.open(str(stranger)).root().active_count.load()


def asked(path: Path, question: str) -> "subprocess.CompletedProcess[str]":
    """A question put by a process that may use little memory."""
    code = f"import vxstore; vxstore.open({str(path)!r}).{question}"
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )


@pytest.mark.parametrize(("array", "edit", "told"), HOSTILE[:3])
def test_memory_is_not_exhausted(stranger: Path, array: str, edit: Change, told: str) -> None:
    change(stranger, array, edit)
    done = asked(stranger, "root()")
    assert done.returncode == 1
    assert told in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "name", ["../../x", "<script>alert(1)</script>", "\x1b[2J\x1b]0;x\x07", "a/b"]
)
def test_names_stay_names(
    name: str, make_store: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    """In coordinates, never in paths; printed without what a terminal obeys."""
    path = Path(make_store(values=(name, "calm"), attrs={"model": name, "dtype": "float32"}))
    before = sorted(str(f) for f in path.parent.rglob("*"))
    assert all(str(path) in file for file in before)
    for command in (["info", str(path)], ["neuron", str(path), "1", "1"], ["check", str(path)]):
        for shape in ("table", "json", "csv"):
            assert main([*command, "--format", shape]) == 0
    assert "\x1b" not in capfd.readouterr().out
    assert sorted(str(f) for f in path.parent.rglob("*")) == before
    ds = vxstore.open(str(path)).root()
    assert int(ds.active_count.sel(value=name, language="zh").sum()) > 0


def test_threads_that_open_at_once_leave_zarr_as_it_was() -> None:
    before = zarr.config.get("codecs.crc32c")
    one_entered, other_tried = threading.Event(), threading.Event()

    def enter_second() -> None:
        one_entered.wait()
        other_tried.set()
        with guarded():
            left.wait(5)

    left = threading.Event()
    other = threading.Thread(target=enter_second)
    other.start()
    with guarded():
        one_entered.set()
        other_tried.wait()
        time.sleep(0.2)
    left.set()
    other.join()
    assert zarr.config.get("codecs.crc32c") == before


def encode_chunk(content: bytes) -> bytes:
    """A chunk as vxstore writes it: zstd, then crc32c."""
    from numcodecs.zstd import Zstd

    packed = bytes(Zstd(level=3, checksum=True).encode(content))
    return packed + google_crc32c.value(packed).to_bytes(4, "little")


def decode_chunk(chunk: bytes) -> bytes:
    """What `encode_chunk` encoded."""
    from numcodecs.zstd import Zstd

    return bytes(Zstd().decode(chunk[:-4]))


@pytest.mark.parametrize("count", [4_000_000_000, 4, 2])
def test_a_chunk_that_declares_other_strings_than_it_holds(stranger: Path, count: int) -> None:
    """Three values are expected; a count of four milliards would ask for 32 GiB."""
    chunk = stranger / "value" / "c" / "0"
    decoded = decode_chunk(chunk.read_bytes())
    assert int.from_bytes(decoded[:4], "little") == 3
    chunk.write_bytes(encode_chunk(count.to_bytes(4, "little") + decoded[4:]))
    done = asked(stranger, "root().value.load()")
    assert done.returncode == 1
    assert "it does not hold 3 strings" in done.stderr


def test_chunks_that_were_exchanged(stranger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is sound by itself; neither is of its array's type."""
    one, other = (stranger / name / "c" / "0" for name in ("value", "layer"))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    with pytest.raises(StoreError, match="is damaged"):
        vxstore.open(str(stranger)).root()
    assert main(["info", str(stranger)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
