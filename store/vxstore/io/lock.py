"""One writer run at a time: a small file beside the store says who writes it.

The file is made only if it is not there. What a killed run left behind is recognised on the same
machine by its process, and anywhere by a later attempt of the same batch job, which never runs
twice at once; else a person must say `--take-over`. A run that was taken over finds another's name
in the file before it seals anything, and stops.
"""

import contextlib
import datetime
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vxstore.errors import LockReleased, StoreError
from vxstore.io.storage import Storage, beside

SETTLE_SECONDS = 0.5
"""Between replacing a stale lock and believing it: another may replace it at the same moment."""


@contextlib.contextmanager
def hold(path: str, *, take_over: bool = False) -> Iterator[None]:
    """Be the one run that writes the store at `path`.

    Raises StoreError, naming host, process and start time, if another run does; with `take_over`
    it is put aside, unless it is alive on this machine.
    """
    storage, name = beside(path, ".lock")
    mine = {"run": uuid.uuid4().hex, **_describe_process()}
    data = json.dumps(mine, indent=2).encode()
    found = None
    while found is None and not _create(path, storage, name, data):
        found = storage.read(name)  # None if its holder has just ended: then try again
    if found is not None:
        there = _parse(found)
        alive = _is_alive(there)
        if alive or (alive is None and not take_over):
            raise _refusal(path, there, alive)
        storage.write(name, data)
        time.sleep(SETTLE_SECONDS)
        now = _parse(storage.read(name))
        if now.get("run") != mine["run"]:
            raise _refusal(path, now, None)
    try:
        yield
    finally:
        if current_run(path) == mine["run"]:
            storage.remove(name)


def release(path: str) -> None:
    """Release this process's lock, if it holds one: it is about to end without unwinding."""
    storage, name = beside(path, ".lock")
    there = _parse(storage.read(name))
    if (there.get("host"), there.get("process")) == (socket.gethostname(), os.getpid()):
        storage.remove(name)


def _create(path: str, storage: Storage, name: str, data: bytes) -> bool:
    try:
        return storage.create(name, data)
    except OSError as error:
        folder = path.rstrip("/").rpartition("/")[0] or "."
        raise StoreError(
            f"store: cannot write in {folder} ({error.strerror}); choose another place"
        ) from error


def current_run(path: str) -> str | None:
    """Which run holds the store's lock; None if none does."""
    storage, name = beside(path, ".lock")
    data = storage.read(name)
    return None if data is None else str(_parse(data).get("run"))


def require(path: str, run: str | None) -> None:
    """Raise StoreError unless `run`, as `current_run` returned it, still holds the lock.

    LockReleased if nobody does.
    """
    found = current_run(path)
    if found is None and run is not None:
        raise LockReleased(f"{path}: the process that held its lock has ended; this one stops")
    if found != run:
        raise StoreError(f"{path}: another run took this store over; this one stops")


def _refusal(path: str, there: dict[str, Any], alive: bool | None) -> StoreError:
    advice = (
        "wait for it to end, or stop it"
        if alive
        else "if it is over, run the same command with --take-over"
    )
    return StoreError(
        f"{path} is being written by another run (host {there.get('host', 'unknown')}, process "
        f"{there.get('process', 'unknown')}, started {there.get('started', 'unknown')}); {advice}"
    )


def _parse(data: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(data or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _describe_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "process_began": _process_began(os.getpid()),
        **_machine(),
        **_batch_job(),
    }


def _batch_job() -> dict[str, Any]:
    """The batch job that this process is of, and a number that grows each time it is started.

    Slurm says both. Elsewhere VXSTORE_JOB may name a job that never runs twice at once.
    """
    environ = os.environ
    if name := environ.get("VXSTORE_JOB"):
        return {"job": name, "attempt": time.time()}
    if number := environ.get("SLURM_JOB_ID"):
        cluster = environ.get("SLURM_CLUSTER_NAME", "")
        # Absent until Slurm has requeued the job, or started it again after a node failed.
        attempt = int(environ.get("SLURM_RESTART_COUNT") or 0)
        return {"job": f"slurm {cluster} {number}", "attempt": attempt}
    return {}


def _machine() -> dict[str, str | None]:
    """What tells this machine, since it was switched on, and this container from others."""
    boot = namespace = None
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    return {"boot": boot, "process_namespace": namespace}


def _process_began(process: int) -> str | None:
    """When a process began, in clock ticks since the machine did: numbers of processes recur.

    None if it is over, though nobody may have asked for its exit code yet.
    """
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _is_alive(there: dict[str, Any]) -> bool | None:
    """Whether the holder still runs; None if that cannot be known from here."""
    alive = _is_alive_here(there)
    return False if alive is None and _is_earlier_attempt(there) else alive


def _is_earlier_attempt(there: dict[str, Any]) -> bool:
    """Whether the holder was of this batch job, before it was started again."""
    here, attempt = _batch_job(), there.get("attempt")
    return (
        bool(here)
        and there.get("job") == here["job"]
        and isinstance(attempt, int | float)
        and attempt < here["attempt"]
    )


def _is_alive_here(there: dict[str, Any]) -> bool | None:
    """Whether the holder's process runs on this machine; None if it is not of this machine."""
    process = there.get("process")
    if there.get("host") != socket.gethostname() or not isinstance(process, int):
        return None
    here = _machine()
    if here["boot"] is not None and there.get("boot") not in (None, here["boot"]):
        return False  # the machine was restarted since
    if there.get("process_namespace") != here["process_namespace"]:
        return None
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return there.get("process_began") == _process_began(process)
