"""Files that threads of this process are writing for a run.

zarr writes in threads of its own, which go on when the main thread is interrupted: who lets the
store go waits for them first.
"""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator

from vxstore.errors import LockReleased

_changed = threading.Condition()
_counts: Counter[str] = Counter()
_ended: set[str] = set()


@contextlib.contextmanager
def write_for(run: str | None) -> Iterator[None]:
    """Around the writing of a file. Raises LockReleased if the run lets its store go."""
    if run is None:
        yield
        return
    with _changed:
        if run in _ended:
            raise LockReleased("the run has let its store go; nothing more is written")
        _counts[run] += 1
    try:
        yield
    finally:
        with _changed:
            _counts[run] -= 1
            _changed.notify_all()


def finish(run: str, seconds: float) -> None:
    """Begin no more files for a run, and wait, for so long at most, until none is being written."""
    with _changed:
        _ended.add(run)
        _changed.wait_for(lambda: not _counts[run], seconds)
