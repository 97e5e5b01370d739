"""`kill -9` at any moment: nothing is lost, nothing is counted twice, no sealed part is run again.

The runs are those of torchrun: its agent, its rendezvous, and ranks that run `vxdist locate`; what
is killed is a rank, all of them, or the agent. Only importing torch is spared to most of them:
agent and ranks are forked from a process that has imported it (warm.py), so that a run takes
seconds and chance can find more than its start. One test does the same with plain torchrun.
`make soak` kills many times as often.
"""

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import vxstore
from vxdist.cli import main
from vxstore.check.store import check
from vxstore.errors import StoreError
from vxstore.identity import holds_store
from vxstore.schema import RECORD
from vxstore.write import Recorder

ROOT = Path(__file__).parents[2]
WARM = Path(__file__).with_name("warm.py")
KILLS = 20
AGENT = ["agent"]
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

    def await_ranks(self, ranks: int) -> None:
        """Until all ranks have started."""
        while len(self.pids()) < 1 + ranks and self.process.poll() is None:
            time.sleep(0.01)

    def kill(self, names: Iterable[str]) -> bool:
        """Whether any of these was there to be killed."""
        pids = self.pids()
        there = [pids[name] for name in names if name in pids and is_alive(pids[name])]
        for pid in there:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(there)

    def end(self, patience: float = 120) -> int:
        """Wait for the end of all its processes; the exit code.

        When patience is over they are killed: torchrun lets a rank that waits for a dead one wait
        on for half a minute.
        """
        try:
            self.output, _ = self.process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            self.kill(self.pids())
            self.output, _ = self.process.communicate(timeout=patience)
        while any(is_alive(pid) for pid in self.pids().values()):
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
    for attempt in itertools.count():
        ranks = chance.choice([1, 2, 2, 2, 3]) if attempt else 2
        folder = history.store.with_suffix(f".{attempt}")
        run = torchrun(server, ranks, options, folder)
        run.await_ranks(ranks)
        time.sleep(chance.uniform(0, seconds))
        numbers = [f"rank{rank}" for rank in range(ranks)]
        whom = chance.choice([numbers[:1], numbers[:1], numbers[-1:], numbers[-1:], numbers, AGENT])
        killed = run.kill(whom)
        if killed and whom == AGENT:
            go_on_without_agent(run, options, chance)
        code = run.end(patience=5 if killed else 120)
        history.look()
        if not killed:
            assert code == 0, run.output
            return
        history.note(f"{'+'.join(whom)} of {ranks}")


def go_on_without_agent(run: Run, options: list[str], chance: random.Random) -> None:
    """The ranks run on, and keep others away, until they are killed too."""
    time.sleep(chance.uniform(0, 0.5))
    lock = Path(options[-1]).with_suffix(".lock")
    if lock.exists() and is_alive(run.pids()["rank0"]):
        assert main(["locate", *options]) in (0, 2)  # 0: they have just ended
    run.kill(run.pids())


def test_killed_at_any_moment(
    server: Path, run_options: list[str], tmp_path: Path, soak: int
) -> None:
    """At least 20 kills of ranks; resumed by one, two and three, without --take-over."""
    assert main(["locate", *run_options]) == 0
    began = time.monotonic()
    whole = torchrun(server, 2, with_store(run_options, tmp_path / "a.zarr"), tmp_path / "whole")
    whole.await_ranks(2)
    began = time.monotonic()
    assert whole.end() == 0, whole.output
    seconds = time.monotonic() - began
    chance = random.Random(7)
    kills: list[str] = []
    locks_left = 0
    for number in itertools.count():
        if sum(kill.startswith("rank") for kill in kills) >= KILLS * soak:
            break
        history = History(store=tmp_path / f"{number}.zarr")
        options = with_store(run_options, history.store)
        kill_until_done(server, options, history, chance, seconds)
        assert len(history.sealed) == 24
        assert_same(history.store, tmp_path / "run.zarr")
        kills += history.kills
        locks_left += history.locks_left
    print(f"{len(kills)} kills; {locks_left} left a lock behind:", *kills, sep="\n")
    assert locks_left > 0


def assert_same(found: Path, expected: Path) -> None:
    """Both stores hold the same bits, and nobody writes them."""
    here, there = vxstore.open(str(found)), vxstore.open(str(expected))
    assert here.root().load().equals(there.root().load())
    assert here.record().load().equals(there.record().load())
    assert not check(str(found)).findings
    assert not found.with_suffix(".lock").exists()


def ranks_of(store: Path) -> dict[int, int]:
    """Processes of a plain torchrun's ranks."""
    found = {}
    for process in Path("/proc").iterdir():
        try:
            environ = (process / "environ").read_bytes().split(b"\0")
            arguments = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        rank = [text for text in environ if text.startswith(b"RANK=")]
        if rank and os.fsencode(store) in arguments:
            found[int(rank[0].partition(b"=")[2])] = int(process.name)
    return found


@pytest.mark.long
def test_killed_under_plain_torchrun(run_options: list[str], tmp_path: Path) -> None:
    """The first rank, which leaves its lock, and the other; then one process goes on."""
    assert main(["locate", *run_options]) == 0
    history = History(store=tmp_path / "killed.zarr")
    options = with_store(run_options, history.store)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    command += [str(ROOT / "launch" / "locate.py"), *options]
    sealed = history.store / "record" / "sealed" / "c"
    for rank in (0, 1):
        before = len(list(sealed.iterdir())) if sealed.is_dir() else 0
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        ranks: dict[int, int] = {}
        while len(ranks) < 2:  # looked for while they load: the parts themselves take no second
            assert process.poll() is None, process.communicate()[0]
            ranks = ranks_of(history.store)
        while not sealed.is_dir() or len(list(sealed.iterdir())) <= before:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.001)
        os.kill(ranks[rank], signal.SIGKILL)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 1, output
        history.look()
        history.note(f"rank{rank}")
        # Rank 0 could not remove its lock when it was killed; nor can it if it has done its parts
        # when the other is killed, and waits for it until torchrun's patience ends.
        assert 1 <= history.locks_left <= 1 + rank, history.kills
    assert main(["locate", *options]) == 0
    history.look()
    assert len(history.sealed) == 24
    assert_same(history.store, tmp_path / "run.zarr")
