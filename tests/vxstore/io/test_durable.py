"""What is sealed is on the disk; what is finished and lost is an error, never a fill value."""

import os
import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.vape import Vape, VapeSettings
from vxstore.errors import StoreError
from vxstore.finalise import finalise
from vxstore.io import arrays
from vxstore.io.storage import find_storage
from vxstore.read import open_store
from vxstore.write import PartCounts, Recorder

SETTINGS = VapeSettings(
    filter_quantile=0.5,
    top_fraction=0.2,
    activation_quantile=0.5,
    min_active_tokens=1,
)


def test_each_file_is_flushed_before_the_next_and_the_seal_comes_last(
    make_store: Callable[..., str],
    make_counts: Callable[..., PartCounts],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = make_store(record=3)
    synced: list[str] = []
    real = os.fsync

    def note(number: int) -> None:
        # What is flushed has another name until it is on the disk.
        name = os.path.relpath(os.readlink(f"/proc/self/fd/{number}"), path)
        synced.append(re.sub(r"\.[0-9a-f]{32}\.partial$", "", name))
        real(number)

    monkeypatch.setattr(os, "fsync", note)
    recorder = Recorder(path)
    recorder.write_part(3, make_counts(3, 4, 6))
    files = [name for name in synced if (Path(path) / name).is_file()]
    assert files[-1] == "record/sealed/c/3"
    assert set(files) == {
        "record/active_count/c/3/0/0",
        "record/activation_sum/c/3/0/0",
        "record/activation_square_sum/c/3/0/0",
        "record/token_count/c/3",
        "record/story_count/c/3",
        "record/seal/c/3",
        "record/sealed/c/3",
    }
    # The folders that name the files, too, and before the seal is written.
    for name in files:
        assert os.path.dirname(name) in synced[synced.index(name) :]
    assert synced.index("record/active_count/c") < synced.index("record/sealed/c/3")


@pytest.fixture
def spoilt(full_store: str, tmp_path: Path) -> str:
    """A finished store of one's own."""
    return str(shutil.copytree(full_store, tmp_path / "spoilt.zarr"))


@pytest.mark.parametrize(
    "lost", ["active_count/c/0/0/0/0", "token_count/c/0/0", "layer/c/0", "value/c/0"]
)
def test_a_lost_chunk_of_the_root_is_no_fill_value(spoilt: str, lost: str) -> None:
    (Path(spoilt) / lost).unlink()
    with pytest.raises(StoreError, match="is missing"):
        open_store(spoilt).root().load()


@pytest.mark.parametrize("array", ["active_count", "activation_sum", "sealed", "story_count"])
def test_a_lost_shard_of_a_finished_record_is_no_fill_value(spoilt: str, array: str) -> None:
    shutil.rmtree(Path(spoilt) / "record" / array / "c" / "2", ignore_errors=True)
    (Path(spoilt) / "record" / array / "c" / "2").unlink(missing_ok=True)
    with pytest.raises(StoreError, match="is missing"):
        open_store(spoilt).record().load()


@pytest.mark.parametrize("array", ["selected", "entropy", "passed_filter"])
def test_a_lost_chunk_of_a_score_selects_nothing_silently(spoilt: str, array: str) -> None:
    shutil.rmtree(Path(spoilt) / "scores" / "vape" / array / "c")
    with pytest.raises(StoreError, match="is missing"):
        open_store(spoilt).scores("vape").load()


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_a_place(kind: str, tmp_path: Path) -> None:
    url = str(tmp_path / "p") if kind == "folder" else f"memory://{uuid.uuid4().hex}/p"
    storage = find_storage(url)
    assert storage.read("a/b") is None
    assert storage.size("a/b") is None
    assert storage.children() == []
    storage.remove("a")
    assert storage.create("a/b", b"one")
    assert not storage.create("a/b", b"two")
    assert storage.read("a/b") == b"one"
    storage.write("a/b", b"three")
    storage.write("c", b"")
    assert (storage.read("a/b"), storage.size("a/b"), storage.size("c")) == (b"three", 5, 0)
    assert storage.size("a") is None
    assert storage.children() == ["a", "c"]
    assert sorted(storage.files()) == ["a/b", "c"]
    assert list(storage.files("a")) == ["a/b"]
    storage.remove("a")
    assert sorted(storage.files()) == ["c"]


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = find_storage(str(tmp_path))
    storage.write("a", b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        storage.write("a", b"new")
    assert storage.read("a") == b"old"
    assert list(storage.files()) == ["a"]


@pytest.mark.filterwarnings("error:Object at:UserWarning")
def test_what_a_kill_left_of_the_metadata_is_cleared_away(make_store: Callable[..., str]) -> None:
    """zarr warns of every file it does not know."""
    path = make_store(record=12)
    (Path(path) / "zarr.json.0123.partial").write_text("{")
    finalise(path)
    with (
        mock.patch.object(arrays, "create_whole", side_effect=ZeroDivisionError),
        pytest.raises(ZeroDivisionError),
    ):
        write_score(path, "vape", Vape(SETTINGS))
    (Path(path) / "scores" / "vape" / "zarr.json.0123.partial").write_text("{")
    write_score(path, "vape", Vape(SETTINGS))
    assert not list(Path(path).rglob("*.partial"))
    open_store(path).root().load()
    open_store(path).scores("vape").load()
