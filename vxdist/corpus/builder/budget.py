"""Rate limits for requests to an endpoint, and the total budget."""

import asyncio
import contextlib
import time
from pathlib import Path

from vxdist.corpus.builder.config import BuildConfig
from vxdist.corpus.builder.records import append_record, read_records

MILLION = 1e6
MOST_COUNT = 100_000_000
"""Tokens of one request that a server can mean; others must not undo a budget."""


class Usage:
    """Tokens spent, kept in a file so that a budget covers restarts too."""

    def __init__(self, file: Path, config: BuildConfig) -> None:
        self._file, self._config = file, config
        self.requests = self.read = self.written = 0
        for spent in read_records(file):
            self._add(spent["read"], spent["written"])

    def _add(self, read: int, written: int) -> None:
        self.requests, self.read, self.written = (
            self.requests + 1, self.read + read, self.written + written
        )  # fmt: skip

    def spend(self, read: int, written: int) -> None:
        """Record one request."""
        self._add(read, written)
        append_record(self._file, {"read": read, "written": written})

    @property
    def tokens(self) -> int:
        """Tokens of prompts and answers so far."""
        return self.read + self.written

    @property
    def cost(self) -> float:
        """Cost so far, in the currency of the prices."""
        prices = self._config.prompt_price, self._config.answer_price
        return (self.read * prices[0] + self.written * prices[1]) / MILLION

    def exhausted(self) -> str | None:
        """Which limit has been reached, as a message; None if there is budget left."""
        config = self._config
        if config.most_tokens is not None and self.tokens >= config.most_tokens:
            return f"build.most_tokens: {self.tokens:,} of {config.most_tokens:,} tokens spent"
        if config.most_cost is not None and self.cost >= config.most_cost:
            return f"build.most_cost: {self.cost:.4f} of {config.most_cost:.4f} spent"
        return None


def count_tokens(usage: object, prompt: str, reply: str) -> tuple[int, int]:
    """The tokens of a prompt and its reply: as the server counted, or estimated.

    Some servers report no usage, or none that can be. A token is about three bytes, in English and
    in Chinese.
    """

    def count(name: str, text: str) -> int:
        counted = getattr(usage, name, None)
        if type(counted) is int and 0 <= counted <= MOST_COUNT:
            return counted
        return len(text.encode(errors="replace")) // 3

    return count("prompt_tokens", prompt), count("completion_tokens", reply)


class RateLimiter:
    """Limits requests and tokens per minute; each limit has its own clock."""

    def __init__(self, requests: float | None, tokens: float | None) -> None:
        self._requests, self._tokens = requests, tokens
        self._next_request = self._next_token = time.monotonic()

    async def wait(self, stopping: asyncio.Event) -> None:
        """Wait until the next request may start, or `stopping` is set."""
        now = time.monotonic()
        delay = max(self._next_request, self._next_token) - now
        if self._requests is not None:
            self._next_request = max(now, self._next_request) + 60 / self._requests
        if delay > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), delay)

    def charge(self, tokens: int) -> None:
        """Delay the next request according to the tokens that the last one used."""
        if self._tokens is not None:
            due = tokens * 60 / self._tokens
            self._next_token = max(time.monotonic(), self._next_token) + due
