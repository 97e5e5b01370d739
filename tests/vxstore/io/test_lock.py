"""One writer at a time: its holder is told, what is over is recognised, what is not stays."""

import contextlib
import errno
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from vxstore.errors import LockReleased, StoreError
from vxstore.io.lock import current_run, hold, release
from vxstore.io.storage import beside
from vxstore.write import PartCounts, Recorder

HOLDER = """
import sys, time
from vxstore.io.lock import hold
with hold(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["folder", "memory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store's path, and a URL; nothing is there yet."""
    if request.param == "folder":
        return str(tmp_path / "run.zarr")
    return f"memory://{uuid.uuid4().hex}/run.zarr"


def leave_lock(path: str, **changed: Any) -> None:
    """What this process would have left if it had been killed, but for what is changed."""
    storage, name = beside(path, ".lock")
    with hold(path):
        there = json.loads(storage.read(name) or b"{}")
    storage.write(name, json.dumps({**there, **changed}).encode())


def lock_there(path: str) -> bool:
    storage, name = beside(path, ".lock")
    return storage.read(name) is not None


def test_held_and_released(path: str) -> None:
    with hold(path):
        assert current_run(path) is not None
        with pytest.raises(StoreError, match=f"process {os.getpid()}, started 20"), hold(path):
            pass
        assert current_run(path) is not None
    assert not lock_there(path)
    with pytest.raises(ZeroDivisionError), hold(path):
        raise ZeroDivisionError
    assert not lock_there(path)


def test_another_process_that_lives_and_then_does_not(tmp_path: Path) -> None:
    """Refused even with `take_over` while it lives; recognised without it when it was killed."""
    path = str(tmp_path / "run.zarr")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    for take_over in (False, True):
        with (
            pytest.raises(StoreError) as refusal,
            hold(path, take_over=take_over),
        ):
            pass
        told = str(refusal.value)
        assert f"host {socket.gethostname()}, process {holder.pid}, started 20" in told
        assert "wait for it to end" in told
    holder.kill()
    # Nobody has asked for its exit code yet: it is over all the same.
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    with hold(path):
        pass
    holder.wait()
    assert not lock_there(path)


@pytest.mark.parametrize("changed", [{"process_began": "1"}, {"process": 2**22 + 1}])
def test_over_though_its_number_may_live(path: str, changed: dict[str, Any]) -> None:
    """The number is another process's by now, or no process's."""
    leave_lock(path, **changed)
    with hold(path):
        assert current_run(path) is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"host": "node7"},
        {"process_namespace": "pid:[1]"},
        {"time_namespace": "time:[1]"},
        {"boot": "another"},  # this machine, restarted; or another one of the same name
        {"boot": "another", "process": 2**22 + 1},
        {"boot": None},
    ],
)
def test_elsewhere_a_person_must_say_so(path: str, changed: dict[str, Any]) -> None:
    leave_lock(path, **changed)
    with pytest.raises(StoreError, match="--take-over"), hold(path):
        pass
    assert lock_there(path)
    with hold(path, take_over=True):
        pass
    assert not lock_there(path)


SLURM = {"SLURM_CLUSTER_NAME": "c", "SLURM_JOB_ID": "71"}


