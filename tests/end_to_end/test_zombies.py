"""A run that is stopped, taken over, and wakes up when the other has finished: it writes nothing.

As if its machine had been cut off: it is stopped just before it looks at the lock, which it does
before every file, and another run with `--take-over` comes through in the meantime.
"""

import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.broken import (
    Command,
    describe,
    prepare,
    prepare_without_model,
    put_back,
)
from tests.end_to_end.forked import Forked, run, serving, start
from vxstore.check.store import check

WRITERS = ("locate", "reduce", "attribute", "evaluate", "import", "select", "check --repair")
IN_FLIGHT = 10
"""Files that zarr writes at once."""
Files = dict[str, tuple[int, int]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a process that forks commands."""
    with serving(tmp_path_factory.mktemp("warm")) as address:
        yield address


def count_looks(server: Path | None, command: Command, under: Path) -> int:
    """How often the command looks at the lock."""
    put_back(command, under)
    counted = under.with_suffix(".count")
    run(server, command.words, under, f"count:{counted}")
    return int(json.loads(counted.read_text())["stop"])


def await_stop(process: Forked) -> bool:
    """Whether it was stopped before it came to its end."""
    while process.state() not in ("T", ""):
        time.sleep(0.01)
    return process.state() == "T"


def files(under: Path) -> Files:
    """All files below the store: number on the disk and time of writing."""
    store = under / "run.zarr"
    return {
        str(file): (file.stat().st_ino, file.stat().st_mtime_ns)
        for file in store.rglob("*")
        if file.is_file()
    }


def changed(before: Files, now: Files) -> list[str]:
    """Files that were written since."""
    return [name for name in before | now if before.get(name) != now.get(name)]


def haunt(server: Path | None, command: Command, under: Path, look: int) -> None:
    """Stop the command before it looks at the lock for that time; go on as the module says."""
    put_back(command, under)
    zombie = start(server, command.words, under, f"stop:{look}")
    if not await_stop(zombie):
        assert zombie.end() == 0, zombie.said()
        return
    lock = under / "run.lock"
    if not lock.exists():
        zombie.kill(signal.SIGCONT)  # it only wanted to see if there is one
        assert zombie.end() == 0, zombie.said()
        return
    lock.write_text(json.dumps({**json.loads(lock.read_text()), "host": "node7"}))
    run(server, [*command.words, "--take-over"], under)
    made, written = describe(command, under), files(under)
    zombie.kill(signal.SIGCONT)
    assert zombie.end() in (0, 2), zombie.said()  # 0: it had done all, but for its lock
    if "error: " in zombie.said():
        said = [line for line in zombie.said().splitlines() if line.startswith("error: ")]
        assert "; this one stops" in said[0], zombie.said()
        assert "Traceback" not in zombie.said()
    assert not lock.exists()
    if files(under) != written:  # by a thread that was stopped after its look: nobody takes it
        assert len(changed(written, files(under))) <= IN_FLIGHT, (command.name, look)
        if not check(str(under / "run.zarr")).findings:
            assert describe(command, under) == made, (command.name, look)
        return
    assert describe(command, under) == made


@pytest.mark.long
def test_a_zombie_writes_nothing(
    server: Path, run_options: list[str], tmp_path: Path, soak: int
) -> None:
    """In every command that writes a store, at many moments."""
    chance = random.Random(5)
    for command in prepare(server, run_options, tmp_path):
        if command.name in WRITERS:
            looks = count_looks(server, command, tmp_path / "under")
            for look in chance.sample(range(2, looks), min(3 * soak, looks - 2)):
                haunt(server, command, tmp_path / "under", look)


def test_a_few_zombies(tmp_path: Path) -> None:
    """The same of commands that need no model."""
    for command in prepare_without_model(tmp_path):
        if command.name in WRITERS:
            looks = count_looks(None, command, tmp_path / "under")
            assert looks > 8, command.name
            haunt(None, command, tmp_path / "under", looks // 2)
