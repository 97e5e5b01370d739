"""How `vxstore` ends when it is stopped, and when the disk is full: one line, nothing left."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.vape import Vape, VapeSettings
from vxstore.check.store import check
from vxstore.cli import commands
from vxstore.cli.main import main
from vxstore.io.folder import DurableStore
from vxstore.io.holder import describe_process

SLOW = """
import sys, time
from vxstore.cli import commands
from vxstore.cli.main import main
def slow(arguments):
    with commands.hold(arguments.store):
        print("ready", flush=True)
        time.sleep(60)
commands.info = slow
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped(tmp_path: Path, number: signal.Signals) -> None:
    store = str(tmp_path / "run.zarr")
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "info", store],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert (tmp_path / "run.lock").exists()
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3
    assert said == f"stopped by {number.name}; run the same command again\n"
    assert not list(tmp_path.iterdir())


def test_signals_are_given_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert main(["--version"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_interrupted_within_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> None:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        threading.Event().wait(30)

    monkeypatch.setattr(commands, "info", interrupted)
    assert main(["info", "run.zarr"]) == 3
    assert capsys.readouterr().err == "stopped by SIGINT; run the same command again\n"


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """The disk is full from the Nth file on."""
    real, left = DurableStore._set, [10**9]

    async def set_(self: Any, key: str, *arguments: Any, **options: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(key))
        await real(self, key, *arguments, **options)

    monkeypatch.setattr(DurableStore, "_set", set_)

    def after(files: int) -> None:
        left[0] = files

    yield after
    left[0] = 10**9


def damage(store: str) -> None:
    """Of a score, and of a part."""
    for below in ("scores/vape/entropy", "record/active_count/c/0"):
        file = next(f for f in sorted((Path(store) / below).rglob("*")) if "c/" in str(f))
        while file.is_dir():
            file = sorted(file.iterdir())[0]
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 0x40
        file.write_bytes(data)


@pytest.fixture
def scored(make_store: Callable[..., str]) -> str:
    """A store with a real score."""
    path = make_store(shape=(4, 20))
    write_score(path, "vape", Vape(VapeSettings(top_fraction=0.2, filter_quantile=0.5)))
    return path


def assert_refused(code: int, said: str) -> None:
    """In one line, without a traceback."""
    assert code == 2
    assert said.startswith("error: ")
    assert "what is recorded is kept: free some space" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("files", [0, 3, 12])
def test_a_full_disk_in_select(
    scored: str, full: Callable[[int], None], files: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["select", scored, "--name", "other", "--top-fraction", "0.1"]
    full(files)
    assert_refused(main(words), capsys.readouterr().err)
    assert not Path(scored).with_suffix(".lock").exists()
    full(10**9)
    assert main(words) == 0
    assert not check(scored).findings


@pytest.mark.parametrize("out", ["a.csv", "a.parquet"])
def test_a_full_disk_in_export(
    scored: str, tmp_path: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real limit: no file of this process may be larger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    folder = tmp_path / "exported"
    folder.mkdir()
    words = ["export", scored, str(folder / out), "--what", "counts"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        code = main(words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {folder / out} was not written: ")
    assert said.endswith("File too large\n")
    assert len(said.splitlines()) == 1
    assert not list(folder.iterdir())
    assert main(words) == 0


@pytest.mark.parametrize("files", [0, 2, 5])
def test_a_full_disk_in_a_repair(
    scored: str,
    full: Callable[[int], None],
    files: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever was done by then, the next repair finds the rest."""
    damage(scored)
    full(files)
    code = main(["check", scored, "--repair"])
    if code:
        assert_refused(code, capsys.readouterr().err)
    full(10**9)
    assert not Path(scored).with_suffix(".lock").exists()
    assert main(["check", scored, "--repair"]) == 0
    assert not check(scored).findings
    assert not (Path(scored) / "scores" / "vape").exists()


@pytest.mark.parametrize("alive", [False, True])
def test_a_repair_of_nothing_removes_what_a_killed_run_left(scored: str, alive: bool) -> None:
    """Its lock, unless the run may be alive."""
    lock = Path(scored).with_suffix(".lock")
    there = {"run": "a", **describe_process()}
    lock.write_text(json.dumps(there | ({} if alive else {"process": 2**22 + 1})))
    assert main(["check", scored]) == 0
    assert lock.exists()
    assert main(["check", scored, "--repair"]) == 0
    assert lock.exists() == alive
    lock.unlink(missing_ok=True)
