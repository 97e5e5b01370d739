"""A model of this machine, served for one build."""

import contextlib
import dataclasses
import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from typing import IO

from vxdist.config import BuildConfig
from vxdist.errors import UserError

NEEDED = ("fastapi", "uvicorn", "pydantic")
"""What `transformers serve` needs beside transformers."""
SERVING = "serving "
"""How the line of `vxdist.model.serve` begins that names the model."""
LINES = 3
"""Of what a server said at last, to be told if it ends."""


@contextlib.contextmanager
def serve_local(config: BuildConfig) -> Iterator[BuildConfig]:
    """The settings with the address of a server of `build.model`, which ends with the block.

    Without `build.local`, the settings as they are. Raises UserError if there is no such model, or
    it cannot be served.
    """
    if not config.local:
        yield config
        return
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            raise UserError(f"build.local: the Python package {name} is not installed; install "
                            "vxdist with its extra `local`")  # fmt: skip
    port = _free_port()
    command = [sys.executable, "-m", "vxdist.model.serve", config.model, str(port)]
    with tempfile.TemporaryFile("w+") as log:
        # Its standard input is ours to close: whatever ends this process ends the server too.
        server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        try:
            print(f"build: loading {config.model} on this machine", flush=True)
            called = _await_name(server)
            if called is None or not _await_health(server, port, config.load_timeout):
                late = f"it did not load within build.load_timeout ({config.load_timeout:.0f} s)"
                told = late if server.poll() is None else _last_words(log)
                raise UserError(f"build.local: {config.model} is not served: {told}")
            url = f"http://127.0.0.1:{port}/v1"
            yield dataclasses.replace(config, base_url=url, model=called)
        finally:
            server.communicate()  # closes its input, and waits


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _await_name(server: "subprocess.Popen[str]") -> str | None:
    """What the server calls the model; None if it ended. What else it says is passed on."""
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith(SERVING):
            return line.removeprefix(SERVING).strip()
        print(line, end="", flush=True)
    server.wait()
    return None


def _await_health(server: "subprocess.Popen[str]", port: int, seconds: float) -> bool:
    """Whether the server answered in time."""
    began = time.monotonic()
    while server.poll() is None and time.monotonic() - began < seconds:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return True
        time.sleep(0.2)
    return False


def _last_words(log: IO[str]) -> str:
    log.seek(0)
    lines = [line.strip() for line in log if line.strip()]
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return " ".join(told or lines[-LINES:]) or "it said nothing"
