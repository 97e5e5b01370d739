"""A rank whose launcher has been killed ends by itself.

Nobody would collect it: it would hold its GPU, and the store's lock, and wait for ranks that will
never come.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping

from vxdist import stopping
from vxdist.ranks import find_rank

LOOK_SECONDS = 1.0
GRACE_SECONDS = 30.0
"""Seconds that a rank has to end its batch before its process is ended."""
_watched: set[int] = set()
"""Processes that are watched."""


@contextlib.contextmanager
def watch(environ: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Within, end this process (exit code 3) if what started it as one of several ranks ends.

    A launcher on its way out passes signals on; this is for one that could not. Nested, only the
    outermost counts; without a launcher nothing is done.
    """
    launched = "TORCHELASTIC_RUN_ID" in environ or "LOCAL_RANK" in environ
    if not launched or os.getpid() in _watched:
        yield
        return
    ended = threading.Event()
    _watched.add(os.getpid())
    arguments = (os.getppid(), find_rank(environ), ended)
    threading.Thread(target=_look, args=arguments, name="launcher", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        _watched.discard(os.getpid())


def _look(parent: int, rank: int, ended: threading.Event) -> None:
    """Until `ended`, look whether this process still is a child of its launcher."""
    while os.getppid() == parent:
        if ended.wait(LOOK_SECONDS):
            return
    reason = f"its launcher (process {parent}) has ended"
    print(f"rank {rank} stops: {reason}", file=sys.stderr, flush=True)
    stopping.stop()
    if not ended.wait(GRACE_SECONDS):
        stopping.end_now()
