"""Which process holds a lock, and whether it still runs."""

import contextlib
import datetime
import os
import socket
import time
import uuid
from pathlib import Path
from typing import Any


def describe_process() -> dict[str, Any]:
    """What a lock says of this process."""
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
    # Where the system has no such number, that of a network card at least tells machines apart.
    boot, namespaces = f"node {uuid.getnode():x}", {}
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    for key, name in (("process_namespace", "pid"), ("time_namespace", "time")):
        with contextlib.suppress(OSError):
            namespaces[key] = str(Path(f"/proc/self/ns/{name}").readlink())
    return {"boot": boot, **namespaces}


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


def is_alive(there: dict[str, Any]) -> bool | None:
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
    """Whether the holder's process runs on this machine; None if it is not of this machine.

    Neither a name nor a restart tells: images of machines have one name, and another number of the
    boot may be another machine's. Within one boot, numbers of processes are counted by container,
    and when a process began by the time that its container has; the machine's clock is not asked.
    """
    process = there.get("process")
    if there.get("host") != socket.gethostname() or not isinstance(process, int):
        return None
    if any(there.get(key) != here for key, here in _machine().items()):
        return None
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return there.get("process_began") == _process_began(process)