@pytest.fixture
def enter_job(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Be a process of a batch job; of none if nothing is given."""

    def enter(**environ: str) -> None:
        for name in (*SLURM, "SLURM_RESTART_COUNT", "VXSTORE_JOB"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)

    return enter


@pytest.mark.parametrize(
    ("there", "here", "over"),
    [("", "1", True), ("9", "10", True), ("", "", False), ("1", "1", False), ("2", "1", False)],
)
def test_an_earlier_attempt_of_a_slurm_job_is_over(
    path: str, enter_job: Callable[..., None], there: str, here: str, over: bool
) -> None:
    """On whichever machine it ran; the same attempt, and a later one, need not be."""
    enter_job(**SLURM, SLURM_RESTART_COUNT=there)
    leave_lock(path, host="node7")
    enter_job(**SLURM, SLURM_RESTART_COUNT=here)
    refused = contextlib.nullcontext() if over else pytest.raises(StoreError, match="host node7")
    with refused, hold(path):
        pass
    assert lock_there(path) is not over


def test_an_earlier_start_of_a_named_job_is_over(path: str, enter_job: Callable[..., None]) -> None:
    """As Kubernetes starts it: the pod has the same name, and is another container."""
    enter_job(VXSTORE_JOB="team/vxdist")
    leave_lock(path, process_namespace="pid:[1]")
    for other in ({}, {"VXSTORE_JOB": "team/other"}):
        enter_job(**other)
        with pytest.raises(StoreError, match="--take-over"), hold(path):
            pass
    enter_job(VXSTORE_JOB="team/vxdist")
    with hold(path):
        assert current_run(path) is not None
    assert not lock_there(path)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {**SLURM, "SLURM_JOB_ID": "72", "SLURM_RESTART_COUNT": "5"},
        {**SLURM, "SLURM_CLUSTER_NAME": "d", "SLURM_RESTART_COUNT": "5"},
        {"VXSTORE_JOB": "slurm"},
    ],
)
def test_another_job_says_nothing_of_this_one(
    path: str, enter_job: Callable[..., None], environ: dict[str, str]
) -> None:
    enter_job(**SLURM)
    leave_lock(path, host="node7")
    enter_job(**environ)
    with pytest.raises(StoreError, match="--take-over"), hold(path):
        pass


def test_an_earlier_attempt_that_lives_is_not_over(
    tmp_path: Path, enter_job: Callable[..., None]
) -> None:
    """What is seen on this machine counts for more than the number of the attempt."""
    path = str(tmp_path / "run.zarr")
    enter_job(**SLURM)
    leave_lock(path)
    enter_job(**SLURM, SLURM_RESTART_COUNT="1")
    with pytest.raises(StoreError, match="wait for it to end"), hold(path):
        pass


def test_a_container_of_the_same_machine_is_elsewhere(tmp_path: Path) -> None:
    """Of the same name and boot; in it, no process has the number of the holder, who lives."""
    path = str(tmp_path / "run.zarr")
    alone = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no namespaces can be made here")
    with hold(path):
        run = current_run(path)
        done = subprocess.run(
            [*alone, sys.executable, "-c", HOLDER, path],
            check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert "StoreError" in done.stderr
        assert "if it is over, run the same command with --take-over" in done.stderr
        assert current_run(path) == run


def test_a_clock_that_jumps_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By ten years, in either direction, while a run holds the lock."""
    path = str(tmp_path / "run.zarr")
    leave_lock(path)
    real = time.time
    for years in (-10, 10):
        monkeypatch.setattr(time, "time", lambda years=years: real() + years * 31_536_000)
        with pytest.raises(StoreError, match="wait for it to end"), hold(path):
            pass


def test_release_leaves_the_lock_of_a_namesake(path: str) -> None:
    """Of the same host name and process number, as in a container on another machine."""
    with hold(path):
        storage, name = beside(path, ".lock")
        there = json.loads(storage.read(name) or b"{}")
        storage.write(name, json.dumps({**there, "run": "another"}).encode())
        release(path)
        assert lock_there(path)
    assert lock_there(path)


def test_interrupted_while_it_is_taken(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left behind, neither of a lock that was stale nor of a new one."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    leave_lock(path, process=2**22 + 1)
    monkeypatch.setattr("vxstore.io.lock.time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt), hold(path):
        pass
    assert not lock_there(path)


def test_what_a_killed_run_had_not_written_whole_is_removed(tmp_path: Path) -> None:
    """By who takes its lock; what others have beside the store stays."""
    path = tmp_path / "run.zarr"
    (path / "record").mkdir(parents=True)
    gone = [path / "record" / "c.1.partial", tmp_path / "run.yaml.1.partial"]
    stays = [path / "record" / "c", tmp_path / "other.yaml.1.partial", tmp_path / "run.partial"]
    for file in (*gone, *stays):
        file.touch()
    with hold(str(path)):
        assert all(file.exists() for file in gone), "no run was killed"
    leave_lock(str(path), process=2**22 + 1)
    with hold(str(path)):
        assert not any(file.exists() for file in gone)
        assert all(file.exists() for file in stays)


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is taken by one all the same."""

    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    path = str(tmp_path / "run.zarr")
    with hold(path):
        with pytest.raises(StoreError, match=f"process {os.getpid()}, started 20"), hold(path):
            pass
        assert current_run(path) is not None
    assert not list(tmp_path.iterdir())


def test_locks_that_were_never_taken(tmp_path: Path) -> None:
    """Of a process that was killed are removed; of one that may be at it are not."""
    path = tmp_path / "run.zarr"
    leave_lock(str(path))
    content = json.loads((tmp_path / "run.lock").read_text())
    (tmp_path / "run.lock").unlink()
    dead, alive, unknown = (tmp_path / f"run.lock.{n}.partial" for n in range(3))
    dead.write_text(json.dumps({**content, "process": 2**22 + 1}))
    alive.write_text(json.dumps(content))
    unknown.write_text(json.dumps({**content, "host": "node7", "process": 2**22 + 1}))
    with hold(str(path)):
        assert [file.exists() for file in (dead, alive, unknown)] == [False, True, True]


def test_a_lock_that_cannot_be_read(path: str) -> None:
    storage, name = beside(path, ".lock")
    for content in (b"", b"{", b"[]", b"\xff"):
        storage.write(name, content)
        with pytest.raises(StoreError, match="host unknown"), hold(path):
            pass


def test_who_was_taken_over_writes_no_more(
    make_store: Callable[..., str], make_counts: Callable[..., PartCounts]
) -> None:
    path = make_store(record=3)
    with hold(path):
        orphan = Recorder(path)
        orphan.write_part(3, make_counts(3, 4, 6))
        storage, name = beside(path, ".lock")
        storage.write(name, b'{"run": "another"}')
        with pytest.raises(StoreError, match="another run took this store over"):
            orphan.write_part(4, make_counts(4, 4, 6))
        storage.remove(name)
        with pytest.raises(LockReleased, match="the process that held its lock has ended"):
            orphan.write_part(4, make_counts(4, 4, 6))
        storage.write(name, b'{"run": "another"}')
        assert list(orphan.sealed().nonzero()[0]) == [0, 1, 2, 3]
    assert lock_there(path), "what is another's is left alone"


def _take(path: str, barrier: Barrier, results: "multiprocessing.Queue[bool]") -> None:
    barrier.wait()
    try:
        with hold(path, take_over=True):
            results.put(True)
            barrier.wait()
    except StoreError:
        results.put(False)
        barrier.wait()


def test_of_two_who_take_over_at_once_one_wins(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    for number in range(3):
        path = str(tmp_path / f"{number}.zarr")
        leave_lock(path, host="node7")
        barrier, results = fork.Barrier(2), fork.Queue()
        takers = [fork.Process(target=_take, args=(path, barrier, results)) for _ in range(2)]
        for taker in takers:
            taker.start()
        for taker in takers:
            taker.join(60)
        assert sorted(results.get() for _ in takers) == [False, True]


def test_a_holder_that_ends_while_it_is_asked(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock was there, and is not when it is read: no reason to refuse."""
    storage, name = beside(path, ".lock")
    storage.write(name, b'{"run": "r", "host": "node7"}')
    real, reads = type(storage).read, []

    def read(self: Any, file: str) -> bytes | None:
        reads.append(file)
        if len(reads) == 1:
            storage.remove(name)
        return real(self, file)

    monkeypatch.setattr(type(storage), "read", read)
    with hold(path):
        assert len(reads) == 1
