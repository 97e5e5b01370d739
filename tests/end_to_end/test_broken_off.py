"""Every command that writes, killed at any moment, then run again: the same bits, or one line.

`make soak` kills a thousand times, and a sample of the cheapest is part of every test run.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.corpus.builder.conftest import VALUES, serve  # noqa: F401
from tests.end_to_end.broken import (
    Command,
    describe,
    left_behind,
    prepare,
    prepare_without_model,
    put_back,
)
from tests.end_to_end.forked import run, serving, start

KILLS = {"locate": 5, "attribute": 6, "evaluate": 6}
"""Kills of a command, for each unit of --soak; of all others, which run no model:"""
OTHERS = 11
TURNS = 10
"""At most as many of these units; they may run side by side."""
SAME = "the same bits"
Table = Counter[tuple[str, str]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a process that forks commands."""
    with serving(tmp_path_factory.mktemp("warm")) as address:
        yield address


def measure(server: Path | None, command: Command, under: Path) -> tuple[float, dict[str, int]]:
    """How long the command takes, and how many files it touches, and readings of the lock."""
    put_back(command, under)
    counted = under.with_suffix(".count")
    began = time.monotonic()
    run(server, command.words, under, f"count:{counted}")
    return time.monotonic() - began, json.loads(counted.read_text())


def kill_once(
    server: Path | None, command: Command, under: Path, seconds: float, moment: int | None
) -> bool:
    """Run the command and kill it, at a moment or by chance; whether it was there to be killed."""
    process = start(server, command.words, under, None if moment is None else f"kill:{moment}")
    if moment is None:
        time.sleep(seconds)
        process.kill()
    return process.end() == -9


def go_on(server: Path | None, command: Command, under: Path, whole: dict[str, str]) -> str:
    """Run the command once more: what became of what was killed."""
    process = start(server, command.words, under)
    code = process.end()
    said = process.said().splitlines()
    errors = [line for line in said if line.startswith("error: ")]
    made = describe(command, under)
    if code == 2 and "exists already" in errors[0].replace("already exists", "exists already"):
        # It was killed when all was done, and does not replace what it made.
        return SAME if made == whole else "silently wrong: half of it is there"
    if code == 2 and len(errors) == 1 and not any("Traceback" in line for line in said):
        return f"refused: {errors[0][-150:]}"
    if code != 0:
        return f"ended with {code}: {said[-1:]}"
    if made != whole:
        differ = [name for name in made | whole if made.get(name) != whole.get(name)]
        return f"silently wrong: {differ[:2]}"
    left = left_behind(under)
    return f"left behind: {left[:2]}" if left else SAME


def kill_often(
    server: Path | None,
    command: Command,
    under: Path,
    kills: int,
    chance: random.Random,
    by_chance: float = 0.4,
) -> Table:
    """Kill a command, a few times in a row, until it has been killed so often."""
    seconds, counts = measure(server, command, under)
    whole, table, killed = describe(command, under), Table(), 0
    assert not left_behind(under)
    while killed < kills:
        put_back(command, under)
        here = 0
        for _ in range(chance.choice([1, 1, 2, 3])):
            moment = chance.randint(1, counts["kill"]) if chance.random() >= by_chance else None
            here += kill_once(server, command, under, chance.uniform(0, seconds), moment)
        table[command.name, "kills"] += here
        table[command.name, go_on(server, command, under, whole)] += 1
        killed += max(here, 1)
    return table


@pytest.fixture
def commands(
    server: Path, run_options: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Command]:
    """All commands, each prepared when its turn comes."""
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(VALUES, allow_unicode=True))
    return prepare(server, run_options, tmp_path, request.getfixturevalue("serve")("steady"))


@pytest.mark.long
@pytest.mark.parametrize("turn", range(TURNS))
def test_killed_at_any_moment(
    server: Path, request: pytest.FixtureRequest, tmp_path: Path, soak: int, turn: int
) -> None:
    """Nothing is silently wrong, and nothing is left behind."""
    if turn >= soak:
        pytest.skip("part of a longer soak")
    chance, table = random.Random(11 + turn), Table()
    for command in request.getfixturevalue("commands"):
        kills = KILLS.get(command.name, OTHERS)
        table += kill_often(server, command, tmp_path / "under", kills, chance)
        print(*(f"{n:5} {what}" for what, n in table.items()), sep="\n", flush=True)
    assert_sound(table)


def assert_sound(table: Table) -> None:
    """All came through, to the same bits."""
    assert all(what in ("kills", SAME) for _, what in table), table


def test_a_few_kills(tmp_path: Path) -> None:
    """The same of what needs no model, in the moment of a write."""
    chance, table = random.Random(12), Table()
    for command in prepare_without_model(tmp_path):
        table += kill_often(None, command, tmp_path / "under", 1, chance, by_chance=0.0)
    assert_sound(table)


def stop_once(server: Path | None, command: Command, under: Path, how: str, moment: int) -> None:
    """Have a signal sent to the command in that moment, then run it again.

    It ends with 3, one line, and nothing but finished work left behind.
    """
    put_back(command, under)
    process = start(server, command.words, under, f"{how}:{moment}")
    code, said = process.end(), process.said()
    assert code in (0, 3), (command.name, moment, code, said)  # 0: all was done
    assert "Traceback" not in said, said
    if code == 3:
        assert said.splitlines()[-1].startswith(f"stopped by SIG{how.upper()}; run the same"), said
    assert not left_behind(under), (command.name, moment, left_behind(under))


def stop_often(
    server: Path | None, command: Command, under: Path, stops: int, chance: random.Random
) -> None:
    """Stop a command in some moments; each time the next comes through, to the same bits."""
    _, counts = measure(server, command, under)
    whole = describe(command, under)
    for _ in range(stops):
        moment, how = chance.randint(1, counts["kill"]), chance.choice(["term", "int"])
        stop_once(server, command, under, how, moment)
        assert go_on(server, command, under, whole) == SAME, (command.name, how, moment)


def test_a_few_stops(tmp_path: Path) -> None:
    """By SIGTERM or SIGINT, of commands that need no model."""
    for command in prepare_without_model(tmp_path):
        stop_often(None, command, tmp_path / "under", 1, random.Random(13))


@pytest.mark.long
def test_stopped_at_any_moment(
    server: Path, commands: Iterator[Command], tmp_path: Path, soak: int
) -> None:
    """The same of all commands."""
    chance = random.Random(14)
    for command in commands:
        stop_often(server, command, tmp_path / "under", 2 * soak, chance)
