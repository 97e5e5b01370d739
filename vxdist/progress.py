"""Progress on standard output: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class WorkProgress:
    """Shows how much of a known total is done (tokens, layers), with the rate and the time left.

    The text that `note` returns is shown after them. `by_minute` gives the rate of slow work per
    minute.
    """

    def __init__(
        self,
        title: str,
        total: int,
        unit: str,
        *,
        shown: bool,
        seconds: float,
        by_minute: bool = False,
        note: Callable[[], str] = str,
    ) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._shown, self._seconds = shown, seconds
        self._by_minute, self._note = by_minute, note
        self._done = self._reported = 0
        self._began = self._printed = time.monotonic()
        self._console = Console(highlight=False)
        self._bar: Progress | None = None

    def start(self) -> None:
        """Start the clock and the display."""
        self._began = self._printed = time.monotonic()
        if self._shown and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[rate]}, left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=self._console,
            )
            self._bar.start()
            self._bar.add_task(self._title, total=self._total, rate=self._pace(), note=self._note())

    def stop(self) -> None:
        """Restore the terminal, or print how much was done."""
        if self._bar is not None:
            self._bar.stop()
        elif self._shown and self._reported < self._done:
            self._line()

    def advance(self, number: int) -> None:
        """Add to what is done."""
        self._done += number
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0], completed=self._done, rate=self._pace(), note=self._note()
            )
        elif self._shown and time.monotonic() - self._printed >= self._seconds:
            self._line()

    def _rate(self) -> float:
        return self._done / max(1e-9, time.monotonic() - self._began)

    def _pace(self) -> str:
        if self._by_minute:
            return f"{60 * self._rate():,.1f} {self._unit}/min"
        return f"{self._rate():,.0f} {self._unit}/s"

    def _line(self) -> None:
        self._printed, self._reported = time.monotonic(), self._done
        left = (self._total - self._done) / max(1e-9, self._rate())
        print(
            f"{self._title}: {self._done:,} of {self._total:,} {self._unit} "
            f"({self._done / max(1, self._total):.0%}), {self._pace()}, {left:.0f} s left"
            + (f"; {note}" if (note := self._note()) else ""),
            flush=True,
        )
