"""`kill -9` at any moment: nothing is lost, nothing is counted twice, no sealed part is run again.

The runs are those of torchrun: its agent, its rendezvous, and ranks that run `vxdist locate`; what
is killed is a rank, all of them, or the agent. Only importing torch is spared to most of them:
agent and ranks are forked from a process that has imported it (warm.py), so that a run takes
seconds and chance can find more than its start. One test does the same with plain torchrun.
`make soak` kills many times as often.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import vxstore
from vxdist.cli import main
from vxstore.errors import StoreError
from vxstore.identity import holds_store
from vxstore.schema import RECORD
from vxstore.write import Recorder

ROOT = Path(__file__).parents[2]
WARM = Path(__file__).with_name("warm.py")
KILLS = 20
Marks = dict[int, dict[str, tuple[int, int]]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a process that forks agents and ranks."""
    address = tmp_path_factory.mktemp("warm") / "socket"
    process = subprocess.Popen([sys.executable, WARM, "serve", address], cwd=ROOT)
    while not address.exists():
        assert process.poll() is None
        time.sleep(0.05)
    yield address
    process.kill()
    process.wait()


@dataclass
class Run:
    """A torchrun, and the processes it is made of."""

    process: subprocess.Popen[str]
    folder: Path
    output: str = ""

    def pids(self) -> dict[str, int]:
        """Processes that have started, by name: agent, rank0, rank1, ..."""
        found = {file.name: file.read_text() for file in self.folder.iterdir()}
        return {name: int(pid) for name, pid in sorted(found.items()) if pid}

    def kill(self, names: list[str]) -> bool:
        """Whether any of these was there to be killed."""
        killed = False
        for name, pid in self.pids().items():
            if name in names and is_alive(pid):
                os.kill(pid, signal.SIGKILL)
                killed = True
        return killed

    def end(self) -> int:
        """Wait for the end of all its processes; the exit code."""
        self.output, _ = self.process.communicate(timeout=120)
        for pid in self.pids().values():
            while is_alive(pid):
                time.sleep(0.01)
        return self.process.returncode


def is_alive(pid: int) -> bool:
    """Whether a process is there, and not just waiting for its exit code to be asked for."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def torchrun(server: Path, ranks: int, options: list[str], folder: Path) -> Run:
    """`torchrun --nproc-per-node RANKS` of `vxdist locate`, forked."""
    folder.mkdir()
    ask = [sys.executable, "-S", "-E", str(WARM), "ask", str(server)]
    agent = ["--nproc-per-node", str(ranks), "--rdzv-backend", "c10d"]
    agent += ["--rdzv-endpoint", "127.0.0.1:0", "--no-python"]
    process = subprocess.Popen(
        [*ask, "agent", *agent, *ask, "rank", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, "WARM_PIDS": str(folder)},
    )
    return Run(process=process, folder=folder)


def marks(store: Path) -> Marks:
    """Of each sealed part, the files, when each was written, and its number on the disk."""
    try:
        if not holds_store(str(store)):
            return {}
    except StoreError:
        return {}
    sealed = Recorder(str(store)).sealed()
    return {
        int(part): {
            file.relative_to(store).as_posix(): (file.stat().st_mtime_ns, file.stat().st_ino)
            for chunk in (store / "record" / name / "c" / str(part) for name in RECORD)
            for file in [chunk, *chunk.rglob("*")]
            if file.is_file()
        }
        for part in sealed.nonzero()[0]
    }


@dataclass
class History:
    """What was killed, and what was sealed by then."""

    store: Path
    sealed: Marks = field(default_factory=dict)
    kills: list[str] = field(default_factory=list)
    locks_left: int = 0

    def look(self) -> None:
        """No sealed part was written again."""
        now = marks(self.store)
        assert {part: now[part] for part in self.sealed} == self.sealed, self.kills
        assert all(len(files) == len(RECORD) for files in now.values())
        self.sealed = now

    def note(self, whom: str) -> None:
        """Take a kill down."""
        self.locks_left += self.store.with_suffix(".lock").exists()
        self.kills.append(f"{whom}, {len(self.sealed)} parts sealed")


def with_store(options: list[str], store: Path) -> list[str]:
    """The same options with another store."""
    return [*options[:-1], str(store)]


def kill_until_done(
    server: Path, options: list[str], history: History, chance: random.Random, seconds: float
) -> None:
    """Run, kill, and run again with other ranks, until a run comes through before it is killed."""
    ranks = 2
    while True:
        folder = history.store.with_suffix(f".{len(history.kills)}")
        run = torchrun(server, ranks, options, folder)
        time.sleep(chance.uniform(0, seconds))
        numbers = [f"rank{rank}" for rank in range(ranks)]
        whom = chance.choice([[numbers[0]], [numbers[-1]], numbers, ["agent"]])
        killed = run.kill(whom)
        if not killed and run.process.poll() is None:
            whom = ["agent"]  # no rank has begun
            killed = run.kill(whom)
        if whom == ["agent"]:
            go_on_without_agent(run, options, chance)
        code = run.end()
        history.look()
        if not killed:
            if code == 0:
                return
            assert run.process.poll() is not None, run.output
            continue
        history.note("+".join(whom))
        ranks = chance.choice([1, 2, 3])


def go_on_without_agent(run: Run, options: list[str], chance: random.Random) -> None:
    """The ranks run on, and keep others away, until they are killed too."""
    time.sleep(chance.uniform(0, 0.5))
    lock = Path(options[-1]).with_suffix(".lock")
    if lock.exists() and is_alive(run.pids().get("rank0", -1)):
        assert main(["locate", *options]) in (0, 2)  # 0: the ranks just ended
    run.kill([name for name in run.pids() if name != "agent"])


def test_killed_at_any_moment(
    server: Path, run_options: list[str], tmp_path: Path, soak: int
) -> None:
    """At least 20 kills; resumed by one, two and three ranks, without --take-over."""
    assert main(["locate", *run_options]) == 0
    expected = vxstore.open(str(tmp_path / "run.zarr"))
    began = time.monotonic()
    whole = torchrun(
        server, 2, with_store(run_options, tmp_path / "whole.zarr"), tmp_path / "whole"
    )
    assert whole.end() == 0, whole.output
    seconds = time.monotonic() - began
    chance = random.Random(7)
    kills: list[str] = []
    locks_left = 0
    while len(kills) < KILLS * soak:
        history = History(store=tmp_path / f"{len(kills)}.zarr")
        options = with_store(run_options, history.store)
        kill_until_done(server, options, history, chance, seconds)
        found = vxstore.open(str(history.store))
        assert found.root().load().equals(expected.root().load()), history.kills
        assert found.record().load().equals(expected.record().load()), history.kills
        assert len(history.sealed) == 24
        assert not history.store.with_suffix(".lock").exists()
        kills += history.kills
        locks_left += history.locks_left
    print(f"{len(kills)} kills; {locks_left} left a lock behind:", *kills, sep="\n")
    assert locks_left > 0
