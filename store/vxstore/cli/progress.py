"""Progress of a long read, on standard error: a bar on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import Progress

SECONDS = 10.0
"""Least time between plain lines."""


@contextlib.contextmanager
def layer_progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A function to call with the number of blocks of layers done, and their total."""
    console = Console(stderr=True)
    if not console.is_terminal:
        began = printed = time.monotonic()

        def line(done: int, total: int) -> None:
            nonlocal printed
            now = time.monotonic()
            if now - printed >= SECONDS:
                printed, left = now, (now - began) / done * (total - done)
                print(f"{title}: {done:,} of {total:,}, {left:.0f} s left", file=sys.stderr)

        yield line
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
