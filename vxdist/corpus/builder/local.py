"""A model of this machine, served for one build."""

import contextlib
import dataclasses
import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import IO

from vxdist.corpus.builder.config import BuildConfig
from vxdist.errors import UserError

NEEDED = ("fastapi", "uvicorn", "pydantic")
"""What `transformers serve` needs beside transformers."""
SERVING = "serving "
"""How the line of `vxdist.model.serve` begins that names the model."""
END_TIMEOUT = 30.0
"""Seconds for it to end: more than `vxdist.model.serve` gives the server it started."""
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
            called = _await(server, port, config, log)
            url = f"http://127.0.0.1:{port}/v1"
            yield dataclasses.replace(config, base_url=url, model=called)
        finally:
            _end(server)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _await(server: "subprocess.Popen[str]", port: int, config: BuildConfig, log: IO[str]) -> str:
    """What the server calls the model, once it answers. Raises UserError if it does not in time."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        _end(server)

    timer = threading.Timer(config.load_timeout, give_up)
    timer.daemon = True
    timer.start()
    called = _hear_name(server)
    # Not by a proxy that the environment may name.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while called is not None and server.poll() is None:
        with contextlib.suppress(OSError):
            direct.open(f"http://127.0.0.1:{port}/health", timeout=5).close()
            timer.cancel()
            return called
        time.sleep(0.2)
    timer.cancel()
    server.wait()
    told = f"it did not load within build.load_timeout ({config.load_timeout:.0f} s)"
    told = told if late.is_set() else _last_words(log)
    raise UserError(f"build.local: {config.model} is not served: {told}")


def _hear_name(server: "subprocess.Popen[str]") -> str | None:
    """What the server calls the model; None if it ended. What else it says is passed on."""
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith(SERVING):
            return line.removeprefix(SERVING).strip()
        print(line, end="", flush=True)
    return None


def _end(server: "subprocess.Popen[str]") -> None:
    """Close its input, and see that it ends."""
    assert server.stdin is not None
    with contextlib.suppress(OSError):
        server.stdin.close()
    try:
        server.wait(END_TIMEOUT)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _last_words(log: IO[str]) -> str:
    log.seek(0)
    lines = [line.strip() for line in log if line.strip()]
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return " ".join(told or lines[-LINES:]) or "it said nothing"
