"""Mutated files, each given to a reader in a process with bounded memory and a clock.

One process is forked for many files; it says before each which it begins, so that whoever ends it
is known. A reader refuses a file in one line (UserError), or gives what it read.
"""

import gc
import json
import os
import random
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vxstore.errors import UserError

REFUSED, READ, FAILED = "refused", "read", "failed"
SECONDS = 10
"""Of computing, for one file; without any, three times as long."""
MEMORY = 2 << 30
"""Beside what the process has when it begins."""
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x20, 0x0A, 0x22, 0x5B, 0x7B)
Read = Callable[[Path], object]
Mutate = Callable[[bytes, random.Random], bytes]


def mutate(content: bytes, rng: random.Random) -> bytes:
    """The file, with one to four changes of the kinds that damage and malice make."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(found)) if found else 0
        # Headers are at the beginning: half of all changes are there.
        at = rng.randrange(min(len(found), 2048)) if found and rng.random() < 0.5 else at
        span = rng.choice((1, 4, 8, 64, 1024))
        match rng.randrange(9):
            case 0:
                found[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                found[at : at + 1] = bytes([found[at] ^ 1 << rng.randrange(8)] if found else b"")
            case 2:
                found[at : at + 8] = rng.choice((2**63 - 1, 2**40, 0, 2**64 - 1)).to_bytes(
                    8, "little"
                )
            case 3:
                del found[at : at + span]
            case 4:
                found[at:at] = bytes(rng.choice(INTERESTING) for _ in range(span))
            case 5:
                found[at:at] = found[at : at + span]
            case 6:
                del found[at:]
            case 7:
                other = rng.randrange(len(found)) if found else 0
                found[at : at + span] = found[other : other + span]
            case 8:
                found[at : at + 1] = bytes([rng.choice(INTERESTING)]) * rng.choice((1, 16))
    return bytes(found)


def judge(
    files: Sequence[Path], read: Read, *, memory: int = MEMORY, most_lines: int = 1
) -> list[tuple[str, str]]:
    """What became of each file: REFUSED and the line, READ and what `read` returned as text, or
    FAILED and what happened instead."""
    found: list[tuple[str, str]] = []
    while len(found) < len(files):
        found += _judge_some(files[len(found) :], read, memory)
    return [
        (FAILED if kind == REFUSED and len(told.splitlines()) > most_lines else kind, told)
        for kind, told in found
    ]


def _judge_some(files: Sequence[Path], read: Read, memory: int) -> list[tuple[str, str]]:
    """Of the first files, up to one that ends the process."""
    gc.collect()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _in_child(files, read, memory, writing)
    os.close(writing)
    told = b""
    while select.select([reading], [], [], 3 * SECONDS)[0] and (piece := os.read(reading, 1 << 16)):
        told += piece
    os.close(reading)
    os.kill(child, signal.SIGKILL)  # it has ended, or does not
    _, status = os.waitpid(child, 0)
    found = [tuple(json.loads(line)) for line in told.decode().splitlines()]
    if len(found) < len(files):
        found.append((FAILED, f"the process ended with {os.waitstatus_to_exitcode(status)}"))
    return [(kind, told) for kind, told in found]


def _in_child(files: Sequence[Path], read: Read, memory: int, writing: int) -> None:
    try:
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + memory, held + memory))
        with open("/dev/null", "w") as null:  # what is told is in the errors
            os.dup2(null.fileno(), 1)
            os.dup2(null.fileno(), 2)
        signal.signal(signal.SIGPROF, _out_of_time)
        for file in files:
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            os.write(writing, (json.dumps(_outcome(file, read)) + "\n").encode())
            signal.setitimer(signal.ITIMER_PROF, 0)
    finally:
        os._exit(0)


def _outcome(file: Path, read: Read) -> tuple[str, str]:
    began = time.monotonic()
    try:
        told = str(read(file))
    except UserError as error:
        return REFUSED, str(error)
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-3:]
        where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(last))
        took = f"{time.monotonic() - began:.1f} s"
        return FAILED, f"{type(error).__name__}: {str(error)[:200]} at {where} after {took}"
    return READ, told


class OutOfTime(BaseException):
    """A reader has not ended in time."""


def _out_of_time(*_: Any) -> None:
    raise OutOfTime


def make_files(
    folder: Path,
    content: bytes,
    number: int,
    *,
    seed: int,
    name: str,
    mutations: Sequence[Mutate] = (mutate,),
) -> list[Path]:
    """`number` mutations of a file, each in a folder of its own; `name` is the file's there.

    `mutations` take turns.
    """
    rng, files = random.Random(seed), []
    for n in range(number):
        file = folder / str(n) / name
        file.parent.mkdir(parents=True)
        file.write_bytes(mutations[n % len(mutations)](content, rng))
        files.append(file)
    return files


def count(soak: int) -> int:
    """How many mutations to try: a sample, 300 from `--soak 2` on, more in a longer soak."""
    return 20 if soak < 2 else 150 * soak


ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, 10**12, 10**30, 1.5, -0.0, 1e308, float("inf"),
    float("nan"), "", "x", "x" * 100_000, "\x00", "\ud800", "{{", "../../etc/passwd", [], {}, [[]],
    [0] * 1000, {"a": 1}, [None], ["x"],
)  # fmt: skip


def mutate_json(content: bytes, rng: random.Random) -> bytes:
    """A JSON file, still JSON, with one to three of its values, keys or lists changed."""
    document = json.loads(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        holders = list(_holders(document))
        holder, key = rng.choice(holders)
        match rng.randrange(8):
            case 0:
                del holder[key]
            case 1:
                holder[key] = [holder[key]] * rng.choice((0, 1, 2, 300))
            case 2:
                other, at = rng.choice(holders)
                inner = (
                    other[at]
                    if at in (other if isinstance(other, dict) else range(len(other)))
                    else None
                )
                holder[key] = json.loads(json.dumps(inner))
            case 3 if isinstance(holder, dict):
                holder[rng.choice((str(key) + "_", str(key).upper(), ""))] = holder.pop(key)
            case 4 if type(holder[key]) is int:
                holder[key] += rng.choice((-1, 1, 10, 1000))
            case 5:
                for _ in range(rng.choice((1, 50, 400))):
                    holder[key] = {"a": holder[key]} if rng.random() < 0.5 else [holder[key]]
            case _:
                holder[key] = rng.choice(ODD)
        if not document:
            break
    return json.dumps(document).encode()


def _holders(content: Any) -> "list[tuple[Any, Any]]":
    """Every place of a document: the dictionary or list, and the key or index."""
    found, left = [], [content]
    while left:
        item = left.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item))
        for key in keys:
            found.append((item, key))
            if isinstance(item[key], dict | list):
                left.append(item[key])
    return found


def mutate_header(content: bytes, rng: random.Random) -> bytes:
    """A safetensors file whose header is changed as `mutate_json` does, its length made right."""
    length = int.from_bytes(content[:8], "little")
    header = mutate_json(content[8 : 8 + length], rng)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]
