"""Sound chunks in the place of others: of another condition, array, score or part, with a number
changed, or an older root. Checksums hold, and a check notices all that has an effect."""

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import xarray as xr
import zarr

from vxdist.config import EvaluateConfig
from vxdist.evaluate.doses import write_doses
from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.vape import Vape, VapeSettings
from vxstore import schema
from vxstore.check.digests import check_digests
from vxstore.check.findings import Report
from vxstore.check.store import check, repair
from vxstore.errors import StoreError
from vxstore.finalise import finalise
from vxstore.read import Store, open_store

VALUES, SHAPE = ("calm", "zeal"), (4, 6)
BATCHES, BATCH = 8, 6
NONE = "without effect"
Chance = random.Random
Change = Mapping[Path, bytes | None]
"""Files, and what they are to hold."""


def settings(**of: float) -> VapeSettings:
    quantiles = {"filter_quantile": 0.5, "activation_quantile": 0.5, "top_fraction": 0.4}
    return VapeSettings(**{**quantiles, **of}, min_active_tokens=1)


@pytest.fixture(scope="module")
def whole(
    make_store: Callable[..., str], add_effects: Callable[..., None], run_attrs: dict[str, Any]
) -> str:
    """A store of everything, two of most; beside it, the root as it was after each step."""
    with mock.patch.object(schema, "CHUNK_BYTES", 100):
        path = make_store(values=VALUES, shape=SHAPE, record=8, attrs=run_attrs)
        same = {"scores": "vape", "controls": 4}
        half = {"settings": {**same, "dose": 0.5}, "intervention": "scale"}
        steps: list[Callable[[], object]] = [
            lambda: None,
            lambda: finalise(path),
            lambda: write_score(path, "vape", Vape(settings())),
            lambda: write_score(path, "other", Vape(settings(top_fraction=0.2))),
            lambda: add_effects(path, controls=4, attrs={"settings": same}),
            lambda: add_effects(path, "half", controls=4, shifts=(-0.5, 0.25), attrs=half),
            lambda: write_doses(path, "half", EvaluateConfig(controls=4)),
        ]
        for number, step in enumerate(steps):
            step()
            shutil.copy(f"{path}/zarr.json", f"{path}.{number}.json")
    return path


def read_all(path: str) -> dict[str, Any]:
    """All that a reader gives, or the error."""
    store = open_store(path)
    reads: dict[str, Callable[[], xr.Dataset]] = {"": store.root, "record": store.record}
    names = {kind: store.names(kind) for kind in ("scores", "evaluation")}
    for name in names["scores"]:
        reads[f"scores/{name}"] = lambda name=name: store.scores(name)  # type: ignore[misc]
    for name in names["evaluation"]:
        for kind in (Store.evaluation, Store.effect, Store.dose):
            reads[f"{kind.__name__} {name}"] = lambda kind=kind, name=name: kind(store, name)  # type: ignore[misc]
    found: dict[str, Any] = {"names": names}
    for what, read in reads.items():
        with suppress(StoreError):
            found[what] = read().load()
    return found


def are_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        of.identical(other[what]) if isinstance(of, xr.Dataset) else of == other[what]
        for what, of in one.items()
    )


@pytest.fixture(scope="module")
def truth(whole: str) -> dict[str, Any]:
    found = read_all(whole)
    assert "dose half" in found
    assert "effect choice" in found
    report = check(whole)
    assert (report.findings, report.notes) == ([], [])
    return found


def chunks(folder: Path) -> dict[str, Path]:
    """The chunks of an array, by key."""
    return {f.relative_to(folder).as_posix(): f for f in folder.rglob("c/**/*") if f.is_file()}


def swap(pairs: list[tuple[Path, Path]]) -> Change:
    return {
        **{one: other.read_bytes() for one, other in pairs},
        **{other: one.read_bytes() for one, other in pairs},
    }


