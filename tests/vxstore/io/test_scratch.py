"""Files and folders that appear whole, and what killed processes leave of them."""

import fcntl
import os
import signal
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from vxstore.io.scratch import make_scratch, write_whole


def kill_within(context: AbstractContextManager[Path]) -> None:
    """Fork a process that enters a context and is killed there."""
    process = os.fork()
    if process == 0:
        with context:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL


def fail(path: Path) -> None:
    path.write_text("half")
    raise ZeroDivisionError


def overtake(out: Path) -> None:
    """Write a file that another writes in the meantime."""
    with write_whole(out) as partial:
        partial.write_text("zombie")
        with write_whole(out) as other:
            other.write_text("new")


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    with pytest.raises(ZeroDivisionError), write_whole(out) as partial:
        fail(partial)
    assert names(tmp_path) == []
    with write_whole(out) as partial:
        partial.write_text("whole")
        assert not out.exists()
    assert (names(tmp_path), out.read_text()) == (["a.csv"], "whole")


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """And not what one that lives is writing just now, nor what another file is made of."""
    kill_within(write_whole(tmp_path / "a.csv"))
    kill_within(make_scratch(tmp_path, "out"))
    kill_within(write_whole(tmp_path / "b.csv"))
    assert len(names(tmp_path)) == 3
    with write_whole(tmp_path / "a.csv") as first:
        with write_whole(tmp_path / "a.csv") as second:
            assert {first.name, second.name} < set(names(tmp_path))
            assert len(names(tmp_path)) == 4  # these, and those of `b.csv` and `out`
        with make_scratch(tmp_path, "out") as folder:
            assert list(folder.iterdir()) == []
            assert len(names(tmp_path)) == 4
        (tmp_path / "a.csv").unlink()
    assert [name for name in names(tmp_path) if not name.startswith(".b.csv")] == ["a.csv"]


def test_a_writer_that_wakes_up_replaces_nothing(tmp_path: Path) -> None:
    """What another has written in the meantime, under the same name, stays."""
    out = tmp_path / "a.csv"
    out.write_text("old")
    with pytest.raises(OSError, match="in the meantime"):
        overtake(out)
    assert (names(tmp_path), out.read_text()) == (["a.csv"], "new")


def test_without_locks_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network file systems: files are written all the same, and nothing is removed."""
    kill_within(write_whole(tmp_path / "a.csv"))

    def missing(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", missing)
    with write_whole(tmp_path / "a.csv") as partial:
        partial.write_text("whole")
    assert len(names(tmp_path)) == 2
