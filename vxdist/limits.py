"""A clock and a bound on memory for what a stranger's file has this process do.

Signals reach the main thread alone, and memory is bounded where the system can bound it (Linux);
elsewhere what is done within is done without.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from vxstore.errors import UserError

STATUS = Path("/proc/self/statm")


class _OutOfTime(BaseException):
    """No library catches it as an error of its own."""


@contextlib.contextmanager
def limited(what: str, *, seconds: float, memory: int = 2 << 30) -> Iterator[None]:
    """Within, this process may take `seconds`, and `memory` bytes more than it has.

    Raises UserError, beginning with `what`, if more is asked for. Not to be nested.
    """
    try:
        with _memory(memory), _clock(seconds):
            yield
    except _OutOfTime:
        raise UserError(f"{what}: did not end within {seconds:g} s; the file is not used") from None
    except MemoryError as error:
        raise UserError(
            f"{what}: asks for more than {memory / (1 << 30):g} GiB of memory; the file is not used"
        ) from error


@contextlib.contextmanager
def _clock(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(
        signal.ITIMER_REAL
    ) != (0.0, 0.0):  # another has the clock
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise _OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _memory(most: int) -> Iterator[None]:
    limits = _lower(most)
    try:
        yield
    finally:
        if limits is not None:
            import resource

            resource.setrlimit(resource.RLIMIT_AS, limits)


def _lower(most: int) -> Any:
    """Lower the bound on address space; returns the one before, None if it was not changed."""
    try:
        import resource

        held = int(STATUS.read_text().split()[0]) * resource.getpagesize()
        soft, hard = before = resource.getrlimit(resource.RLIMIT_AS)
        if soft == resource.RLIM_INFINITY or held + most < soft:
            resource.setrlimit(resource.RLIMIT_AS, (held + most, hard))
            return before
    except (ImportError, OSError, ValueError):
        pass
    return None
