"""Ranks that monitor each other: real processes, a real store, real signals."""

import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import TCPStore

from vxdist.errors import STOPPED, USER_ERROR, Stopped, UserError
from vxdist.runtime import heartbeat
from vxdist.runtime.launch import Launch
from vxdist.runtime.peers import Peers
from vxstore.io.lock import current_run, hold, require

ROOT = Path(__file__).parents[2]
Duty = Callable[[Peers, Path], None]


class Ranks:
    """Forked processes that are the ranks of one launch, and what each said when it ended."""

    def __init__(self, folder: Path, port: int, duties: list[Duty], timeout: float) -> None:
        self._folder, self._port, self._timeout = folder, port, timeout
        self._launch = uuid.uuid4().hex
        fork = multiprocessing.get_context("fork")
        self.processes: list[BaseProcess] = [
            fork.Process(target=self._run, args=(rank, len(duties), duty))
            for rank, duty in enumerate(duties)
        ]
        for process in self.processes:
            process.start()

    def _run(self, rank: int, size: int, duty: Duty) -> None:
        with (self._folder / f"{rank}.said").open("w") as said:
            os.dup2(said.fileno(), 2)
        sys.stderr = os.fdopen(2, "w", buffering=1)
        launch = Launch(rank=rank, devices=size, num_nodes=1)
        peers = Peers(launch, self._timeout, str(self._folder / "run.zarr"))
        peers.start("127.0.0.1", self._port, self._launch, "rank 0 (here)")
        code = 0
        try:
            with peers.guard():
                duty(peers, self._folder)
        except (Stopped, UserError) as error:
            print(error, file=sys.stderr)
            code = USER_ERROR if isinstance(error, UserError) else STOPPED
        except ValueError:
            code = 1
        os._exit(code)

    def await_file(self, name: str) -> None:
        """Until a rank has written a file."""
        while not (self._folder / name).exists():
            time.sleep(0.01)

    def ended(self) -> list[tuple[int | None, str]]:
        """Exit code and last words of each, when all have ended."""
        for process in self.processes:
            process.join(60)
        return [
            (process.exitcode, (self._folder / f"{rank}.said").read_text().strip())
            for rank, process in enumerate(self.processes)
        ]


@pytest.fixture
def run_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Ranks]]:
    """Start ranks with these duties and this peer_timeout; whatever is left is killed."""
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(heartbeat, "GRACE_SECONDS", 2.0)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    started: list[Ranks] = []

    def run(duties: list[Duty], timeout: float, port: int = store.port) -> Ranks:
        started.append(Ranks(tmp_path, port, duties, timeout))
        return started[-1]

    yield run
    for process in (process for ranks in started for process in ranks.processes):
        process.kill()
        process.join()


def wait(peers: Peers, folder: Path) -> None:
    """All is done here."""
    peers.wait_for_all()


def work(peers: Peers, folder: Path) -> None:
    """Batches without end."""
    (folder / "working").touch()
    while True:
        peers.check()
        time.sleep(0.01)


