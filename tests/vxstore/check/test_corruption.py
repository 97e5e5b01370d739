"""Bits flipped, files cut short and files lost: noticed, named, never read as a number, mended."""

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import xarray as xr

from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.vape import Vape, VapeSettings
from vxstore import schema, statistics
from vxstore.check.findings import Report
from vxstore.check.store import check, repair
from vxstore.errors import StoreError, UserError
from vxstore.finalise import finalise
from vxstore.read import Store, open_store
from vxstore.write import PartCounts, Recorder

VALUES, SHAPE, PARTS = ("calm", "zeal"), (2, 5), 8
SETTINGS = VapeSettings(
    filter_quantile=0.5,
    top_fraction=0.2,
    activation_quantile=0.5,
    min_active_tokens=1,
)
READS: dict[str, Callable[[Store], xr.Dataset]] = {
    "": Store.root,
    "record": Store.record,
    "scores/vape": lambda store: store.scores("vape"),
    "evaluation/choice": lambda store: store.evaluation("choice"),
    "evaluation/choice/effect": lambda store: store.effect("choice"),
}
BATCHES, BATCH = 10, 20
Counts = Callable[..., PartCounts]


@dataclass(frozen=True)
class Damage:
    """What was done to one file, and how to undo it."""

    file: Path
    name: str
    what: str
    whole: bytes

    @property
    def array(self) -> str:
        """The array (or group) the file is of."""
        return self.name.removesuffix("/zarr.json").partition("/c/")[0]

    @property
    def group(self) -> str:
        """The group whose readers meet the file; all do, if it is the root's zarr.json."""
        return self.array if self.array in READS else self.array.rpartition("/")[0]

    @property
    def part(self) -> int | None:
        """The part the file is of, if it is of one."""
        head, _, at = self.name.partition("/c/")
        of_part = head.startswith("record/") and head.split("/")[1] in schema.RECORD
        return int(at.split("/")[0]) if of_part and at else None

    def undo(self) -> None:
        """Make the file whole again."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(self.whole)


def files(path: str) -> list[Path]:
    """All files of a store."""
    return sorted(file for file in Path(path).rglob("*") if file.is_file())


def inject(path: str, file: Path, chance: random.Random) -> Damage:
    """Flip a bit, cut the file short, empty it or remove it."""
    whole = file.read_bytes()
    what = chance.choice(["flipped", "flipped", "flipped", "cut", "emptied", "removed"])
    if what == "removed":
        file.unlink()
    elif what == "flipped":
        at = chance.randrange(len(whole))
        flipped = whole[at] ^ (1 << chance.randrange(8))
        file.write_bytes(whole[:at] + bytes([flipped]) + whole[at + 1 :])
    else:
        file.write_bytes(whole[: chance.randrange(1, len(whole)) if what == "cut" else 0])
    return Damage(file=file, name=file.relative_to(path).as_posix(), what=what, whole=whole)


def record(path: str, make_counts: Counts, parts: list[int]) -> None:
    """Record parts as they are recorded always."""
    recorder = Recorder(path)
    for part in parts:
        recorder.write_part(part, make_counts(part, *SHAPE, tokens=50 + part))


@pytest.fixture(scope="module")
def whole(
    make_store: Callable[..., str], add_evaluation: Callable[[str], None], run_attrs: dict[str, Any]
) -> str:
    """A finished store of everything; shards of four chunks. Whoever damages it mends it again."""
    planned = sum(50 + part for part in range(PARTS))
    with mock.patch.object(schema, "CHUNK_BYTES", 20):
        path = make_store(
            values=VALUES, shape=SHAPE, attrs={**run_attrs, "planned_token_count": planned}
        )
    write_score(path, "vape", Vape(SETTINGS))
    add_evaluation(path)
    return path


@pytest.fixture(scope="module")
def truth(whole: str) -> dict[str, xr.Dataset]:
    """What each reader is to give."""
    return {name: read(open_store(whole)).load() for name, read in READS.items()}


@pytest.fixture
def copy(whole: str, tmp_path: Path) -> str:
    """A copy to damage for good."""
    return shutil.copytree(whole, tmp_path / "copy.zarr").__fspath__()


def test_a_whole_store_has_no_finding(whole: str, truth: dict[str, xr.Dataset]) -> None:
    report = check(whole)
    assert (report.findings, report.notes) == ([], [])
    assert (report.parts, report.sealed) == (PARTS, PARTS)
    assert truth["record"].sizes["part"] == PARTS


def damages(path: str, batch: int, soak: int) -> Iterator[Damage]:
    """Injections one after the other, each undone before the next."""
    chance = random.Random(batch)
    for _ in range(BATCH * soak):
        damage = inject(path, chance.choice(files(path)), chance)
        try:
            yield damage
        finally:
            damage.undo()


@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_damage_goes_unnoticed(
    whole: str, truth: dict[str, xr.Dataset], soak: int, batch: int
) -> None:
    """A check names what is damaged, and no reader gives another number."""
    for damage in damages(whole, batch, soak):
        told = f"{damage.what} {damage.name}"
        report = check(whole)
        assert report.findings, told
        assert names_it(report, damage), f"{told}: {report.findings}"
        for name, read in READS.items():
            if damage.group not in (name, ""):
                continue
            try:
                found = read(open_store(whole)).load()
            except UserError as error:
                assert_one_line(error, told)
            else:
                assert found.identical(truth[name]), f"{told}: {name} reads otherwise"


def names_it(report: Report, damage: Damage) -> bool:
    """Whether a check's findings name the damaged array, and the part it is of."""
    return any(
        found.array.removesuffix("/zarr.json").removesuffix("zarr.json")
        == damage.array.removesuffix("zarr.json")
        and found.part == damage.part
        for found in report.findings
    )


