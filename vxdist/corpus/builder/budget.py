"""How fast an endpoint is asked, and what it may cost in all."""

import asyncio
import json
import time
from pathlib import Path

from vxdist.config import BuildConfig
from vxdist.corpus.write import append_line, cut_torn_line

MILLION = 1e6


class Usage:
    """Tokens spent, kept in a file, so that a budget holds over restarts."""

    def __init__(self, file: Path, config: BuildConfig) -> None:
        self._file, self._config = file, config
        self.requests = self.read = self.written = 0
        cut_torn_line(file)
        if file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                spent = json.loads(line)
                self._add(spent["read"], spent["written"])

    def _add(self, read: int, written: int) -> None:
        self.requests, self.read, self.written = (
            self.requests + 1, self.read + read, self.written + written
        )  # fmt: skip

    def spend(self, read: int, written: int) -> None:
        """Note one request."""
        append_line(self._file, json.dumps({"read": read, "written": written}) + "\n")
        self._add(read, written)

    @property
    def tokens(self) -> int:
        """Of prompts and answers."""
        return self.read + self.written

    @property
    def cost(self) -> float:
        """In the currency of the prices."""
        prices = self._config.prompt_price, self._config.answer_price
        return (self.read * prices[0] + self.written * prices[1]) / MILLION

    def exhausted(self) -> str | None:
        """The limit that is reached; None if there is room."""
        config = self._config
        if config.most_tokens is not None and self.tokens >= config.most_tokens:
            return f"build.most_tokens: {self.tokens:,} of {config.most_tokens:,} tokens are spent"
        if config.most_cost is not None and self.cost >= config.most_cost:
            return f"build.most_cost: {self.cost:.4f} of {config.most_cost:.4f} is spent"
        return None


class Pace:
    """Keeps requests, and their tokens, to so many a minute."""

    def __init__(self, requests: float | None, tokens: float | None) -> None:
        self._requests, self._tokens = requests, tokens
        self._next = time.monotonic()

    async def wait(self) -> None:
        """Until the next request may start."""
        now = time.monotonic()
        delay = self._next - now
        if self._requests is not None:
            self._next = max(now, self._next) + 60 / self._requests
        if delay > 0:
            await asyncio.sleep(delay)

    def charge(self, tokens: int) -> None:
        """Put off the next request for what the last one took."""
        if self._tokens is not None:
            self._next = max(time.monotonic(), self._next) + tokens * 60 / self._tokens