def hang(peers: Peers, folder: Path) -> None:
    """A collective that waits for a dead rank heeds nothing."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    (folder / "hanging").touch()
    time.sleep(600)


def test_ranks_wait_for_the_last_and_leave_in_order(run_ranks: Any, tmp_path: Path) -> None:
    """Longer than the time-out, twice."""

    def late(peers: Peers, folder: Path) -> None:
        for step in range(2):
            time.sleep(3)
            (folder / f"late{step}").touch()
            peers.wait_for_all()

    def early(peers: Peers, folder: Path) -> None:
        for step in range(2):
            peers.wait_for_all()
            assert (folder / f"late{step}").exists()

    assert run_ranks([early, late, early], 2.0).ended() == [(0, "")] * 3


def test_the_missing_heartbeat_of_a_killed_rank_is_noticed(run_ranks: Any) -> None:
    ranks = run_ranks([wait, work, work], 2.0)
    ranks.await_file("working")
    began = time.monotonic()
    ranks.processes[1].kill()
    (first, killed, last) = ranks.ended()
    assert time.monotonic() - began < 30
    assert killed[0] == -signal.SIGKILL
    missed = rf"rank 1 \({re.escape(socket.gethostname())}\) has sent no heartbeat for \d s; "
    for code, said in (first, last):
        assert code == STOPPED
        assert re.search("stops: " + missed + "run the same command again to resume", said)
        assert len(said.splitlines()) == 1


def test_ranks_that_hang_are_ended_and_let_the_store_go(run_ranks: Any, tmp_path: Path) -> None:
    """Rank 1 is frozen, rank 0 waits for it, deaf; another's lock is left alone."""
    lock = tmp_path / "run.lock"

    def holder(peers: Peers, folder: Path) -> None:
        with hold(str(folder / "run.zarr")):
            hang(peers, folder)

    ranks = run_ranks([holder, work], 2.0)
    ranks.await_file("hanging")
    ranks.await_file("working")
    os.kill(ranks.processes[1].pid, signal.SIGSTOP)
    ranks.processes[0].join(30)
    assert ranks.processes[0].exitcode == STOPPED
    assert "rank 0" in (said := (tmp_path / "0.said").read_text())
    assert re.search(r"stops: rank 1 \(.*\) has sent no heartbeat", said)
    assert not lock.exists()
    os.kill(ranks.processes[1].pid, signal.SIGCONT)  # it wakes up, and finds itself missed
    lock.write_text(json.dumps({"host": "node7", "process": ranks.processes[1].pid}))
    assert ranks.ended()[1][0] == STOPPED
    assert "stops: rank 1" in (tmp_path / "1.said").read_text()
    assert lock.exists()


def test_a_rank_that_fails_is_named_by_all(run_ranks: Any) -> None:
    """At once, long before the time-out; one peer hangs in a collective."""

    def fail(peers: Peers, folder: Path) -> None:
        while not (folder / "hanging").exists():
            time.sleep(0.01)
        with peers.at("part 17, batch 2 of 5"):
            raise UserError("layer 4: an activation is not finite")

    began = time.monotonic()
    failed, working, hanging = run_ranks([fail, work, hang], 60.0).ended()
    assert time.monotonic() - began < 30
    place = rf"rank 0 \({re.escape(socket.gethostname())}\), part 17, batch 2 of 5"
    reason = "layer 4: an activation is not finite"
    assert failed[0] == working[0] == hanging[0] == USER_ERROR
    assert re.fullmatch(f"{place}: {reason}", failed[1])
    for rank, (_, said) in enumerate((working, hanging), start=1):
        assert re.fullmatch(rf"rank {rank} \(.*\) stops: {place} failed: {reason}", said)


def test_a_traceback_is_preceded_by_its_place(run_ranks: Any) -> None:
    """Of the first rank only: the other broke because the first had failed."""

    def fail(peers: Peers, folder: Path) -> None:
        with peers.at("condition 3, batch 1 of 2"):
            (folder / "failed").touch()
            raise ValueError("so many\nlines")

    def broken(peers: Peers, folder: Path) -> None:
        while not (folder / "failed").exists():
            time.sleep(0.01)
        time.sleep(1)
        raise ValueError("connection closed by peer")

    failed, stopped = run_ranks([fail, broken], 60.0).ended()
    assert failed[0] == 1
    assert re.fullmatch(
        r"rank 0 \(.*\), condition 3, batch 1 of 2: ValueError: so many lines", failed[1]
    )
    assert stopped[0] == STOPPED
    assert re.search(r"rank 1 \(.*\) stops: rank 0 .* failed: ValueError: so many", stopped[1])


