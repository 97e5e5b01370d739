"""Which parts locate makes of which dilemmas, and what the estimate foretells of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vxstore
from vxdist.cli import main
from vxstore.io.metadata import commit
from vxstore.write import Recorder

SETTINGS = ("school", "hospital")


@pytest.fixture
def uneven(
    tmp_path: Path,
    stories: list[dict[str, str]],
    write_lines: Callable[[Path, list[dict[str, str]]], None],
) -> list[str]:
    """A corpus whose groups list other dilemmas, in other orders: options that select it.

    Dilemma 0 has no violating story, dilemma 1 no Chinese aligned one; the Chinese ones come
    backwards.
    """
    kept = [
        {**row, "setting": SETTINGS[int(row["pair"][-1]) % 2]}
        for row in stories
        if not (row["pair"].endswith("-0") and row["stance"] == "violating")
        and not (row["pair"].endswith("-1") and row["id"].endswith("zh-aligned"))
    ]
    chinese = [row for row in kept if row["language"] == "zh"]
    rest = [row for row in kept if row["language"] != "zh"]
    (tmp_path / "uneven").mkdir()
    write_lines(tmp_path / "uneven" / "activation.jsonl", [*rest, *reversed(chinese)])
    return ["--corpus.path", str(tmp_path / "uneven")]


def measure(record: Any) -> dict[tuple[str, int], dict[tuple[str, str], int]]:
    """Stories by value and cluster, then by language and stance."""
    found: dict[tuple[str, int], dict[tuple[str, str], int]] = {}
    for part in range(record.sizes["part"]):
        row = {name: record[name].values[part] for name in record.coords if name != "part"
               if record[name].dims == ("part",)}  # fmt: skip
        cluster = found.setdefault((str(row["value"]), int(row["cluster"])), {})
        cluster[str(row["language"]), str(row["stance"])] = int(record.story_count[part])
    return found


@pytest.mark.parametrize("parts", ["null", "3", "1"])
def test_parts_follow_dilemmas(
    run_options: list[str],
    uneven: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    parts: str,
) -> None:
    options = [*run_options, *uneven, "--locate.parts_per_group", parts]
    assert main(["locate", *options]) == 0
    record = vxstore.open(str(tmp_path / "run.zarr")).record().load()
    assert record.cluster.dtype == np.int32
    clusters = measure(record)
    numbers = {"null": 4, "3": 3, "1": 1}[parts]
    assert {number for _, number in clusters} == set(range(numbers))
    both = ("aligned", "violating")
    everywhere = {(g, s) for g in ("en", "zh") for s in both}
    if parts == "null":
        for (_, number), told in clusters.items():
            missing = {0: {("en", "violating"), ("zh", "violating")}, 1: {("zh", "aligned")}}
            assert set(told) == everywhere - missing.get(number, set())
            assert set(told.values()) == {1}
        setting = [SETTINGS[number % 2] for number in record.cluster.values]
        assert record.setting.values.tolist() == setting
    else:
        assert "setting" not in record.coords
    if parts == "3":  # dilemmas 0 and 3 share a number
        assert clusters["kindness", 0] == {("en", "aligned"): 2, ("zh", "aligned"): 2,
                                           ("en", "violating"): 1,
                                           ("zh", "violating"): 1}  # fmt: skip
    capsys.readouterr()
    assert main(["estimate", *options, "--format", "json"]) == 0
    _root, recorded, *_ = json.loads(capsys.readouterr().out)["store"]
    files = [f for f in (tmp_path / "run.zarr" / "record").rglob("*") if f.is_file()]
    assert (recorded["name"], recorded["objects"]) == ("record", len(files))


def test_parts_of_an_earlier_version_are_not_gone_on_with(
    run_options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "run.zarr")
    assert main(["locate", *run_options]) == 0
    earlier = {"plan_version": 1, "plan_digest": "0" * 64, "state": "recording"}
    commit(path, earlier)
    Recorder(path).unseal(2)
    capsys.readouterr()
    assert main(["locate", *run_options]) == 2
    assert capsys.readouterr().err == (
        f"error: {path} was made by an earlier version of vxdist, whose parts hold other stories "
        "(plan 1, here 2). Choose another store, or finish it with the vxdist that began it\n"
    )
    assert not vxstore.open(path).record()["sealed"].values[2]
