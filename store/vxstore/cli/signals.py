"""Ctrl-C and SIGTERM: the first lets a command put things in order, the second ends it at once."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPED = 3
"""Exit code of a command that was stopped."""
AGAIN_SECONDS = 1.0
"""Signals that follow the first within this time are part of it."""


class Interrupted(KeyboardInterrupt):
    """A signal has come.

    A class of its own, as Python would end by the signal itself, and not with our exit code, where
    a plain KeyboardInterrupt has passed through `exec`, which many imports use.
    """


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Within, the first signal raises Interrupted, and a later one ends the process.

    Outside the main thread nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first_at: list[float] = []

    def on_signal(number: int, _: FrameType | None) -> None:
        if not first_at:
            first_at.append(time.monotonic())
            name = signal.Signals(number).name
            raise Interrupted(f"stopped by {name}; run the same command again")
        if time.monotonic() - first_at[0] > AGAIN_SECONDS:
            os._exit(STOPPED)

    before = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
