"""What an endpoint may send: an answer of bounded size, within a bounded time, from itself.

The endpoint is another's machine. Its own time-outs are of single reads, so that a byte a second
never ends; it may send without end, send the prompt and the key on to another host, or send the
key back, which would then be kept in the corpus.
"""

import asyncio
import importlib
import json
import os
import re
from typing import Any
from urllib.parse import urlsplit

import openai

from vxdist.corpus.builder.config import BuildConfig
from vxdist.errors import UserError

LOCAL = ("localhost", "127.0.0.1", "::1")
MOST_BYTES = 16 << 20
"""Bytes of the longest response that is read, unpacked."""
SHORTEST_KEY = 8
"""Characters of the shortest key that is looked for; a shorter one is in any text by chance."""
HIDDEN = "[API KEY]"
_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}")


class Redirected(openai.OpenAIError):
    """The endpoint sends its clients elsewhere."""


class TooLong(openai.OpenAIError):
    """A response is longer than is read."""


class BoundedClient(openai.DefaultAsyncHttpxClient):
    """The client of the openai package, which reads a response whole, within `seconds`.

    Redirects are refused: the request holds the key and the prompts.
    """

    def __init__(self, seconds: float, **settings: Any) -> None:
        super().__init__(follow_redirects=False, **settings)
        self._seconds = seconds

    async def send(self, request: Any, *, stream: bool = False, **settings: Any) -> Any:
        """The response, read. Raises Redirected, TooLong, or ReadTimeout of the same library."""
        settings["follow_redirects"] = False
        try:
            async with asyncio.timeout(self._seconds):
                response = await super().send(request, stream=True, **settings)
                try:
                    return await _read(response, request)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            told = f"no whole response within {self._seconds:g} s"
            raise _library().ReadTimeout(told, request=request) from error


def _library() -> Any:
    """httpx, or its successor: whichever the openai package uses."""
    base = next(c for c in openai.DefaultAsyncHttpxClient.__mro__ if c.__name__ == "AsyncClient")
    return importlib.import_module(base.__module__.partition(".")[0])


async def _read(response: Any, request: Any) -> Any:
    """The same response, whole in memory."""
    if 300 <= response.status_code < 400:
        to = response.headers.get("location", "an address that it does not give")
        raise Redirected(f"redirects to {to}, where the key and the prompts would go")
    content = bytearray()
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > MOST_BYTES:
            raise TooLong(f"a response of more than {MOST_BYTES >> 20} MiB")
    headers = [
        (name, text)
        for name, text in response.headers.multi_items()
        if name.lower() not in ("content-encoding", "content-length", "transfer-encoding")
    ]
    return type(response)(
        response.status_code, headers=headers, content=bytes(content), request=request
    )


def hide_key(text: str, key: str) -> str:
    """`text` without the key, also where JSON spells it with escapes, once or within another."""
    if len(key) < SHORTEST_KEY:
        return text
    spelled = json.dumps(key)[1:-1]
    shown = text.replace(key, HIDDEN).replace(spelled, HIDDEN)
    plain = shown
    for _ in range(2):
        plain = _ESCAPE.sub(lambda found: chr(int(found[0][2:], 16)), plain.replace("\\\\", "\\"))
    return f"[left out: it spells the {HIDDEN}]" if key in plain else shown


def find_key(config: BuildConfig) -> str:
    """The API key, from the environment. Raises UserError if a remote server has none."""
    key = os.environ.get(config.key_variable)
    if key and not key.isascii():
        raise UserError(
            f"build.key_variable: {config.key_variable} contains characters that no key has; "
            "was it copied with quotation marks?"
        )
    if key:
        return key
    if is_local(config):
        return "none"
    raise UserError(
        f"build.key_variable: {config.key_variable} is not set in the environment; set it to the "
        f"key for {config.base_url}"
    )


def is_local(config: BuildConfig) -> bool:
    """Whether the server is on this machine."""
    return urlsplit(config.base_url).hostname in LOCAL
