"""One writer run at a time: a small file beside the store says who writes it.

The file is made only if it is not there. What a killed run left behind is recognised on the same
machine by its process, and anywhere by a later attempt of the same batch job, which never runs
twice at once; else a person must say `--take-over`. A run that was taken over finds another's name
in the file before each file that it writes, and stops.
"""

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from typing import Any

from vxstore.errors import LockReleased, StoreError
from vxstore.io import in_flight
from vxstore.io.holder import describe_process, is_alive
from vxstore.io.storage import PARTIAL, Storage, beside, find_storage, is_url

SETTLE_SECONDS = 0.5
"""Between replacing a stale lock and believing it: another may replace it at the same moment."""
WRITE_SECONDS, HURRIED_SECONDS = 30.0, 2.0
"""Time that files have to be written whole before the lock is released."""
_runs: dict[str, str] = {}
"""Runs that this process is of, by the place of their locks."""


@contextlib.contextmanager
def hold(path: str, *, take_over: bool = False) -> Iterator[None]:
    """Be the one run that writes the store at `path`.

    Raises StoreError, naming host, process and start time, if another run does; with `take_over`
    it is put aside, unless it is alive on this machine.
    """
    mine = {"run": uuid.uuid4().hex, **describe_process()}
    place, run = _place(path), str(mine["run"])
    before = _runs.get(place)
    _runs[place] = run  # first, so that whatever interrupts it finds what to release
    try:
        if _acquire(path, mine, take_over=take_over):
            _remove_partial(path)
        _remove_partial_locks(path)
        yield
    finally:
        in_flight.finish(run, WRITE_SECONDS)
        _release(path, run)
        _runs.pop(place)
        if before is not None:
            _runs[place] = before


def _acquire(path: str, mine: dict[str, Any], *, take_over: bool) -> bool:
    """Take the lock; whether another run had left it. Raises StoreError if that may be alive."""
    storage, name = beside(path, ".lock")
    data = json.dumps(mine, indent=2).encode()
    found = None
    while found is None and not _create(path, storage, name, data):
        found = storage.read(name)  # None if its holder has just ended: then try again
    if found is None:
        return False
    there = _parse(found)
    alive = is_alive(there)
    if alive or (alive is None and not take_over):
        raise _refusal(path, there, alive)
    storage.write(name, data)
    time.sleep(SETTLE_SECONDS)
    now = _parse(storage.read(name))
    if now.get("run") != mine["run"]:
        raise _refusal(path, now, None)
    return True


def release(path: str) -> None:
    """Release the lock of this process's run, if that still holds it. What is left of the run
    writes no more."""
    run = _runs.get(_place(path))
    if run is not None:
        in_flight.finish(run, HURRIED_SECONDS)
        _release(path, run)


def _release(path: str, run: str) -> None:
    if current_run(path) == run:
        storage, name = beside(path, ".lock")
        storage.remove(name)


def join(path: str, run: str | None) -> None:
    """Be a further process of a run, which another process holds the lock for."""
    if run is not None:
        _runs[_place(path)] = run


def own_run(path: str) -> str | None:
    """The run that this process is of, whoever holds the lock by now; of a process that was not
    told, whichever holds it now, or None."""
    return _runs.get(_place(path)) or current_run(path)


def _place(path: str) -> str:
    if is_url(path) and not path.startswith("file://"):
        return path.rstrip("/")
    return os.path.abspath(path.removeprefix("file://"))


def _remove_partial_locks(path: str) -> None:
    """Remove locks that a process was killed over before it had taken them."""
    storage, name = beside(path, ".lock")
    if is_url(path):
        return
    for child in storage.children():
        # Whoever tries to take the lock just now has one too.
        is_one = child.startswith(f"{name}.") and child.endswith(PARTIAL)
        if is_one and is_alive(_parse(storage.read(child))) is False:
            storage.remove(child)


def _remove_partial(path: str) -> None:
    """Remove files that a killed run had not written whole: in its store, and its settings."""
    storage, name = beside(path, "")
    if is_url(path):
        return  # there a file is whole, or not there
    for child in storage.children():
        if child.startswith(f"{name}.yaml.") and child.endswith(PARTIAL):
            storage.remove(child)
    store = find_storage(path)
    for file in list(store.files()):
        if file.endswith(PARTIAL):
            store.remove(file)


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


def describe_run(path: str) -> dict[str, str]:
    """What a group says of the run that makes it; nothing if no run holds the lock."""
    run = own_run(path)
    return {} if run is None else {"run": run}


def require_own(path: str) -> None:
    """`require`, of the run that this process is of; nothing if it is of none."""
    require(path, own_run(path))


def require(path: str, run: str | None) -> None:
    """Raise StoreError unless `run`, as `own_run` returned it, still holds the lock.

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
