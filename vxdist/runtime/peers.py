"""The other ranks of a launch: no rank waits for a dead one, and a rank that fails says where.

Under ddp ranks do not communicate while they predict, and under zero3 a rank whose peer is dead
hangs in a collective; so all ranks exchange heartbeats (heartbeat.py).
"""

import contextlib
import os
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl

from vxdist.errors import STOPPED, USER_ERROR, Stopped, UserError
from vxdist.runtime.heartbeat import Abort, Heartbeat
from vxdist.runtime.launch import Launch
from vxstore.errors import LockReleased
from vxstore.io.lock import join, own_run, release

RESUME = "run the same command again to resume from what is sealed"


class PeerFailed(UserError):
    """Another rank failed with an error that the user can fix."""


class PeerGone(Stopped):
    """Another rank ended for another reason, or is dead."""


class Peers(pl.Callback):
    """Monitors the other ranks, and tells them if this one fails. Does nothing on a single rank."""

    def __init__(self, launch: Launch, timeout: float, store: str) -> None:
        """`timeout` is trainer.peer_timeout; rank 0 holds the lock of `store`."""
        self._launch, self._timeout, self._store = launch, timeout, store
        self.name = f"rank {launch.rank} ({socket.gethostname()})"
        self._step: str | None = None
        self._failed_step: str | None = None
        self._raised = False
        self._own_abort: Abort | None = None
        self._heartbeat: Heartbeat | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start the heartbeats; the process group has just been made."""
        if self._launch.world_size == 1:
            return
        # A launch that was restarted may find the store of the one before it.
        own = (uuid.uuid4().hex, self.name, own_run(self._store))
        launch, store_host, run = trainer.strategy.broadcast(own)
        if self._launch.rank != 0:
            join(self._store, run)  # whoever takes the store over later is not of this run
        self.start(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), launch, store_host)

    def start(self, host: str, port: int, launch: str, store_host: str) -> None:
        """Start the heartbeats of `launch`, through the store at `host` and `port`.

        `store_host` names the rank on whose machine that store is.
        """
        heartbeat = Heartbeat(
            rank=self._launch.rank,
            size=self._launch.world_size,
            name=self.name,
            store_host=store_host,
            timeout=self._timeout,
            on_abort=self._on_abort,
        )
        heartbeat.start(host, port, launch)
        self._heartbeat = heartbeat

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Tell the other ranks before Lightning cleans up, which may hang."""
        self.fail(exception)

    def on_predict_batch_start(self, *_: Any) -> None:
        """Stop if a peer has ended."""
        self.check()

    def check(self) -> None:
        """Raise PeerFailed or PeerGone if a peer has ended."""
        if self._heartbeat is not None and self._heartbeat.abort is not None:
            raise self._because(self._heartbeat.abort)

    def wait_for_all(self) -> None:
        """Wait, for as long as it takes, until every rank is here. Raises as `check` does.

        A barrier of the process group would time out, and would not react to signals.
        """
        if self._heartbeat is None:
            return
        barrier = self._heartbeat.enter_barrier()
        while not self._heartbeat.has_passed(barrier):
            self.check()
            time.sleep(0.05)

    @contextlib.contextmanager
    def at(self, step: str) -> Iterator[None]:
        """Around a step, such as 'part 3, batch 2 of 5'; errors within are reported with it."""
        self._step = step
        try:
            yield
        except Exception:
            self._failed_step = self._failed_step or step
            raise

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Around a run: an error in it names rank and step, and is announced to the other ranks."""
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
            self._heartbeat.stop()

    def fail(self, error: BaseException) -> None:
        """Announce an error that ends this rank to the others."""
        if self._heartbeat is None:
            return
        if isinstance(error, Stopped):
            reason = f"{self.name} was stopped"
        else:
            reason = f"{self._location()} failed: {_describe(error)[:500]}"
        code = USER_ERROR if isinstance(error, UserError | OSError) else STOPPED
        self._own_abort = self._own_abort or Abort(reason=reason, code=code)
        self._heartbeat.announce(self._own_abort)

    def _named(self, error: BaseException) -> Exception | None:
        """The error to raise in place of `error`, or None to raise it as it is.

        Before an error with a traceback, a line that says where it happened is printed.
        """
        location, heartbeat = self._location(), self._heartbeat
        abort = None if heartbeat is None else heartbeat.abort
        if not location or isinstance(error, PeerFailed | PeerGone):
            return None
        if abort is not None and abort != self._own_abort:
            # A peer failed first, and this is a consequence: a broken collective, a released lock.
            return self._because(abort)
        if isinstance(error, LockReleased) and heartbeat is not None:
            # Rank 0 held it, and has ended before it could be heard why.
            return Stopped(f"{location}: {error}; {RESUME}")
        if isinstance(error, UserError):
            return UserError(f"{location}: {error}")
        if not isinstance(error, Stopped):
            print(f"{location}: {_describe(error)}", file=sys.stderr, flush=True)
        elif heartbeat is not None and heartbeat.store_closed:
            return Stopped(f"{self.name}: {heartbeat.store_host} has ended; {error}")
        return None

    def _location(self) -> str:
        """This rank, if there are others, and the step that failed, or else the last one."""
        rank = self.name if self._launch.world_size > 1 else None
        step = self._failed_step or (self._step and f"after {self._step}")
        return ", ".join(filter(None, (rank, step)))

    def _because(self, abort: Abort) -> PeerFailed | PeerGone:
        """The error with which this rank ends when a peer has ended."""
        line = f"{self.name} stops: {abort.reason}"
        if abort.code == USER_ERROR:
            return PeerFailed(line)
        return PeerGone(f"{line}; {RESUME}")

    def _on_abort(self, abort: Abort) -> None:
        """Print the reason and release the lock, before the process ends without unwinding."""
        if not self._raised:
            print(self._because(abort), file=sys.stderr, flush=True)
        if self._launch.rank == 0:
            release(self._store)


def _describe(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
