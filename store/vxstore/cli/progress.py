"""How far a long read of a store is: a bar on a terminal, plain lines elsewhere, on stderr."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import Progress

SECONDS = 10.0
"""Between plain lines."""


@contextlib.contextmanager
def layer_progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A function to call with blocks of layers done, and their number."""
    console = Console(stderr=True)
    if not console.is_terminal:
        began = told = time.monotonic()

        def line(done: int, total: int) -> None:
            nonlocal told
            now = time.monotonic()
            if now - told >= SECONDS:
                told, left = now, (now - began) / done * (total - done)
                print(f"{title}: {done:,} of {total:,}, {left:.0f} s left", file=sys.stderr)

        yield line
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
