"""Two machines: one dies, or the link between them, and the same command resumes the run.

The machines are two network namespaces with addresses of their own, joined by a link, and a
torchrun agent in each. Agents and ranks are forked from a process in each namespace that has
imported torch (warm.py). Making namespaces takes root.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import vxstore
from vxdist.cli import main
from vxstore.check.store import check

ROOT = Path(__file__).parents[2]
WARM = Path(__file__).with_name("warm.py")
PATIENCE = 60
"""Seconds until a rank that is left alone must have ended, on a busy machine."""
PEER_TIMEOUT = 5


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine: its namespace, which is also the name of its end of the link."""

    name: str
    address: str
    server: Path

    def ip(self, *arguments: str) -> None:
        """Set something in the namespace."""
        subprocess.run(["ip", "-n", self.name, *arguments], check=True)


@dataclass
class Run:
    """One node's agent and rank."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def output(self) -> str:
        """What both have said."""
        return (self.folder / "output").read_text(encoding="utf-8")

    def pid(self, name: str) -> int:
        """Process number of `agent` or `rankN`, once it has started."""
        file = self.folder / "pids" / name
        while not file.exists() or not file.read_text():
            time.sleep(0.01)
        return int(file.read_text())

    def await_end(self, name: str) -> None:
        """Until the agent or the rank has ended by itself."""
        began, pid = time.monotonic(), self.pid(name)
        while is_alive(pid):
            assert time.monotonic() - began < PATIENCE, self.output
            time.sleep(0.05)

    def kill(self) -> None:
        """Like pulling the plug, of what still runs."""
        for file in (self.folder / "pids").iterdir():
            if is_alive(int(file.read_text())):
                os.kill(int(file.read_text()), signal.SIGKILL)
        self.process.wait(PATIENCE)


def is_alive(pid: int) -> bool:
    """Whether a process is there, and not just waiting for its exit code to be asked for."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Node]]:
    """Two machines, joined by a link."""
    if shutil.which("ip") is None:
        pytest.skip("two machines need the command `ip` (package iproute2)")
    names = [f"vx{os.getpid()}{end}" for end in "ab"]
    folder = tmp_path_factory.mktemp("nodes")
    pair = tuple(
        Node(name=name, address=f"10.77.0.{n}", server=folder / name)
        for n, name in enumerate(names, start=1)
    )
    servers: list[subprocess.Popen[bytes]] = []
    try:
        for name in names:
            made = subprocess.run(
                ["ip", "netns", "add", name], check=False, capture_output=True, text=True
            )
            if made.returncode:
                pytest.skip(f"two machines need network namespaces: {made.stderr.strip()}")
        pair[0].ip(
            *("link", "add", names[0], "type", "veth", "peer", "name", names[1]),
            *("netns", names[1]),
        )
        for node in pair:
            node.ip("addr", "add", f"{node.address}/24", "dev", node.name)
            node.ip("link", "set", "lo", "up")
            command = ["ip", "netns", "exec", node.name, sys.executable, str(WARM), "serve"]
            servers.append(subprocess.Popen([*command, str(node.server)], cwd=ROOT))
        for node, server in zip(pair, servers, strict=True):
            while not node.server.exists():
                assert server.poll() is None
                time.sleep(0.05)
        yield pair[0], pair[1]
    finally:
        for name in names:
            inside = subprocess.run(
                ["ip", "netns", "pids", name], check=False, capture_output=True, text=True
            )
            for pid in inside.stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        for server in servers:
            server.wait()


@pytest.fixture
def start(nodes: tuple[Node, Node], tmp_path: Path) -> Iterator[Callable[..., list[Run]]]:
    """Start `vxdist locate` across both, the link being up; what is left at the end is killed."""
    started: list[Run] = []

    def run(options: list[str]) -> list[Run]:
        number = len(started)
        for node in nodes:
            node.ip("link", "set", node.name, "up")
        for n, node in enumerate(nodes):
            folder = tmp_path / f"run{number + n}"
            (folder / "pids").mkdir(parents=True)
            ask = [sys.executable, "-S", "-E", str(WARM), "ask", str(node.server)]
            agent = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
            agent += ["--rdzv-endpoint", f"{nodes[0].address}:{29500 + number}"]
            agent += ["--rdzv-conf", f"is_host={int(n == 0)}", "--rdzv-id", f"run{number}"]
            agent += ["--local-addr", node.address, "--no-python"]
            environ = {"GLOO_SOCKET_IFNAME": node.name, "WARM_PIDS": str(folder / "pids")}
            with (folder / "output").open("w", encoding="utf-8") as output:
                inside = ["ip", "netns", "exec", node.name]
                process = subprocess.Popen(
                    [*inside, *ask, "agent", *agent, *ask, "rank", *options],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=ROOT,
                    env={**os.environ, **environ},
                )
            started.append(Run(process=process, folder=folder))
        return started[-2:]

    yield run
    for run_of_node in started:
        run_of_node.kill()