def test_the_store_that_ends_and_the_store_that_freezes(run_ranks: Any, tmp_path: Path) -> None:
    """Its host is named; a broken connection is like a frozen host."""
    program = (
        "import time; from torch.distributed import TCPStore;"
        "s = TCPStore('127.0.0.1', 0, is_master=True, wait_for_workers=False);"
        "print(s.port, flush=True); time.sleep(600)"
    )
    for number, seconds in ((signal.SIGKILL, 2), (signal.SIGSTOP, 3)):
        host = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        try:
            assert host.stdout is not None
            port = int(host.stdout.readline())
            ranks = run_ranks([work, hang], 3.0, port)
            ranks.await_file("hanging")
            ranks.await_file("working")
            host.send_signal(number)
            for code, said in ranks.ended():
                assert code == STOPPED
                store = f"the store at 127.0.0.1:{port}, on the machine of rank 0 (here)"
                assert f"stops: {store}, has not answered for {seconds} s" in said
        finally:
            host.kill()
            host.wait()
        (tmp_path / "hanging").unlink()


def test_a_poisoned_story_under_torchrun(
    run_options: list[str],
    tmp_path: Path,
    stories: list[dict[str, str]],
    write_lines: Callable[[Path, Any], None],
    make_model: Callable[[str], Any],
    tokenizer: Any,
) -> None:
    """One token of one story has no finite embedding: one rank fails, and all end."""
    stories[7]["rationale"] += "☃"
    corpus, folder = tmp_path / "corpus", tmp_path / "poisoned"
    corpus.mkdir()
    write_lines(corpus / "activation.jsonl", stories)
    texts = ["".join((s["dilemma"], s["choice"], s["rationale"])) for s in stories]
    others = {token for n, t in enumerate(texts) if n != 7 for token in tokenizer(t)["input_ids"]}
    poison = next(t for t in tokenizer("☃")["input_ids"] if t not in others)
    model = make_model("llama")
    model.model.embed_tokens.weight[poison] = float("nan")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    command += [str(ROOT / "launch" / "locate.py"), *run_options]
    command += ["--model.path", str(folder), "--corpus.path", str(corpus)]
    done = subprocess.run(
        command, cwd=ROOT, text=True, capture_output=True, timeout=240, check=False
    )
    assert done.returncode == 1, done.stderr
    place = r"rank (\d) \(.*\), part \d+, after batch \d of \d"
    reason = "layer 0: an activation is not finite"
    failed = re.search(f"^error: {place}: {reason}", done.stderr, re.MULTILINE)
    stopped = re.search(rf"rank (\d) \(.*\) stops: {place} failed: {reason}", done.stderr)
    assert failed, done.stderr
    assert stopped, done.stderr
    assert failed[1] == stopped[2] != stopped[1]
    assert not (tmp_path / "run.lock").exists()


def end_holding_the_lock(peers: Peers, folder: Path) -> None:
    """Rank 0 stops and is gone before the other can hear of it."""
    path = str(folder / "run.zarr")
    with hold(path):
        (folder / "held").touch()
        while not (folder / "writing").exists():
            time.sleep(0.01)
    (folder / "released").touch()
    os._exit(STOPPED)


def write_late(peers: Peers, folder: Path) -> None:
    """Results are written while rank 0 ends."""
    while not (folder / "held").exists():
        time.sleep(0.01)
    run = current_run(str(folder / "run.zarr"))
    (folder / "writing").touch()
    while not (folder / "released").exists():
        time.sleep(0.01)
    with peers.at("part 3, while its results were written"):
        require(str(folder / "run.zarr"), run)


def test_a_rank_that_writes_while_rank_0_ends_stops_in_order(run_ranks: Any) -> None:
    """That the lock is gone is no error of the user's, and nobody took the store over."""
    (code_0, _), (code, said) = run_ranks([end_holding_the_lock, write_late], timeout=60).ended()
    assert (code_0, code) == (STOPPED, STOPPED)
    assert re.search(r"part 3.*: the process that held its lock has ended; this one stops", said)
    assert said.endswith("run the same command again to resume from what is sealed")
