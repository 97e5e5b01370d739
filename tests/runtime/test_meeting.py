"""Ranks that meet, or do not: real processes, a real store."""

import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from vxdist.errors import UserError
from vxdist.runtime import meeting
from vxdist.runtime.meeting import Meeting, meet

Meet = Callable[..., None]
HERE = socket.gethostname()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def run_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., list[tuple[int, str]]]]:
    """Have some ranks of a launch meet; each one's exit code and what it said."""
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    monkeypatch.setattr(meeting, "ANNOUNCE_SECONDS", 1.0)
    fork = multiprocessing.get_context("fork")
    started: list[BaseProcess] = []

    def one(rank: int, size: int, port: int, limit: float, prepare: Callable[[int], None]) -> None:
        with (tmp_path / f"{rank}.said").open("w") as said:
            os.dup2(said.fileno(), 2)
        sys.stderr = os.fdopen(2, "w", buffering=1)
        prepare(rank)
        try:
            _kept = meet(Meeting(rank=rank, size=size, host="127.0.0.1", port=port, limit=limit))
        except UserError as error:
            print(error, file=sys.stderr)
            os._exit(2)
        print("met", file=sys.stderr)
        while rank == 0 and not all("met" in file.read_text() for file in tmp_path.glob("*.said")):
            time.sleep(0.05)  # the store is its own
        os._exit(0)

    def run(
        ranks: list[int], size: int, limit: float, prepare: Callable[[int], None] = lambda _: None
    ) -> list[tuple[int, str]]:
        port = free_port()
        here = [fork.Process(target=one, args=(r, size, port, limit, prepare)) for r in ranks]
        for process in here:
            process.start()
        started.extend(here)
        for process in here:
            process.join(60)
        return [
            (process.exitcode or 0, (tmp_path / f"{rank}.said").read_text())
            for rank, process in zip(ranks, here, strict=True)
        ]

    yield run
    for process in started:
        process.kill()
        process.join()


def last_lines(found: list[tuple[int, str]]) -> list[str]:
    return [said.strip().splitlines()[-1] for _, said in found]


def test_all_come_some_late(run_ranks: Callable[..., list[tuple[int, str]]]) -> None:
    """Rank 0, which hosts the store, is the last; the first who waits for it says so."""
    found = run_ranks([0, 1, 2], 3, 20.0, lambda rank: time.sleep(0 if rank else 2.5))
    assert [code for code, _ in found] == [0, 0, 0]
    assert last_lines(found) == ["met"] * 3
    assert f"rank 1 ({HERE}) waits for rank 0\n" in found[1][1]
    assert "waits for" not in found[2][1]


def test_those_that_do_not_come_are_named(
    run_ranks: Callable[..., list[tuple[int, str]]],
) -> None:
    began = time.monotonic()
    found = run_ranks([0, 2], 4, 2.0)
    assert time.monotonic() - began < 20
    assert [code for code, _ in found] == [2, 2]
    assert f"rank 0 ({HERE}) waits for ranks 1, 3\n" in found[0][1]
    for line in last_lines(found):
        assert line.startswith(f"rank 0 ({HERE}): ranks 1, 3 of 4 did not come to 127.0.0.1:")
        assert "within 2 s (trainer.meet_timeout)" in line


def test_rank_0_does_not_come(run_ranks: Callable[..., list[tuple[int, str]]]) -> None:
    found = run_ranks([1], 2, 2.0)
    assert found[0][0] == 2
    assert f"rank 1 ({HERE}): rank 0 of 2 did not come to" in last_lines(found)[0]


def test_ranks_of_different_versions(run_ranks: Callable[..., list[tuple[int, str]]]) -> None:
    """All refuse, and name one that differs."""

    def other(rank: int) -> None:
        if rank == 2:
            meeting.version = lambda _: "9.9"  # type: ignore[assignment]

    found = run_ranks([0, 1, 2], 3, 20.0, other)
    assert [code for code, _ in found] == [2, 2, 2]
    reason = f"rank 2 ({HERE}) runs vxdist 9.9, and rank 0 ({HERE}) vxdist {version('vxdist')}; "
    assert last_lines(found) == [reason + "install the same version everywhere"] * 3


def test_one_rank_need_not_meet() -> None:
    assert meet(Meeting(rank=0, size=1, host="nowhere.invalid", port=1, limit=1.0)) is None