@pytest.mark.parametrize("batch", range(4))
def test_damage_before_the_sum(
    make_store: Callable[..., str], run_attrs: dict[str, Any], batch: int
) -> None:
    """A recorded store whose parts are not summed yet: finalising refuses, or sums rightly."""
    path = make_store(values=VALUES, shape=SHAPE, record=PARTS, attrs=run_attrs)
    sums = shutil.copytree(path, Path(path).with_name("sums.zarr")).__fspath__()
    finalise(sums)
    expected = open_store(sums).root().load()
    chance = random.Random(batch)
    for n in range(10):
        victim = shutil.copytree(path, Path(path).with_name(f"{n}.zarr")).__fspath__()
        below = [file for file in files(victim) if "record" in file.parts]
        damage = inject(victim, chance.choice(below), chance)
        told = f"{damage.what} {damage.name}"
        assert check(victim).findings or damage.array == "record/sealed", told
        try:
            finalise(victim)
        except StoreError as error:
            assert_one_line(error, told)
            assert not is_complete(victim)
        else:
            assert open_store(victim).root().load().equals(expected), told


def is_complete(path: str) -> bool:
    """Whether the store can be opened, and is complete."""
    try:
        return open_store(path).complete
    except StoreError:
        return False


def assert_one_line(error: Exception, told: str) -> None:
    """An error is one line."""
    assert "\n" not in str(error), told


@pytest.mark.parametrize("batch", range(6))
def test_repair_records_just_the_bad_parts_again(
    copy: str, truth: dict[str, xr.Dataset], make_counts: Counts, batch: int
) -> None:
    chance = random.Random(batch)
    below = [
        file
        for name in schema.RECORD
        for file in (Path(copy) / "record" / name / "c").rglob("*")
        if file.is_file()
    ]
    damage = [inject(copy, file, chance) for file in chance.sample(sorted(below), 3)]
    bad = sorted({of.part for of in damage if of.part is not None})
    report = check(copy)
    assert report.bad_parts == bad
    repair(copy, report)
    left = [part for part in range(PARTS) if part not in bad]
    assert [*Recorder(copy).sealed().nonzero()[0]] == left
    with pytest.raises(StoreError, match="not complete"):
        open_store(copy).root()
    with pytest.raises(StoreError, match=f"{len(bad)} parts are not recorded"):
        finalise(copy)
    record(copy, make_counts, bad)
    finalise(copy)
    assert check(copy).findings == []
    for name, read in READS.items():
        assert read(open_store(copy)).load().identical(truth[name]), name


@pytest.mark.parametrize("batch", range(3))
def test_repair_sums_a_damaged_root_again(
    copy: str, truth: dict[str, xr.Dataset], batch: int
) -> None:
    """No part is un-sealed for it."""
    chance = random.Random(batch)
    below = [file for name in schema.ROOT for file in (Path(copy) / name / "c").rglob("*")]
    inject(copy, chance.choice(sorted(file for file in below if file.is_file())), chance)
    report = check(copy)
    assert report.bad_parts == []
    repair(copy, report)
    assert Recorder(copy).sealed().all()
    finalise(copy)
    assert check(copy).findings == []
    assert open_store(copy).root().load().equals(truth[""])


@pytest.mark.parametrize("what", ["flipped", "cut", "emptied", "removed"])
@pytest.mark.parametrize("group", ["scores/vape", "evaluation/choice"])
def test_repair_removes_a_damaged_score_or_evaluation(
    copy: str, truth: dict[str, xr.Dataset], group: str, what: str
) -> None:
    """Whatever of it is damaged, its metadata too; the counts stay, and so does all else."""
    chance = random.Random(5)
    with mock.patch.object(chance, "choice", return_value=what):
        for file in [f for f in files(f"{copy}/{group}") if chance.random() < 0.2]:
            inject(copy, file, chance)
    report = check(copy)
    assert report.findings
    repair(copy, report)
    assert not (Path(copy) / group).exists()
    assert check(copy).findings == []
    assert open_store(copy).root().load().equals(truth[""])
    with pytest.raises(StoreError, match="has no finished"):
        READS[group](open_store(copy))
    if group == "scores/vape":
        write_score(copy, "vape", Vape(SETTINGS))
        assert open_store(copy).scores("vape").load().identical(truth[group])


def test_repair_does_not_pretend(copy: str) -> None:
    """Labels and metadata of the counts are nowhere else: only a copy has them."""
    for name in ("active_count/zarr.json", "record/part_value/c/0", "zarr.json", "language/c/0"):
        file = Path(copy) / name
        whole = file.read_bytes()
        file.write_bytes(whole[:-1])
        with pytest.raises(StoreError, match="only a copy can restore"):
            repair(copy, check(copy))
        file.write_bytes(whole)


def swap(path: str, name: str, one: int, other: int) -> None:
    """Exchange the shards of two parts."""
    here, there = (next((Path(path) / name / "c" / str(n)).rglob("0/0")) for n in (one, other))
    data = here.read_bytes()
    here.write_bytes(there.read_bytes())
    there.write_bytes(data)


@pytest.mark.parametrize("name", statistics.DEFAULT)
def test_exchanged_shards_of_a_finished_store(copy: str, name: str) -> None:
    """Their checksums hold, and the sums do not."""
    swap(copy, f"record/{name}", 0, 4)
    assert check(copy).findings


def test_a_score_may_be_called_c(copy: str, truth: dict[str, xr.Dataset]) -> None:
    """Chunks lie in folders of that name."""
    write_score(copy, "c", Vape(SETTINGS))
    found = open_store(copy).scores("c").load()
    assert found.equals(truth["scores/vape"])
    assert check(copy).findings == []