def arrays(path: str, group: str) -> list[Path]:
    """The arrays of a group that have chunks."""
    return sorted(folder.parent for folder in Path(path, group).glob("*/c"))


def exchange_conditions(path: str, chance: Chance) -> Change:
    """Of one array of an evaluation, or of all of them."""
    group = Path(path, "evaluation", chance.choice(["choice", "half"]))
    rows = [group / name for name in ("log_odds", "option_mass", "masked", "seal")]
    of = chance.choice([[chance.choice(rows)], rows[:2], rows])
    one, other = (f"c/{n}/" for n in chance.sample(range(11), 2))
    pairs = []
    for array in of:
        found = chunks(array)
        for key, file in found.items():
            if f"{key}/".startswith(one):
                pairs.append((file, found[f"{other}{f'{key}/'.removeprefix(one)}".rstrip("/")]))
    return swap(pairs)


def exchange_arrays(path: str, chance: Chance) -> Change:
    """Two arrays of a group whose metadata are alike."""
    groups = ("evaluation/choice/effect", "evaluation/half/effect", "evaluation/half/dose")
    group = chance.choice([*groups, "record", "evaluation/choice", ""])
    kinds: dict[str, list[Path]] = {}
    for array in arrays(path, group):
        opened = zarr.open_array(array, mode="r")
        kinds.setdefault(f"{opened.shape} {opened.chunks} {opened.dtype}", []).append(array)
    one, other = chance.sample(chance.choice([of for of in kinds.values() if len(of) > 1]), 2)
    found = chunks(other)
    return swap([(file, found[key]) for key, file in chunks(one).items()])


def exchange_groups(path: str, chance: Chance) -> Change:
    """An array of one score (or evaluation) with that of another."""
    kinds = [("scores/vape", "scores/other"), ("evaluation/choice", "evaluation/half")]
    kinds.append(("evaluation/choice/effect", "evaluation/half/effect"))
    one, other = chance.choice(kinds)
    array = chance.choice([a for a in arrays(path, one) if Path(path, other, a.name).is_dir()])
    found = chunks(Path(path, other, array.name))
    return swap([(file, found[key]) for key, file in chunks(array).items()])


def exchange_parts(path: str, chance: Chance) -> Change:
    """Of one array of the record, or of all, with what vouches for them or without."""
    names = [n for n in schema.RECORD if chance.random() < 0.5]
    names = chance.choice([names, list(schema.RECORD), [n for n in schema.RECORD if n != "seal"]])
    one, other = chance.sample(range(8), 2)
    pairs = []
    for name in names:
        for key, file in chunks(Path(path, "record", name)).items():
            at, _, rest = key.removeprefix("c/").partition("/")
            if int(at) == one:
                there = Path(path, "record", name, "c", str(other), rest)
                pairs.append((file, there))
    return swap(pairs)


def exchange_chunks(path: str, chance: Chance) -> Change:
    """Layers, or what else a chunk holds, of one array."""
    several = [a.parent for a in Path(path).rglob("c") if a.is_dir() and len(chunks(a.parent)) > 1]
    found = chunks(chance.choice(sorted(several)))
    one, other = chance.sample(sorted(found), 2)
    return swap([(found[one], found[other])])


def change_number(path: str, chance: Chance) -> Change:
    """One element of any array, its chunk encoded again."""
    array = chance.choice(sorted(f.parent for f in Path(path).rglob("c") if f.is_dir()))
    files = chunks(array)
    before = {file: file.read_bytes() for file in files.values()}
    opened = zarr.open_array(array, mode="r+")
    at = tuple(chance.randrange(n) for n in opened.shape)
    number: Any = opened[at]
    kind = opened.dtype.kind
    if kind not in "biuf":
        opened[at] = chance.choice(["calm", "zeal", "zh", "en", str(number) + "x"])
    elif kind == "b":
        opened[at] = not number
    elif kind == "f":
        opened[at] = chance.choice([float(number) + 1e-3, -float(number), 0.5, np.nan])
    else:
        opened[at] = int(number) + chance.choice([-1, 1])
    # zarr removes a chunk that holds the fill value only.
    after = {file: file.read_bytes() if file.is_file() else None for file in before}
    for file, data in before.items():
        file.write_bytes(data)
    return after


