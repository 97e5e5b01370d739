"""Signs of life between ranks, over the store that their process group was made with.

A thread talks: it gives this rank's sign, looks for that of the next rank (a ring, so that whoever
dies has somebody who listens), and for word that the run ends. A cut link hangs it in the middle
of that; so a second thread minds it, and ends the process if the main thread does not stop.
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
"""Between signs of life; less if the time after which a rank is taken for dead is short."""
GRACE_SECONDS = 10.0
"""For the main thread to stop in order, once the run ends, before its process is ended."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """Why the run ends before its time, and the exit code that says so."""

    reason: str
    code: int


class Heartbeat:
    """This rank's signs of life and those of the others.

    A rank without a new sign for `timeout` seconds is taken for dead. `keeper` names the rank on
    whose machine the store is. `farewell` is told why if the process must end without unwinding.
    """

    def __init__(
        self,
        *,
        rank: int,
        size: int,
        name: str,
        keeper: str,
        timeout: float,
        farewell: Callable[[Ending], None],
    ) -> None:
        self._rank, self._size, self._next = rank, size, (rank + 1) % size
        self._name, self.keeper, self._timeout = name, keeper, timeout
        self._farewell = farewell
        self._lock = threading.Lock()
        self._wake, self._told, self._over = (threading.Event() for _ in range(3))
        self._ticks = 0
        self._sign, self._heard = -1, time.monotonic()
        self._wanted = self._joined = self._met = 0
        self._talker = threading.Thread(target=self._talk, name="signs of life", daemon=True)
        self._minder = threading.Thread(target=self._mind, name="minder", daemon=True)
        self.ending: Ending | None = None
        self.closed = False
        """Whether the process that kept the store has ended."""

    def start(self, host: str, port: int, launch: str) -> None:
        """Begin, in the store at `host` and `port`, under keys that this launch alone has."""
        # A connection of its own: whoever waits on one keeps others from using it.
        limit = timedelta(seconds=self._timeout)
        store = TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=limit)
        self._store: Store = PrefixStore(f"vxdist/{launch}", store)
        self.keeper = f"the store at {host}:{port}, on the machine of {self.keeper},"
        self._heard = time.monotonic()
        self._talker.start()
        self._minder.start()

    def end(self, ending: Ending) -> None:
        """Let the others know why the run ends. The first reason counts."""
        if self.ending is None:
            self._note(ending)
            self._told.wait(BEAT_SECONDS)

    def leave(self) -> None:
        """Stop, all ranks being through."""
        self._over.set()
        self._wake.set()
        self._talker.join(BEAT_SECONDS)

    def join_meeting(self) -> int:
        """Begin to wait for the others; the number of this meeting."""
        self._wanted += 1
        self._wake.set()
        return self._wanted

    def has_met(self, meeting: int) -> bool:
        """Whether all ranks have come to a meeting."""
        return self._met >= meeting

    def _note(self, ending: Ending) -> None:
        with self._lock:
            self.ending = self.ending or ending
        self._wake.set()

    def _talk(self) -> None:
        pause = min(BEAT_SECONDS, self._timeout / 6)
        try:
            self._store.set(f"name/{self._rank}", self._name)
            while not self._over.is_set() and not self._told.is_set():
                self._exchange(self._store)
                self._ticks = 0
                # The more ranks wait at once, the less often each may ask.
                waits = self._met < self._wanted
                self._wake.wait(max(0.05, self._size / 1000) if waits else pause)
                self._wake.clear()
        except RuntimeError:
            self.closed = True
            self._told.set()  # there is nobody to tell

    def _exchange(self, store: Store) -> None:
        """Give a sign, look for one, and for news."""
        store.add(f"sign/{self._rank}", 1)
        sign, now = store.add(f"sign/{self._next}", 0), time.monotonic()
        # Clocks of machines differ: what counts is how long, seen from here, a number stays.
        if sign != self._sign:
            self._sign, self._heard = sign, now
        elif now - self._heard > self._timeout:
            known = store.check([f"name/{self._next}"])
            name = store.get(f"name/{self._next}").decode() if known else f"rank {self._next}"
            reason = f"{name} has given no sign of life for {now - self._heard:.0f} s"
            self._note(Ending(reason=reason, code=STOPPED))
        if self.ending is not None:
            # Another may have been first, and what ends this rank have come of that.
            first = store.compare_set("ending", "", json.dumps(asdict(self.ending)))
            self.ending = Ending(**json.loads(first))
            self._told.set()
        elif store.check(["ending"]):
            self._note(Ending(**json.loads(store.get("ending"))))
            self._told.set()
        if self._joined < self._wanted:
            self._joined += 1
            store.add(f"meeting/{self._joined}", 1)
        if self._met < self._joined:
            there = store.add(f"meeting/{self._joined}", 0)
            self._met += there == self._size

    def _mind(self) -> None:
        tick = min(0.5, self._timeout / 20)
        while self.ending is None and not self._over.wait(tick):
            # Ticks of its own: a process that was frozen must not blame the others.
            self._ticks += 1
            silent = self._ticks * tick
            if silent > (GRACE_SECONDS if self.closed else self._timeout):
                reason = f"{self.keeper} has not answered for {silent:.0f} s"
                self._note(Ending(reason=reason, code=STOPPED))
        if not self._over.wait(GRACE_SECONDS):
            self._exit()

    def _exit(self) -> None:
        """End the process, whose main thread hangs."""
        assert self.ending is not None
        saying = threading.Thread(target=self._farewell, args=(self.ending,), daemon=True)
        saying.start()
        saying.join(GRACE_SECONDS)
        sys.stderr.flush()
        os._exit(self.ending.code)
