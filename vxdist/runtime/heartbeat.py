"""Heartbeats between ranks, through the store that their process group was made with.

One thread sends this rank's heartbeat, checks that of the next rank (the ranks form a ring, so each
is monitored by another), and looks for an abort message. A broken connection blocks that thread, so
a watchdog thread monitors it in turn, and ends the process if the main thread does not stop.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta

from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import PrefixStore, Store

from vxdist.errors import STOPPED

BEAT_SECONDS = 5.0
"""Seconds between heartbeats; fewer if the time-out is short."""
GRACE_SECONDS = 10.0
"""Seconds that the main thread has to stop once the run aborts, before its process is ended."""


@dataclass(frozen=True, kw_only=True)
class Abort:
    """Why the run ends early, and the exit code that says so."""

    reason: str
    code: int


class Heartbeat:
    """Sends this rank's heartbeat and monitors that of the next rank.

    A rank that sends no heartbeat for `timeout` seconds is considered dead. `store_host` names the
    rank on whose machine the store is. `on_abort` is called if the process has to end without
    unwinding its main thread.
    """

    def __init__(
        self,
        *,
        rank: int,
        size: int,
        name: str,
        store_host: str,
        timeout: float,
        on_abort: Callable[[Abort], None],
    ) -> None:
        self._rank, self._size, self._next = rank, size, (rank + 1) % size
        self._name, self._timeout = name, timeout
        self._on_abort = on_abort
        self._lock = threading.Lock()
        self._wake, self._announced, self._stopped = (threading.Event() for _ in range(3))
        self._ticks = 0
        self._peer_beats, self._peer_seen = -1, time.monotonic()
        self._barriers_wanted = self._barriers_entered = self._barriers_passed = 0
        self._beater = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._watchdog = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self.store_host = store_host
        self.abort: Abort | None = None
        self.store_closed = False
        """Whether the process that hosts the store has ended."""

    def start(self, host: str, port: int, launch: str) -> None:
        """Start, in the store at `host` and `port`, under keys that only this launch uses."""
        # A connection of its own: a thread that waits on one blocks the others that use it.
        limit = timedelta(seconds=self._timeout)
        store = TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=limit)
        self._store: Store = PrefixStore(f"vxdist/{launch}", store)
        self.store_host = f"the store at {host}:{port}, on the machine of {self.store_host},"
        self._peer_seen = time.monotonic()
        self._beater.start()
        self._watchdog.start()

    def announce(self, abort: Abort) -> None:
        """Tell the other ranks why the run aborts. The first reason counts."""
        if self.abort is None:
            self._record(abort)
            self._announced.wait(BEAT_SECONDS)

    def stop(self) -> None:
        """Stop, once all ranks are done."""
        self._stopped.set()
        self._wake.set()
        self._beater.join(BEAT_SECONDS)

    def enter_barrier(self) -> int:
        """Start to wait for the other ranks; returns the number of this barrier."""
        self._barriers_wanted += 1
        self._wake.set()
        return self._barriers_wanted

    def has_passed(self, barrier: int) -> bool:
        """Whether all ranks have reached a barrier."""
        return self._barriers_passed >= barrier

    def _record(self, abort: Abort) -> None:
        with self._lock:
            self.abort = self.abort or abort
        self._wake.set()

    def _beat(self) -> None:
        pause = min(BEAT_SECONDS, self._timeout / 6)
        try:
            self._store.set(f"name/{self._rank}", self._name)
            while not self._stopped.is_set() and not self._announced.is_set():
                self._exchange(self._store)
                self._ticks = 0
                # The more ranks wait at once, the less often each may ask.
                waits = self._barriers_passed < self._barriers_wanted
                self._wake.wait(max(0.05, self._size / 1000) if waits else pause)
                self._wake.clear()
        except RuntimeError:
            self.store_closed = True
            self._announced.set()  # no rank is left to read an announcement

    def _exchange(self, store: Store) -> None:
        """Send a heartbeat, check the next rank's, and exchange aborts and barriers."""
        store.add(f"beat/{self._rank}", 1)
        self._check_peer(store)
        if self.abort is not None:
            # Another rank may have aborted first, and this rank's error may be a consequence.
            first = store.compare_set("abort", "", json.dumps(asdict(self.abort)))
            self.abort = Abort(**json.loads(first))
            self._announced.set()
        elif store.check(["abort"]):
            self._record(Abort(**json.loads(store.get("abort"))))
            self._announced.set()
        if self._barriers_entered < self._barriers_wanted:
            self._barriers_entered += 1
            store.add(f"barrier/{self._barriers_entered}", 1)
        if self._barriers_passed < self._barriers_entered:
            arrived = store.add(f"barrier/{self._barriers_entered}", 0)
            self._barriers_passed += arrived == self._size

    def _check_peer(self, store: Store) -> None:
        beats, now = store.add(f"beat/{self._next}", 0), time.monotonic()
        # Clocks of machines differ, so this one measures how long the peer's count has not changed.
        if beats != self._peer_beats:
            self._peer_beats, self._peer_seen = beats, now
        elif now - self._peer_seen > self._timeout:
            has_name = store.check([f"name/{self._next}"])
            name = store.get(f"name/{self._next}").decode() if has_name else f"rank {self._next}"
            reason = f"{name} has sent no heartbeat for {now - self._peer_seen:.0f} s"
            self._record(Abort(reason=reason, code=STOPPED))

    def _watch(self) -> None:
        tick = min(0.5, self._timeout / 20)
        while self.abort is None and not self._stopped.wait(tick):
            # Counted in ticks of this thread: a process that was frozen must not blame the others.
            self._ticks += 1
            silent = self._ticks * tick
            if silent > (GRACE_SECONDS if self.store_closed else self._timeout):
                reason = f"{self.store_host} has not answered for {silent:.0f} s"
                self._record(Abort(reason=reason, code=STOPPED))
        if not self._stopped.wait(GRACE_SECONDS):
            self._exit()

    def _exit(self) -> None:
        """End the process, whose main thread hangs."""
        assert self.abort is not None
        cleanup = threading.Thread(target=self._on_abort, args=(self.abort,), daemon=True)
        cleanup.start()
        cleanup.join(GRACE_SECONDS)
        sys.stderr.flush()
        os._exit(self.abort.code)
