"""Serving a local model for the duration of a build."""

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
from vxdist.errors import Stopped, UserError

REQUIRED = ("fastapi", "uvicorn", "pydantic")
"""Packages that `transformers serve` needs besides transformers."""
SERVING = "serving "
"""Prefix of the line in which `vxdist.model.serve` names the model."""
END_TIMEOUT = 30.0
"""Seconds for the server to end: more than `vxdist.model.serve` gives its own child."""
LOG_LINES = 3
"""Number of log lines to show if the server ends unexpectedly."""


@contextlib.contextmanager
def serve_local(config: BuildConfig) -> Iterator[BuildConfig]:
    """Serve `build.model` within the block; yields the settings with the server's address.

    Without `build.local`, yields the settings unchanged. Raises UserError if the model does not
    exist or cannot be served.
    """
    if not config.local:
        yield config
        return
    for name in REQUIRED:
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"build.local: the Python package {name} is not installed; install vxdist with "
                "its extra `local`"
            )
    port = _free_port()
    command = [sys.executable, "-m", "vxdist.model.serve", config.model, str(port)]
    with tempfile.TemporaryFile("w+") as log:
        # The server ends when its standard input closes, which happens however this process ends.
        server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        try:
            print(f"build: loading {config.model} on this machine", flush=True)
            name = _await(server, port, config, log)
            url = f"http://127.0.0.1:{port}/v1"
            try:
                yield dataclasses.replace(config, base_url=url, model=name)
            except (Stopped, UserError) as error:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(1)  # its own child may just have ended
                if server.poll() is None:
                    raise
                reason = _read_reason(log)
                raise Stopped(
                    f"build.local: the server of {config.model} ended: {reason}"
                ) from error
        finally:
            _end(server)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(server: "subprocess.Popen[str]", port: int, config: BuildConfig, log: IO[str]) -> str:
    """Wait until the server answers; returns its name for the model.

    Raises UserError if it ends or does not answer in time.
    """
    timed_out = threading.Event()

    def give_up() -> None:
        timed_out.set()
        _end(server)

    timer = threading.Timer(config.load_timeout, give_up)
    timer.daemon = True
    timer.start()
    name = _read_name(server)
    # Ignore any proxy set in the environment.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while name is not None and server.poll() is None:
        with contextlib.suppress(OSError):
            direct.open(f"http://127.0.0.1:{port}/health", timeout=5).close()
            timer.cancel()
            return name
        time.sleep(0.2)
    timer.cancel()
    server.wait()
    reason = _read_reason(log)
    if timed_out.is_set():
        reason = f"it did not load within build.load_timeout ({config.load_timeout:.0f} s)"
    raise UserError(f"build.local: cannot serve {config.model}: {reason}")


def _read_name(server: "subprocess.Popen[str]") -> str | None:
    """The server's name for the model; None if it ended. Its other output is passed on."""
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith(SERVING):
            return line.removeprefix(SERVING).strip()
        print(line, end="", flush=True)
    return None


def _end(server: "subprocess.Popen[str]") -> None:
    """Close the server's input and make sure that it ends."""
    assert server.stdin is not None
    with contextlib.suppress(OSError):
        server.stdin.close()
    try:
        server.wait(END_TIMEOUT)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _read_reason(log: IO[str]) -> str:
    """Why a server ended: its error lines, else the last lines of its log."""
    log.seek(0)
    lines = [line.strip() for line in log if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return " ".join(errors or lines[-LOG_LINES:]) or "it ended without a message"
