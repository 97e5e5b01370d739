"""Commands that are broken off, on small data, and what they leave when they come through.

Each works in one folder, `under`, that is put back to what it was before each trial.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.end_to_end.forked import run
from vxdist.cli import main
from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.vape import Vape, VapeSettings
from vxstore.check.store import check
from vxstore.identity import holds_store

DATES = re.compile(rb"20\d\d-\d\d-\d\d[T ]?[0-9:+]*")
HISTORY = ("build.yaml", "usage.jsonl", "rejects.jsonl", "drafts.jsonl", ".build.lock")
"""What a build keeps of how it went."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command, the folder that it begins with, and the file or folder that it makes."""

    name: str
    words: Sequence[str]
    base: Path
    makes: str


def prepare(
    server: Path, options: list[str], folder: Path, address: str | None = None
) -> list[Command]:
    """All commands that write, each with a base that the ones before it made.

    `options` are those of a run; `address` is that of a server for `corpus build`, which is left
    out without one.
    """
    under = folder / "under"
    store = str(under / "run.zarr")
    common = [*options[:-1], store]
    bases = {name: folder / name for name in ("empty", "located", "reduced", "whole", "damaged")}
    under.mkdir()
    (under / "files").mkdir()
    _write_counts(under / "files")
    shutil.copytree(under, bases["empty"])
    steps = (("located", ["locate"]), ("reduced", ["reduce"]), ("whole", ["attribute", "evaluate"]))
    for name, stages in steps:
        for stage in stages:
            run(server, ["vxdist", stage, *common], under)
        shutil.copytree(under, bases[name])
    _damage(under / "run.zarr")
    shutil.copytree(under, bases["damaged"])
    given: Given = [
        ("locate", ["vxdist", "locate", *common], "empty", "run.zarr"),
        ("reduce", ["vxdist", "reduce", *common], "located", "run.zarr"),
        ("attribute", ["vxdist", "attribute", *common], "reduced", "run.zarr"),
        ("evaluate", ["vxdist", "evaluate", *common], "reduced", "run.zarr"),
        ("report", ["vxdist", "report", *common], "whole", "run.html"),
        ("apply", ["vxdist", "apply", *common, "--value", "thrift", "--language", "en",
                   "--out", str(under / "out")], "reduced", "out"),
        *_without_model(under),
    ]  # fmt: skip
    if address is not None:
        build = {"out": under / "out", "base_url": address, "model": "tiny", "concurrency": 1,
                 "values": folder / "values.yaml", "stories_per_value": 2,
                 "dilemmas_per_value": 1}  # fmt: skip
        words = [f"--build.{name}={text}" for name, text in build.items()]
        given.append(("corpus build", ["vxdist", "corpus", "build", *words], "empty", "out"))
    return _make(given, bases)


def prepare_without_model(folder: Path) -> list[Command]:
    """The commands that need no model and no corpus, on a store that was imported."""
    under = folder / "under"
    (under / "files").mkdir(parents=True)
    _write_counts(under / "files")
    shutil.copytree(under, folder / "empty")
    given = _without_model(under)
    assert main(given[0][1][1:]) == 0
    loose = VapeSettings(top_fraction=0.1, filter_quantile=0.5)
    write_score(str(under / "run.zarr"), "vape", Vape(loose))
    shutil.copytree(under, folder / "reduced")
    _damage(under / "run.zarr")
    shutil.copytree(under, folder / "damaged")
    bases = {name: folder / name for name in ("empty", "reduced", "damaged")}
    return _make(given, bases)


Given = list[tuple[str, list[str], str, str]]
"""Name, words, base, and what is made."""


def _make(given: Given, bases: Mapping[str, Path]) -> list[Command]:
    return [
        Command(name=name, words=words, base=bases[base], makes=makes)
        for name, words, base, makes in given
    ]


def _without_model(under: Path) -> Given:
    store = str(under / "run.zarr")
    reselect = ["--name", "other", "--top-fraction", "0.2"]
    counts = [str(under / "files" / f"{value}.pt") for value in ("x", "y")]
    return [
        ("import", ["vxdist", "import", "lape", *counts, "--language", "zh", "--denominator",
                    "tokens", "--store", store], "empty", "run.zarr"),
        ("select", ["vxstore", "select", store, *reselect], "reduced", "run.zarr"),
        ("export", ["vxstore", "export", store, str(under / "a.csv"), "--what", "counts"],
         "reduced", "a.csv"),
        ("check --repair", ["vxstore", "check", store, "--repair"], "damaged", "run.zarr"),
    ]  # fmt: skip


def _write_counts(folder: Path) -> None:
    import torch

    for seed, value in enumerate(("x", "y")):
        active_LN = np.random.default_rng(seed).integers(0, 900, (3, 40)).astype(np.int32)
        content = {"over_zero": torch.from_numpy(active_LN), "token_num": 1000.0, "question_num": 9}
        torch.save(content, folder / f"{value}.pt")


def _damage(store: Path) -> None:
    """A flipped byte in a part, in a score, and in an evaluation."""
    for below in ("record/active_count/c/1", "scores/vape/entropy/c", "evaluation/choice/log_odds"):
        if not (store / below).exists():
            continue
        file = next(f for f in sorted((store / below).rglob("*")) if f.is_file() and "c/" in str(f))
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 0x40
        file.write_bytes(data)


def put_back(command: Command, under: Path) -> None:
    """Make the folder what it was before the command."""
    shutil.rmtree(under)
    shutil.copytree(command.base, under)


def describe(command: Command, under: Path) -> dict[str, str]:
    """What a command has made: every file, by its content, but for dates and names of runs."""
    made = under / command.makes
    files = [made] if made.is_file() else sorted(f for f in made.rglob("*") if f.is_file())
    store = str(made)
    if made.suffix == ".zarr" and holds_store(store) and "repair" not in command.name:
        assert not check(store).findings
    return {
        str(file.relative_to(under)): hashlib.sha256(_content(file)).hexdigest()
        for file in files
        if file.name not in HISTORY
    }


def _content(file: Path) -> bytes:
    data = file.read_bytes()
    if file.name != "zarr.json":
        return DATES.sub(b"", data) if file.suffix in (".html", ".json", ".yaml", ".md") else data
    doc: dict[str, Any] = json.loads(data)
    doc.pop("consolidated_metadata", None)
    attrs = dict(doc.get("attributes", {}))
    if doc["node_type"] == "group":
        attrs = {key: attrs.get(key) for key in ("complete", "state", "settings", "thresholds")}
    attrs.pop("run", None)
    return json.dumps({**doc, "attributes": attrs}, sort_keys=True).encode()


def left_behind(under: Path) -> list[str]:
    """Files that nobody will ask for: locks, and what was not written whole."""
    empty = [file for file in under.glob("*.lock.*.partial") if not file.stat().st_size]
    found = (str(file.relative_to(under)) for file in under.rglob("*") if file not in empty)
    return [name for name in found if ".partial" in name or (name.endswith((".lock", ".draft"))
            and not name.endswith(".build.lock")) or name.startswith(".out.")]  # fmt: skip
