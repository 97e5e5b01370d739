"""Any history of a store (ranks, kills, resumes, damage, repairs) ends in what one run gives."""

import asyncio
import contextlib
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from zarr.core.sync import sync

from vxdist.plan import assign
from vxstore import schema, statistics
from vxstore.check.store import check, repair
from vxstore.errors import StoreError
from vxstore.finalise import complete, finalise, sum_layers
from vxstore.identity import holds_store, refuse_other
from vxstore.io import folder
from vxstore.read import open_store
from vxstore.write import PartCounts, PartLabels, Recorder, create

VALUES, LANGUAGES, SHAPE = ("calm", "zeal"), ("zh", "en"), (3, 2)
LABELS = [
    PartLabels(value=value, language=language, stance=stance)
    for value, language, stance in (
        ("calm", "zh", "aligned"),
        ("calm", "zh", "aligned"),
        ("calm", "en", "violating"),
        ("zeal", "zh", "aligned"),
        ("zeal", "en", "aligned"),
    )
]
PARTS = range(len(LABELS))
KILLED_AT = st.none() | st.none() | st.integers(0, 9)
SUM_KILLED_AT = st.sampled_from([None, None, 0, 4, 8, 9, 10, 11])
"""How many files are written before the kill; None: none comes. Finalising writes twelve."""


class Killed(Exception):
    """The process is gone; raised where it would have written a file."""


