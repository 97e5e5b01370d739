"""Signals: real processes that are told to stop, once and twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAD = """
import sys, time, hashlib
from vxdist import stopping
from vxdist.errors import STOPPED, Stopped
def ready():
    print("ready", flush=True)
"""
BATCHES = """
with stopping.watch(exits=True):
    try:
        with stopping.for_lightning():
            stopping.be_patient(True)
            for batch in range(3):
                stopping.check()
                if batch == 0:
                    ready()
                for _ in range(300):
                    time.sleep(0.01)
                print("batch", batch, "is over", flush=True)
    except Stopped as error:
        print(error, flush=True)
        sys.exit(STOPPED)
"""
STUCK = """
import threading
from vxstore.io.lock import hold, release
path = sys.argv[1]
with stopping.watch(exits=True), stopping.cleaning_up(lambda: release(path)), hold(path):
    threading.Timer(0.3, ready).start()  # not before the main thread is stuck
    hashlib.pbkdf2_hmac("sha256", b"", b"", (1 << 31) - 1)  # no handler of Python's runs within
"""
OTHERS_HANDLER = """
import signal
def theirs(number, frame):
    print("theirs", flush=True)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, theirs)
with stopping.watch():
    pass
ready()
time.sleep(10)
"""
PLAIN = """
namespace = {"time": time, "ready": ready}
try:
    with stopping.watch(exits=True):
        exec("ready()\\nfor _ in range(1000): time.sleep(0.01)", namespace)
except KeyboardInterrupt as error:
    print(error, flush=True)
    sys.exit(STOPPED)
"""

DROPPED = """
class Slow:
    def __del__(self):
        ready()
        for _ in range(30):
            time.sleep(0.1)
try:
    with stopping.watch(exits=True):
        slow = Slow()
        del slow
        for _ in range(1000):
            time.sleep(0.01)
except KeyboardInterrupt as error:
    print(error, flush=True)
    sys.exit(STOPPED)
"""


class Script:
    """A process that runs a script, and what it says."""

    def __init__(self, script: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HEAD + script, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        self.lines = self.process.stdout
        assert self.line() == "ready"

    def line(self) -> str:
        """The next line that it says."""
        return self.lines.readline().strip()

    def send(self, number: int) -> float:
        """Send a signal; the time."""
        self.process.send_signal(number)
        return time.monotonic()

    def end(self) -> tuple[int, list[str]]:
        """Exit code, and the rest of what it says."""
        said, _ = self.process.communicate(timeout=60)
        return self.process.returncode, said.splitlines()


@pytest.fixture
def start() -> Iterator[Callable[..., Script]]:
    """Start scripts; whatever is left is killed."""
    started: list[Script] = []

    def run(script: str, *arguments: str) -> Script:
        started.append(Script(script, *arguments))
        return started[-1]

    yield run
    for script in started:
        script.process.kill()
        script.process.communicate()


@pytest.mark.parametrize(
    ("number", "again"),
    [(signal.SIGINT, "press Ctrl-C again"), (signal.SIGTERM, "send SIGTERM again")],
)
def test_the_first_lets_the_batch_end(
    start: Callable[..., Script], number: int, again: str
) -> None:
    script = start(BATCHES)
    began = script.send(number)
    assert script.line() == f"stopping after this batch; {again} to stop now"
    assert time.monotonic() - began < 1.5  # at once, while the batch lasts for three seconds
    script.send(number)  # of the same moment: a launcher passes on what was sent to all
    name = signal.Signals(number).name
    stopped = f"stopped by {name}; run the same command again to resume"
    assert script.end() == (3, ["batch 0 is over", stopped])


def test_the_second_stops_now(start: Callable[..., Script]) -> None:
    script = start(BATCHES)
    script.send(signal.SIGINT)
    assert "stopping after this batch" in script.line()
    time.sleep(1.2)
    script.send(signal.SIGINT)
    assert script.end() == (3, ["stopped by SIGINT; run the same command again to resume"])


def test_a_main_thread_that_heeds_nothing(start: Callable[..., Script], tmp_path: Path) -> None:
    """The process is ended all the same, and the lock is released."""
    script = start(STUCK, str(tmp_path / "run.zarr"))
    assert (tmp_path / "run.lock").exists()
    script.send(signal.SIGINT)
    assert script.line() == "stopping; press Ctrl-C again to stop now"
    time.sleep(1.2)
    began = script.send(signal.SIGINT)
    assert script.end() == (3, ["stopped by SIGINT; run the same command again to resume"])
    assert time.monotonic() - began < 30
    assert not (tmp_path / "run.lock").exists()


def test_outside_a_batch_the_first_stops_now(start: Callable[..., Script]) -> None:
    """With the exit code of a run that was stopped, though it passes through `exec`."""
    script = start(PLAIN)
    script.send(signal.SIGINT)
    assert script.end() == (3, ["stopped by SIGINT; run the same command again to resume"])


def test_where_python_drops_what_a_handler_raises(start: Callable[..., Script]) -> None:
    script = start(DROPPED)
    script.send(signal.SIGINT)
    assert script.end() == (3, ["stopped by SIGINT; run the same command again to resume"])


def test_another_rank_says_nothing(
    start: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "RANK", "1")
    script = start(BATCHES)
    script.send(signal.SIGINT)
    code, said = script.end()
    assert code == 3
    assert said[0] == "batch 0 is over"


def test_the_signals_are_given_back(start: Callable[..., Script]) -> None:
    script = start(OTHERS_HANDLER)
    script.send(signal.SIGTERM)
    assert script.line() == "theirs"