def put_back_root(path: str, chance: Chance) -> Change:
    """An older zarr.json of the root."""
    older = Path(f"{path}.{chance.randrange(6)}.json")
    return {Path(path, "zarr.json"): older.read_bytes()}


KINDS: dict[str, Callable[[str, Chance], Change]] = {
    "conditions exchanged": exchange_conditions,
    "arrays exchanged": exchange_arrays,
    "of another score or evaluation": exchange_groups,
    "parts exchanged": exchange_parts,
    "chunks exchanged": exchange_chunks,
    "one number changed": change_number,
    "an older root": put_back_root,
}


@contextmanager
def changed(change: Change) -> Iterator[None]:
    before = {file: file.read_bytes() for file in change}
    try:
        for file, data in change.items():
            if data is None:
                file.unlink()
            else:
                file.write_bytes(data)
        yield
    finally:
        for file, data in before.items():
            file.write_bytes(data)


def outcome(path: str, truth: Mapping[str, Any], change: Change, *, quick: bool) -> str:
    """What becomes of a change: noticed by a check, without effect, or silently wrong.

    With `quick` the rest of a check is made only where digests do not show it.
    """
    if all(file.read_bytes() == data for file, data in change.items()):
        return NONE
    with changed(change):
        report = Report()
        with suppress(StoreError):  # of metadata, which the rest of a check looks at
            if quick:
                check_digests(path, report)
        if report.findings or check(path).findings:
            return "noticed"
        return NONE if are_alike(read_all(path), truth) else "silently wrong"


TABLE: Counter[tuple[str, str]] = Counter()


@pytest.mark.parametrize("batch", range(BATCHES))
def test_none_with_an_effect_is_unnoticed(
    whole: str, truth: dict[str, Any], soak: int, batch: int, tmp_path_factory: Any
) -> None:
    chance = Chance(1000 * soak + batch)
    for number in range(BATCH if soak == 1 else 25 * soak):
        kind = list(KINDS)[(batch * BATCH + number) % len(KINDS)]
        change = KINDS[kind](whole, chance)
        found = outcome(whole, truth, change, quick=soak > 1)
        TABLE[kind, found] += 1
        touched = [file.relative_to(whole).as_posix() for file in change]
        assert found != "silently wrong", f"{kind}: {touched}"
        if soak > 1:
            file = tmp_path_factory.getbasetemp().parent / f"exchanges-{os.getpid()}.txt"
            file.write_text("".join(f"{k}: {f}: {n}\n" for (k, f), n in sorted(TABLE.items())))


def test_an_older_root_is_put_back_and_the_newest_made_again(
    whole: str, truth: dict[str, Any], tmp_path: Path
) -> None:
    """What vanished is listed again by a repair."""
    path = str(shutil.copytree(whole, tmp_path / "s.zarr"))
    shutil.copy(f"{whole}.2.json", f"{path}/zarr.json")
    report = check(path)
    assert {f.array for f in report.findings} == {
        "scores/other", "evaluation/choice", "evaluation/half",
    }  # fmt: skip
    assert all("not listed in the root" in f.what for f in report.findings)
    assert any("of revision 3, older than the group's" in f.what for f in report.findings)
    assert repair(path, report)[0] == "listed scores/other again"
    assert check(path).findings == []
    assert are_alike(read_all(path), truth)


def test_what_an_earlier_version_wrote(copy_of: Callable[[str], str]) -> None:
    """It is read as before, and a check says for what nothing vouches."""
    path = copy_of("format3")
    report = check(path)
    assert report.findings == []
    assert report.unvouched[:2] == ["record", "scores/vape"]
    assert any("nothing vouches for each number" in note for note in report.notes)