@contextlib.contextmanager
def killed(after: int | None) -> Iterator[None]:
    """Let `after` files be written, then begin one more and be killed."""
    left = 10**9 if after is None else after

    def strike(file: Path, data: bytes) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_name(f"{file.name}.{random.getrandbits(64):x}.partial")
            partial.write_bytes(data[: len(data) // 2])
            raise Killed

    real_set, real_write = folder.DurableStore._set, folder.Folder.write

    async def set_file(self: Any, key: str, value: Any, exclusive: bool = False) -> None:
        strike(self.root / key, value.to_bytes())
        await real_set(self, key, value, exclusive)

    def write_file(self: Any, name: str, data: bytes) -> None:
        strike(self._root / name, data)
        real_write(self, name, data)

    with (
        mock.patch.object(folder.DurableStore, "_set", set_file),
        mock.patch.object(folder.Folder, "write", write_file),
    ):
        with contextlib.suppress(Killed):
            yield
        sync(end_writes())


async def end_writes() -> None:
    """Wait for what zarr still does in the background, which a kill would have ended too."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=60)


def counts_of(part: int) -> PartCounts:
    """What a run of the model counts in a part: sums that depend on the order of adding."""
    rng = np.random.default_rng(part)
    return PartCounts(
        statistics={
            "active_count": rng.integers(0, 50 + part, SHAPE, endpoint=True),
            "activation_sum": rng.normal(0, 10.0**part, SHAPE).astype(np.float32),
            "activation_square_sum": rng.random(SHAPE).astype(np.float32) * 10**part,
        },
        token_count=50 + part,
        story_count=1 + part,
    )


def create_at(path: str, attrs: dict[str, Any]) -> None:
    """The empty store; a layer a chunk, so that ranks have layers to share."""
    with mock.patch.object(schema, "CHUNK_BYTES", 1):
        create(
            path,
            num_layers=SHAPE[0],
            num_neurons=SHAPE[1],
            values=VALUES,
            languages=LANGUAGES,
            parts=LABELS,
            attrs={**attrs, "planned_token_count": sum(50 + part for part in PARTS)},
        )


def snapshot(path: str) -> dict[str, tuple[int, int]]:
    """Every file, when it was written, and its number on the disk."""
    return {
        str(file): (file.stat().st_mtime_ns, file.stat().st_ino)
        for file in Path(path).rglob("*")
        if file.is_file()
    }


class History(RuleBasedStateMachine):
    """One store; `sealed` is what must be sealed, and `ranks` are of any age."""

    attrs: dict[str, Any]
    truth: dict[str, xr.Dataset]

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.path = f"{self.folder}/run.zarr"
        self.ranks: list[Recorder] = []
        self.sealed: set[int] = set()
        self.summed: set[tuple[int, int]] = set()
        self.made = self.complete = False

    @precondition(lambda self: not self.made)
    @rule(after=st.none() | st.integers(0, 90))
    def create_it(self, after: int | None) -> None:
        with killed(after):
            create_at(self.path, self.attrs)
        self.made = holds_store(self.path)
        assert self.made or after is not None

    @precondition(lambda self: self.made)
    @rule()
    def start_rank(self) -> None:
        self.ranks.append(Recorder(self.path))

    @precondition(lambda self: self.made and self.ranks)
    @rule(part=st.sampled_from(PARTS), after=KILLED_AT, data=st.data())
    def record(self, part: int, after: int | None, data: st.DataObject) -> None:
        rank = data.draw(st.sampled_from(range(len(self.ranks))))
        if part in self.sealed:
            before = snapshot(self.path)
            with pytest.raises(StoreError, match="sealed already"):
                self.ranks[rank].write_part(part, counts_of(part))
            assert snapshot(self.path) == before
            return
        with killed(after):
            self.ranks[rank].write_part(part, counts_of(part))
            self.sealed.add(part)
        if part not in self.sealed:
            del self.ranks[rank]

    @precondition(lambda self: self.made)
    @rule(world_size=st.integers(1, 4), last=st.integers(1, len(PARTS)), after=KILLED_AT)
    def resume(self, world_size: int, last: int, after: int | None) -> None:
        """Ranks share what is missing; after some parts all are killed."""
        ranks = [Recorder(self.path) for _ in range(world_size)]
        missing = {int(part): 50 + int(part) for part in np.flatnonzero(~ranks[0].sealed())}
        assert set(missing) == set(PARTS) - self.sealed
        dealt = [
            (rank, part)
            for rank, parts in zip(ranks, assign(missing, world_size), strict=True)
            for part in parts
        ]
        random.shuffle(dealt)
        with killed(after):
            for rank, part in dealt[:last]:
                rank.write_part(part, counts_of(part))
                self.sealed.add(part)

    @precondition(lambda self: self.made)
    @rule()
    def plan_again(self) -> None:
        """Another plan is refused, and so is creating again; the same plan goes on."""
        before = snapshot(self.path)
        with pytest.raises(StoreError, match="made by another run"):
            refuse_other(self.path, {**self.attrs, "plan_digest": "p1"})
        with pytest.raises(StoreError, match="already holds a store"):
            create_at(self.path, self.attrs)
        refuse_other(self.path, self.attrs)
        assert snapshot(self.path) == before

    @precondition(lambda self: self.made and len(self.sealed) < len(PARTS))
    @rule()
    def finalise_early(self) -> None:
        before = snapshot(self.path)
        for step in (finalise, sum_layers, complete):
            with pytest.raises(StoreError, match="parts are not recorded"):
                step(self.path)
        assert snapshot(self.path) == before

    @precondition(lambda self: len(self.sealed) == len(PARTS))
    @rule(world_size=st.integers(1, 3), after=SUM_KILLED_AT, data=st.data())
    def finalise_it(self, world_size: int, after: int | None, data: st.DataObject) -> None:
        """Ranks sum their layers in any order; a kill in between begins it all again."""
        done = self.complete
        before = snapshot(self.path)
        with killed(after):
            for rank in data.draw(st.permutations(range(world_size))):
                sum_layers(self.path, rank=rank, world_size=world_size)
            complete(self.path)
            self.complete = True
        if done:
            assert snapshot(self.path) == before

    @precondition(lambda self: self.sealed)
    @rule(data=st.data())
    def mend_a_part(self, data: st.DataObject) -> None:
        """A sealed part is damaged; it alone is recorded again."""
        part = data.draw(st.sampled_from(sorted(self.sealed)))
        name = data.draw(st.sampled_from(sorted(statistics.DEFAULT)))
        (shard,) = (Path(self.path) / "record" / name / "c" / str(part)).rglob("0/0")
        whole = shard.read_bytes()
        shard.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        report = check(self.path)
        assert report.bad_parts == [part]
        repair(self.path, report)
        self.sealed.remove(part)
        self.complete = False

    @precondition(lambda self: self.complete)
    @rule(name=st.sampled_from(sorted(schema.ROOT)))
    def mend_the_sum(self, name: str) -> None:
        """A chunk of the root is lost; no part is recorded again."""
        next(file for file in (Path(self.path) / name / "c").rglob("*") if file.is_file()).unlink()
        report = check(self.path)
        assert report.findings
        assert not report.bad_parts
        repair(self.path, report)
        self.complete = False

    @invariant()
    def tells_the_truth(self) -> None:
        if not getattr(self, "made", False):
            return
        assert set(np.flatnonzero(Recorder(self.path).sealed())) == self.sealed
        store = open_store(self.path)
        assert store.complete == self.complete
        if self.complete:
            assert store.root().load().equals(self.truth["root"])
        else:
            with pytest.raises(StoreError, match="is not complete"):
                store.root()

    def teardown(self) -> None:
        """Whatever happened, the next run ends it."""
        if not self.made:
            create_at(self.path, self.attrs)
        recorder = Recorder(self.path)
        for part in set(PARTS) - self.sealed:
            recorder.write_part(part, counts_of(part))
        finalise(self.path)
        store = open_store(self.path)
        assert store.root().load().equals(self.truth["root"])
        assert store.record().load().equals(self.truth["record"])
        shutil.rmtree(self.folder)


def test_any_history_ends_alike(
    run_attrs: dict[str, Any], tmp_path: Path, soak: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = str(tmp_path / "one.zarr")
    create_at(path, run_attrs)
    recorder = Recorder(path)
    for part in PARTS:
        recorder.write_part(part, counts_of(part))
    finalise(path)
    one = open_store(path)
    monkeypatch.setattr(History, "attrs", run_attrs, raising=False)
    truth = {"root": one.root().load(), "record": one.record().load()}
    monkeypatch.setattr(History, "truth", truth, raising=False)
    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=10 * soak,
            stateful_step_count=25,
            deadline=None,
            derandomize=soak == 1,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],  # shrinking takes minutes
        ),
    )