@pytest.fixture(scope="module")
def options(slow_folder: Path, corpus_folder: Path) -> list[str]:
    """A run that can be disturbed before it ends."""
    return [
        *("--model.path", str(slow_folder), "--corpus.path", str(corpus_folder)),
        *("--locate.parts_per_group", "2", "--locate.tokens_per_batch", "256"),
        *("--trainer.threads", "1", "--trainer.peer_timeout", str(PEER_TIMEOUT)),
    ]


@pytest.fixture(scope="module")
def undisturbed(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process alone records."""
    store = tmp_path_factory.mktemp("undisturbed") / "run.zarr"
    assert main(["locate", *options, "--store", str(store)]) == 0
    return store


def await_parts(store: Path, runs: list[Run], parts: int) -> None:
    """Until so many parts are sealed."""
    sealed = store / "record" / "sealed" / "c"
    while not sealed.is_dir() or len(list(sealed.iterdir())) < parts:
        for run in runs:
            assert run.process.poll() is None, run.output
        time.sleep(0.01)


def assert_same(found: Path, expected: Path) -> None:
    """Both stores hold the same bits, and nobody writes them."""
    here, there = vxstore.open(str(found)), vxstore.open(str(expected))
    assert here.root().load().equals(there.root().load())
    assert here.record().load().equals(there.record().load())
    assert not check(str(found)).findings
    assert not found.with_suffix(".lock").exists()


def resume_with_two(runs: list[Run]) -> None:
    """A run across both that nothing disturbs."""
    for run in runs:
        assert run.process.wait(4 * PATIENCE) == 0, run.output
    resumed = r"resuming: \d+ of 24 parts are missing|all 24 parts are recorded"
    assert re.search(resumed, runs[0].output)


def test_the_second_machine_dies(
    start: Callable[..., list[Run]], options: list[str], undisturbed: Path, tmp_path: Path
) -> None:
    """Agent and rank at once; the first machine ends by itself, and resumes alone."""
    store = tmp_path / "run.zarr"
    command = [*options, "--store", str(store)]
    first, second = runs = start(command)
    await_parts(store, runs, 2)
    assert (second.folder / "pids" / "rank1").exists()
    second.kill()
    first.await_end("agent")
    assert first.process.wait(PATIENCE) == 1
    silent = r"^rank 0 \(.*\) stops: rank 1 \(.*\) has sent no heartbeat for \d+ s; run the same"
    assert re.search(silent, first.output, re.MULTILINE), first.output
    assert not store.with_suffix(".lock").exists()
    assert main(["locate", *command]) == 0
    assert_same(store, undisturbed)


def test_the_first_machine_dies(
    start: Callable[..., list[Run]], options: list[str], undisturbed: Path, tmp_path: Path
) -> None:
    """It has the rendezvous, the store of keys, and the lock; both resume together."""
    store = tmp_path / "run.zarr"
    command = [*options, "--store", str(store)]
    first, second = runs = start(command)
    await_parts(store, runs, 2)
    first.kill()
    second.await_end("agent")
    assert second.process.wait(PATIENCE) == 1
    # Its agent misses the other at once, and may stop it before it has looked itself.
    lost = r"the store at 10.77.0.1:\d+, on the machine of rank 0 \(.*\), has (ended|not answered)"
    assert re.search(rf"^rank 1 \(.*\).*{lost}.*; run the same", second.output, re.MULTILINE), (
        second.output
    )
    assert store.with_suffix(".lock").exists()
    resume_with_two(start(command))
    assert_same(store, undisturbed)


def test_the_link_is_cut(
    nodes: tuple[Node, Node],
    start: Callable[..., list[Run]],
    options: list[str],
    undisturbed: Path,
    tmp_path: Path,
) -> None:
    """Each rank misses the other. The second agent waits for the first one's rendezvous, until
    its system gives the connection up, which takes a quarter of an hour."""
    store = tmp_path / "run.zarr"
    command = [*options, "--store", str(store)]
    first, second = runs = start(command)
    await_parts(store, runs, 2)
    nodes[0].ip("link", "set", nodes[0].name, "down")
    first.await_end("agent")
    second.await_end("rank1")
    second.kill()
    silent = r"^rank 0 \(.*\) stops: rank 1 \(.*\) has sent no heartbeat for \d+ s"
    assert re.search(silent, first.output, re.MULTILINE), first.output
    silent = r"^rank 1 \(.*\) stops: the store at .*, on the machine of rank 0 .*, has not answered"
    assert re.search(silent, second.output, re.MULTILINE), second.output
    resume_with_two(start(command))
    assert_same(store, undisturbed)
