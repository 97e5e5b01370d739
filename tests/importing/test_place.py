"""Where an import may write, and what it leaves there if it fails."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vxstore
from vxstore.write import Recorder

pytest.importorskip("torch")

RunImport = Callable[..., int]


TOKENS = ("--denominator", "tokens")


def test_what_is_there_stays(
    run_import: RunImport, store: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run_import(*TOKENS) == 0
    before = vxstore.open(store).attrs
    assert run_import("--denominator", "questions") == 2
    assert "already holds a store" in capsys.readouterr().err
    assert vxstore.open(store).attrs == before

    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").touch()
    assert run_import(*TOKENS, "--store", str(mine)) == 2
    assert [file.name for file in mine.iterdir()] == ["thesis.txt"]


def test_the_same_import_again_changes_nothing(
    run_import: RunImport, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_import(*TOKENS) == 0
    before = (Path(store) / "zarr.json").read_bytes()
    capsys.readouterr()
    assert run_import(*TOKENS) == 0
    assert capsys.readouterr().out == f"import: {store} exists already, made of these files\n"
    assert (Path(store) / "zarr.json").read_bytes() == before
    assert run_import(*TOKENS, "--model", "another") == 2


def test_an_import_that_was_killed_is_begun_again(
    run_import: RunImport, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by one with other settings: what it left is of no use; a run's store is left alone."""

    def killed(*_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("vxdist.importing.store.finalise", killed)
        patch.setattr("vxdist.importing.store._discard", lambda path: None)
        with pytest.raises(SystemExit):
            run_import(*TOKENS)
    assert not vxstore.open(store).complete
    assert run_import("--denominator", "questions") == 0
    assert vxstore.open(store).attrs["denominator"] == "questions"


def test_another_run_is_writing_there(
    run_import: RunImport, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = Path(store).with_suffix(".lock")
    lock.write_text('{"host": "elsewhere", "process": 1, "run": "x"}', encoding="utf-8")
    assert run_import(*TOKENS) == 2
    assert "is being written by another run (host elsewhere" in capsys.readouterr().err
    assert not Path(store).exists()
    assert run_import(*TOKENS, "--take-over") == 0
    assert vxstore.open(store).complete
    assert not lock.exists()


def test_a_disk_that_fills_up_leaves_no_half_store(
    run_import: RunImport, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write = Recorder.write_part

    def full_after_two(self: Recorder, part: int, counts: Any) -> None:
        if part > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real_write(self, part, counts)

    monkeypatch.setattr(Recorder, "write_part", full_after_two)
    assert run_import(*TOKENS) == 2
    assert not Path(store).exists()
    monkeypatch.setattr(Recorder, "write_part", real_write)
    assert run_import(*TOKENS) == 0


def test_a_url(run_import: RunImport) -> None:
    """Object stores are places too."""
    store = "memory://bucket/imported.zarr"
    assert run_import(*TOKENS, "--store", store) == 0
    assert vxstore.open(store).root().sizes["value"] == 2
    assert run_import(*TOKENS, "--store", store) == 0  # it is there already
    assert run_import("--denominator", "questions", "--store", store) == 2
