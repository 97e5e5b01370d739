"""Ranks whose launcher is killed: real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vxdist import launcher
from vxstore.io.lock import current_run

ROOT = Path(__file__).parents[2]
HEAD = """
import hashlib, os, sys, time
from vxdist import launcher, stopping
from vxdist.errors import STOPPED
from vxstore.io.lock import hold, release
path = sys.argv[1]
launcher.GRACE_SECONDS = 2.0
sys.stderr = open(path + ".said", "w", buffering=1)
"""
RANK = {
    "heeds": """
with stopping.watch(exits=True), launcher.watch(), hold(path):
    open(path + ".pid", "w").write(str(os.getpid()))
    time.sleep(60)
""",
    "is stuck": """
import threading
with stopping.watch(exits=True), launcher.watch():
    with stopping.cleaning_up(lambda: release(path)), hold(path):
        say = lambda: open(path + ".pid", "w").write(str(os.getpid()))
        threading.Timer(0.3, say).start()
        hashlib.pbkdf2_hmac("sha256", b"", b"", (1 << 31) - 1)  # as in a collective
""",
}
LAUNCHER = """
import subprocess, sys
subprocess.run([sys.executable, "-c", *sys.argv[1:]])
"""


@pytest.mark.parametrize("how", RANK)
def test_a_launcher_that_is_killed(tmp_path: Path, how: str) -> None:
    """The rank ends in seconds, says why, and lets the store go."""
    path = str(tmp_path / "run.zarr")
    command = [sys.executable, "-c", LAUNCHER, HEAD + RANK[how], path]
    environ = {**os.environ, "TORCHELASTIC_RUN_ID": "x", "RANK": "3", "LOCAL_RANK": "3"}
    process = subprocess.Popen(command, cwd=ROOT, env=environ)
    file = Path(f"{path}.pid")
    while not file.exists() or not file.read_text():
        assert process.poll() is None
        time.sleep(0.02)
    rank = int(file.read_text())
    assert current_run(path) is not None
    process.kill()
    process.wait()
    began = time.monotonic()
    while is_running(rank):
        assert time.monotonic() - began < 30
        time.sleep(0.05)
    said = Path(f"{path}.said").read_text()
    assert said.startswith(f"rank 3 stops: its launcher (process {process.pid}) has ended\n")
    assert current_run(path) is None


def is_running(process: int) -> bool:
    """Whether it is there, and not just waiting for somebody to ask for its exit code."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def test_without_a_launcher_nothing_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that outlives the terminal it was begun in goes on."""
    monkeypatch.setattr(launcher, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(signal, "pthread_kill", lambda *_: pytest.fail("it was stopped"))
    monkeypatch.setattr(os, "getppid", iter(range(1, 10**6)).__next__)
    with launcher.watch({}):
        time.sleep(0.1)


@pytest.mark.long
def test_a_torchrun_that_is_killed(run_options: list[str], tmp_path: Path) -> None:
    """While its ranks load, or meet: they end within a minute, and let the store go."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    command += [str(ROOT / "launch" / "locate.py"), *run_options]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    while "stories in" not in process.stdout.readline():
        assert process.poll() is None
    ranks = children(process.pid)
    assert len(ranks) == 2
    process.kill()
    process.wait()
    began = time.monotonic()
    while any(is_running(rank) for rank in ranks):
        assert time.monotonic() - began < 60
        time.sleep(0.1)
    assert "its launcher" in process.stdout.read()
    assert not (tmp_path / "run.lock").exists()


def children(process: int) -> list[int]:
    """Numbers of the processes that one has started."""
    found = Path(f"/proc/{process}/task").glob("*/children")
    return [int(number) for file in found for number in file.read_text().split()]
