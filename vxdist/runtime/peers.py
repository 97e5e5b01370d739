"""The ranks of a launch: none waits for one that is gone, and one that fails says where.

Under ddp ranks do not talk while they predict, and under zero3 a rank whose peer is gone hangs in
a collective; so they give each other heartbeats (heartbeat.py) besides.
"""

import contextlib
import json
import os
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl

from vxdist.errors import STOPPED, USER_ERROR, Stopped, UserError
from vxdist.runtime.heartbeat import Ending, Heartbeat
from vxdist.runtime.launch import Launch
from vxstore.io.storage import beside


class PeerFailed(UserError):
    """Another rank met what the user can mend."""


class PeerGone(Stopped):
    """Another rank ended otherwise, or is dead."""


class Peers(pl.Callback):
    """The other ranks, and this one's word to them. A rank that is alone watches nobody."""

    def __init__(self, launch: Launch, timeout: float, store: str) -> None:
        """`timeout` is trainer.peer_timeout; `store` is the one whose lock rank 0 holds."""
        self._launch, self._timeout, self._store = launch, timeout, store
        self._name = f"rank {launch.rank} ({socket.gethostname()})"
        self._storage: str | None = None
        self._failed_at: str | None = None
        self._raised = False
        self._mine: Ending | None = None
        self._heartbeat: Heartbeat | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Begin to watch: the process group has just been made."""
        if self._launch.world_size == 1:
            return
        # A launch that was restarted may find the store of the one before it.
        launch, keeper = trainer.strategy.broadcast((uuid.uuid4().hex, self._name))
        self.start(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), launch, keeper)

    def start(self, host: str, port: int, launch: str, keeper: str) -> None:
        """Begin to watch the ranks of `launch`, through the store on the machine of `keeper`."""
        heartbeat = Heartbeat(
            rank=self._launch.rank,
            size=self._launch.world_size,
            name=self._name,
            keeper=keeper,
            timeout=self._timeout,
            farewell=self._farewell,
        )
        heartbeat.start(host, port, launch)
        self._heartbeat = heartbeat

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Tell the others before Lightning cleans up, which may hang."""
        self.fail(exception)

    def on_predict_batch_start(self, *_: Any) -> None:
        """Stop if a peer is gone."""
        self.check()

    def check(self) -> None:
        """Raise PeerFailed or PeerGone if a peer has ended."""
        if self._heartbeat is not None and self._heartbeat.ending is not None:
            raise self._because(self._heartbeat.ending)

    def wait_for_all(self) -> None:
        """Wait, for as long as it takes, until every rank is here. Raises as `check` does.

        A barrier of the process group would do, had it no time-out and did it heed signals.
        """
        if self._heartbeat is None:
            return
        meeting = self._heartbeat.join_meeting()
        while not self._heartbeat.has_met(meeting):
            self.check()
            time.sleep(0.05)

    @contextlib.contextmanager
    def at(self, storage: str) -> Iterator[None]:
        """Say where this rank is, should it fail there; such as 'part 3, batch 2 of 5'."""
        self._storage = storage
        try:
            yield
        except Exception:
            self._failed_at = self._failed_at or storage
            raise

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Around a run: an error in it names rank and place, and is told to the others."""
        try:
            yield
        except BaseException as error:
            self.fail(error)
            self._raised = True
            named = self._named(error)
            if named is None:
                raise
            raise named from error
        if self._heartbeat is not None:
            self._heartbeat.leave()

    def fail(self, error: BaseException) -> None:
        """Let the others know of an error that ends this rank."""
        if self._heartbeat is None:
            return
        if isinstance(error, Stopped):
            reason = f"{self._name} was stopped"
        else:
            reason = f"{self._where()} failed: {_describe(error)[:500]}"
        code = USER_ERROR if isinstance(error, UserError | OSError) else STOPPED
        self._mine = self._mine or Ending(reason=reason, code=code)
        self._heartbeat.end(self._mine)

    def _named(self, error: BaseException) -> Exception | None:
        """What to raise instead, or None; what has a traceback gets a line printed before it."""
        where, heartbeat = self._where(), self._heartbeat
        ending = None if heartbeat is None else heartbeat.ending
        if not where or isinstance(error, PeerFailed | PeerGone):
            return None
        if ending is not None and ending != self._mine:
            # A peer failed first, and this came of it: a collective that broke, a lock let go.
            return self._because(ending)
        if isinstance(error, UserError):
            return UserError(f"{where}: {error}")
        if not isinstance(error, Stopped):
            print(f"{where}: {_describe(error)}", file=sys.stderr, flush=True)
        elif heartbeat is not None and heartbeat.closed:
            return Stopped(f"{self._name}: {heartbeat.keeper} has ended; {error}")
        return None

    def _where(self) -> str:
        """This rank, if there are others, and where it failed, or was last."""
        rank = self._name if self._launch.world_size > 1 else None
        storage = self._failed_at or (self._storage and f"after {self._storage}")
        return ", ".join(filter(None, (rank, storage)))

    def _because(self, ending: Ending) -> PeerFailed | PeerGone:
        """How this rank ends when a peer has ended."""
        line = f"{self._name} stops: {ending.reason}"
        if ending.code == USER_ERROR:
            return PeerFailed(line)
        return PeerGone(f"{line}; the same command goes on from what is sealed")

    def _farewell(self, ending: Ending) -> None:
        """What would be left undone if the process ended as it is."""
        if not self._raised:
            print(self._because(ending), file=sys.stderr, flush=True)
        if self._launch.rank == 0:
            _release(self._store)


def _release(store: str) -> None:
    """Take this process's lock off a store."""
    storage, name = beside(store, ".lock")
    lock = json.loads(storage.read(name) or b"{}")
    if (lock.get("host"), lock.get("process")) == (socket.gethostname(), os.getpid()):
        storage.remove(name)


def _describe(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
