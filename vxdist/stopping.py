"""Ctrl-C and SIGTERM: the first lets the batch that runs end, the second stops at once.

Python runs a signal's handler only when the main thread is between two steps, and it may be within
one of a library for a minute. So the system also tells a thread of each signal, which answers at
once, and which ends the process if the main thread cannot.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from vxdist.errors import STOPPED, Stopped
from vxdist.ranks import is_first_rank
from vxstore.cli.signals import SIGNALS, Interrupted

AGAIN_SECONDS = {signal.SIGINT: 1.0, signal.SIGTERM: 5.0}
"""Signals that follow the first within this time are part of it: a launcher passes on the signal
that a terminal, or a batch system, has sent to all processes already."""
PATIENCE_SECONDS = 0.5
"""Time in which the main thread may stop, outside a batch, before that is announced."""
RETRY_SECONDS = 0.02
"""Time until an exception that was dropped is raised again."""
GRACE_SECONDS = 3.0
"""Time that the main thread has to stop after the second signal, before the process is ended."""


@contextlib.contextmanager
def watch(*, exits: bool = False) -> Iterator[None]:
    """Within, a signal stops the run: by Interrupted, or by Stopped in `for_lightning`.

    With `exits` a second one ends the process (exit code 3) if it does not stop by itself. Nested,
    only the outermost counts; outside the main thread nothing is done.
    """
    global _active  # noqa: PLW0603
    if _active is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _active = watching = _Watch(exits)
    try:
        yield
    finally:
        _active = None
        watching.close()


@contextlib.contextmanager
def for_lightning() -> Iterator[None]:
    """Within, what is raised is Stopped: Lightning answers KeyboardInterrupt by exiting with 1."""
    with watch():
        watching = _active
        if watching is None:
            yield
            return
        before, watching.error = watching.error, Stopped
        try:
            yield
        finally:
            watching.error, watching.patient = before, False


@contextlib.contextmanager
def cleaning_up(clean_up: Callable[[], object]) -> Iterator[None]:
    """Within, call `clean_up` if the process is ended without unwinding."""
    watching = _active
    if watching is not None:
        watching.clean_ups.append(clean_up)
    try:
        yield
    finally:
        if watching is not None:
            watching.clean_ups.remove(clean_up)


def be_patient(patient: bool) -> None:
    """Whether the first signal waits for the next `check`; also takes the signals back from a
    library that has handlers of its own.
    """
    if _active is not None:
        _active.patient = patient
        _active.install()


def is_asked() -> bool:
    """Whether a signal has come."""
    return _active is not None and _active.first is not None


def check() -> None:
    """Raise, if a signal has come."""
    if _active is not None:
        _active.check()


def stop() -> None:
    """Stop as SIGTERM would have it; called from any thread."""
    signal.pthread_kill(_main_thread(), signal.SIGTERM)


def end_now() -> None:
    """End the process, whose main thread does not stop; does not return."""
    if _active is not None:
        _active.exit()
    os._exit(STOPPED)


def _main_thread() -> int:
    number = threading.main_thread().ident
    assert number is not None
    return number


def end_with(code: int) -> None:
    """From now on, a signal ends the process with this code: all is done, but for Python's end."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(code))


class _Watch:
    """The signals of this process, and the thread that answers them."""

    def __init__(self, exits: bool) -> None:
        self._exits = exits
        self.patient = False
        self.error: type[BaseException] = Interrupted
        self.clean_ups: list[Callable[[], object]] = []
        self.first: tuple[int, float] | None = None
        self._again = self._unwinding = False
        self._ended = threading.Event()
        self._heard, self._told = socket.socketpair()
        self._told.setblocking(False)
        self._before: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}
        self._fd_before = signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)
        self._hook_before = sys.unraisablehook
        sys.unraisablehook = self._on_unraisable
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()
        self.install()

    def install(self) -> None:
        """Handle the signals, whoever did."""
        signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def close(self) -> None:
        """Give the signals back."""
        self._ended.set()
        sys.unraisablehook = self._hook_before
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._fd_before)
        self._told.close()
        self._thread.join(GRACE_SECONDS)
        self._heard.close()

    def check(self) -> None:
        """Raise, if a signal has come."""
        if self.first is not None:
            self._unwinding = True
            raise self.error(self._reason())

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        self.first = self.first or (number, now)
        self._again |= now - self.first[1] > AGAIN_SECONDS[signal.Signals(number)]
        # Once it unwinds, nothing may interrupt what is put in order on the way.
        if not self._unwinding and (self._again or not self.patient):
            self.check()

    def _on_unraisable(self, unraisable: Any) -> None:
        """Raise again where Python drops what a handler raised: within `__del__`, say."""
        if not isinstance(unraisable.exc_value, self.error) or self.first is None:
            self._hook_before(unraisable)
            return
        self._unwinding = False
        again = (_main_thread(), self.first[0])
        threading.Timer(RETRY_SECONDS, signal.pthread_kill, again).start()

    def _reason(self) -> str:
        name = "a signal" if self.first is None else signal.Signals(self.first[0]).name
        return f"stopped by {name}; run the same command again to resume"

    def _listen(self) -> None:
        """Answer each signal at once."""
        first_at: float | None = None
        while told := self._heard.recv(1):
            if told[0] not in SIGNALS:
                continue
            now = time.monotonic()
            if first_at is None:
                first_at = now
                self.first = self.first or (told[0], now)
                self._answer(told[0])
            elif now - first_at > AGAIN_SECONDS[signal.Signals(told[0])]:
                self._again = True
                if self._exits and not self._ended.wait(GRACE_SECONDS):
                    self.exit()

    def _answer(self, number: int) -> None:
        """Say what the first signal does, unless the run has ended by then."""
        again = "press Ctrl-C again" if number == signal.SIGINT else "send SIGTERM again"
        when = " after this batch" if self.patient else ""
        if self.patient or not self._ended.wait(PATIENCE_SECONDS):
            self._say(f"stopping{when}; {again} to stop now")

    def _say(self, text: str) -> None:
        if is_first_rank():
            print(text, file=sys.stderr, flush=True)

    def exit(self) -> None:
        """End the process, whose main thread does not stop."""
        thread = threading.Thread(target=self._clean_up, daemon=True)
        thread.start()
        thread.join(GRACE_SECONDS)
        show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # a progress bar hides it
        print(show_cursor + self._reason(), file=sys.stderr, flush=True)  # on every rank
        os._exit(STOPPED)

    def _clean_up(self) -> None:
        for clean_up in list(self.clean_ups):
            with contextlib.suppress(Exception):
                clean_up()


_active: _Watch | None = None
