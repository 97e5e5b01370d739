"""Having `vxdist` and `vxstore` run in forks of a process that has imported all they need.

Importing takes a command ten times as long as its work on a small model, and whoever kills
processes at random would mostly kill imports. Without such a process (`server` is None) this one is
forked: that is for commands without a model, as threads do not survive a fork.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.end_to_end import warm

ROOT = Path(__file__).parents[2]
WARM = Path(__file__).with_name("warm.py")


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Path]:
    """Within, a server forks for who asks at this socket."""
    address = folder / "socket"
    process = subprocess.Popen([sys.executable, WARM, "serve", address], cwd=ROOT)
    try:
        while not address.exists():
            assert process.poll() is None
            time.sleep(0.05)
        yield address
    finally:
        process.kill()
        process.wait()


@dataclass
class Forked:
    """A command that runs, or has ended."""

    pid: int
    told: IO[str] | None
    output: IO[bytes]

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def state(self) -> str:
        """R, S or D while it runs, T when it is stopped; empty when it is over."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8")
        except OSError:
            return ""
        return stat.rpartition(")")[2].split()[0].strip("ZX")

    def end(self) -> int:
        """Wait for its end; the exit code, -N if signal N ended it."""
        if self.told is None:
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return int(self.told.readline())

    def said(self) -> str:
        """All its output so far."""
        self.output.seek(0)
        return self.output.read().decode()


def start(server: Path | None, words: Sequence[str], under: Path, at: str | None = None) -> Forked:
    """Run a command, such as ["vxstore", "info", ...], to be broken off `at` (see warm.py)."""
    given = {**os.environ, "OMP_NUM_THREADS": "1"}
    if at is not None:
        given |= {"WARM_AT": at, "WARM_UNDER": f"{under}/"}
    wanted = {
        "kind": words[0],
        "arguments": list(words[1:]),
        "environ": given,
        "folder": str(ROOT),
    }
    output = tempfile.TemporaryFile()  # noqa: SIM115
    number = output.fileno()
    if server is None:
        return Forked(pid=_fork(wanted, number), told=None, output=output)
    asking = socket.socket(socket.AF_UNIX)
    asking.connect(str(server))
    socket.send_fds(asking, [json.dumps(wanted).encode()], [number, number])
    told = asking.makefile()
    return Forked(pid=int(told.readline()), told=told, output=output)


def _fork(wanted: dict[str, object], output: int) -> int:
    """Fork this process; the number of the other."""
    process = os.fork()
    if process == 0:
        os.dup2(output, 1)
        os.dup2(output, 2)
        # pytest has put others in their place, and would keep what is said.
        sys.stdout, sys.stderr = (open(n, "w", closefd=False) for n in (1, 2))  # noqa: SIM115
        warm.become(wanted)
    return process


def run(server: Path | None, words: Sequence[str], under: Path, at: str | None = None) -> str:
    """Run a command that succeeds; its output."""
    process = start(server, words, under, at)
    assert process.end() == 0, process.said()
    return process.said()
