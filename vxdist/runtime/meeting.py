"""Where ranks meet before their process group is made.

torch waits for ranks that do not come for as long as a model may take to load, and does not say
which they are. Here they meet first, through the store that the group will be made with.
"""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Any

from torch.distributed import (  # type: ignore[attr-defined]
    DistNetworkError,
    DistStoreError,
    TCPStore,
)
from torch.distributed.distributed_c10d import PrefixStore, Store

from vxdist import stopping
from vxdist.errors import Stopped, UserError

ANNOUNCE_SECONDS = 30.0
"""Seconds between lines that say who is waited for."""
LOOK_SECONDS = 0.2
FAREWELL_SECONDS = 5.0
"""Time that ranks have to read why they must not go on."""
SHOWN = 8
"""Ranks that are named in a line."""
UNREACHED = (DistNetworkError, DistStoreError)


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """A place and time: the store at `host` and `port`, `limit` seconds from now (the setting
    trainer.meet_timeout)."""

    rank: int
    size: int
    host: str
    port: int
    limit: float

    @property
    def name(self) -> str:
        return f"rank {self.rank} ({socket.gethostname()})"


def meet_ranks(strategy: Any, limit: float) -> TCPStore | None:
    """`meet`, of the ranks of a Lightning strategy, which knows its own rank by now."""
    environment = strategy.cluster_environment
    return meet(
        Meeting(
            rank=strategy.global_rank,
            size=strategy.world_size,
            host=environment.main_address,
            port=environment.main_port,
            limit=limit,
        )
    )


def meet(meeting: Meeting) -> TCPStore | None:
    """Wait until all ranks are here; returns what must be kept until their group is made.

    Raises UserError, naming them, if some do not come in time, or run another version of vxdist,
    Stopped if who hosts the store has ended.
    """
    if meeting.size == 1:
        return None
    store = _find(meeting)
    try:
        _meet(meeting, store)
    except UNREACHED as error:
        place = f"{meeting.host}:{meeting.port}"
        raise Stopped(f"{meeting.name} stops: the store at {place} has ended") from error
    return store


def _meet(meeting: Meeting, store: TCPStore) -> None:
    room = PrefixStore(f"vxdist/meeting/{_attempt(os.environ)}", store)
    room.set(f"rank/{meeting.rank}", f"{version('vxdist')} {meeting.name}")
    room.add("count", 1)
    if meeting.rank == 0:
        reason = _await_all(meeting, room)
        room.set("reason", reason or "-")
    else:
        while not room.check(["reason"]):
            _pause(meeting)
        reason = room.get("reason").decode().removeprefix("-")
    if not reason:
        return
    room.add("read", 1)
    if meeting.rank == 0:  # the store may end with this process
        until = time.monotonic() + FAREWELL_SECONDS
        while room.add("read", 0) < room.add("count", 0) and time.monotonic() < until:
            _pause(meeting)
    raise UserError(reason)


def _attempt(environ: Mapping[str, str]) -> str:
    """What tells this meeting from earlier ones in the same store.

    A store that rank 0 hosts is new each time; one that torchrun hosts is not. Restarts count for
    the node whose rank failed, and not for the others, which are restarted with it.
    """
    return environ.get("TORCHELASTIC_RESTART_COUNT", "0") if _is_torchrun_s(environ) else "0"


def _is_torchrun_s(environ: Mapping[str, str]) -> bool:
    """Whether the store is hosted by torchrun, and not by rank 0."""
    return environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _await_all(meeting: Meeting, room: Store) -> str:
    """Wait for all ranks; why they must not go on, or nothing."""
    late = _wait(
        meeting,
        lambda: room.add("count", 0) >= meeting.size,
        lambda: _missing(room, meeting.size),
    )
    if late:
        return late
    here = [room.get(f"rank/{rank}").decode() for rank in range(meeting.size)]
    return _compare_versions(meeting, here)


def _wait(
    meeting: Meeting,
    is_done: Callable[[], bool],
    missing: Callable[[], Sequence[int]],
) -> str:
    """Until it is done, now and then say which ranks are missing; nothing, or that it took too
    long."""
    began = told = time.monotonic()
    while not is_done():
        _pause(meeting)
        now = time.monotonic()
        if now - began > meeting.limit:
            return _late(meeting, missing())
        if now - told > ANNOUNCE_SECONDS:
            told = now
            _announce(meeting, missing())
    return ""


def _pause(meeting: Meeting) -> None:
    """The more ranks wait, the less often each may ask."""
    stopping.check()
    time.sleep(max(LOOK_SECONDS, meeting.size / 1000))


def _find(meeting: Meeting) -> TCPStore:
    """The store: hosted by torchrun, or else by rank 0."""
    hosted = _is_torchrun_s(os.environ)
    is_host = meeting.rank == 0 and not hosted
    if not is_host:
        _await_host(meeting)
    return TCPStore(
        meeting.host,
        meeting.port,
        is_master=is_host,
        wait_for_workers=False,
        timeout=timedelta(seconds=meeting.limit),
        multi_tenant=True,  # torch will make its own of the same port
    )


def _await_host(meeting: Meeting) -> None:
    """Until somebody listens there: torch would tell of each attempt in thirty lines."""
    if late := _wait(meeting, lambda: _is_hosted(meeting), lambda: [0]):
        raise UserError(late)


def _is_hosted(meeting: Meeting) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection((meeting.host, meeting.port), timeout=5).close()
        return True
    return False


def _missing(room: Store, size: int) -> list[int]:
    return [rank for rank in range(size) if not room.check([f"rank/{rank}"])]


def _announce(meeting: Meeting, missing: Sequence[int]) -> None:
    """Say who is waited for, on rank 0, or on the first rank that waits for rank 0."""
    if meeting.rank == (1 if 0 in missing else 0):
        print(f"{meeting.name} waits for {_list(missing)}", file=sys.stderr, flush=True)


def _late(meeting: Meeting, missing: Sequence[int]) -> str:
    return (
        f"{meeting.name}: {_list(missing)} of {meeting.size} did not come to {meeting.host}:"
        f"{meeting.port} within {meeting.limit:.0f} s (trainer.meet_timeout): not started, ended, "
        "still preparing, or out of reach; see what they printed, and launch/README.md"
    )


def _list(ranks: Sequence[int]) -> str:
    if not ranks:
        return "no rank"
    shown = ", ".join(map(str, ranks[:SHOWN]))
    more = f" and {len(ranks) - SHOWN} more" if len(ranks) > SHOWN else ""
    return f"rank{'s' * (len(ranks) > 1)} {shown}{more}"


def _compare_versions(meeting: Meeting, here: Sequence[str]) -> str:
    """A rank that runs another version than rank 0; nothing if none does."""
    own = here[0].partition(" ")[0]
    for one in here:
        found, _, name = one.partition(" ")
        if found != own:
            return (
                f"{name} runs vxdist {found}, and {meeting.name} vxdist {own}; install the same "
                "version everywhere"
            )
    return ""
