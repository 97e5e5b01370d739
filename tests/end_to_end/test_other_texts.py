"""A part that was sealed with other tokens than planned is found, un-sealed, and recorded again."""

from pathlib import Path

import numpy as np
import pytest

import vxstore
from vxdist.cli import main
from vxstore.check.findings import RERECORD
from vxstore.check.store import check
from vxstore.cli.main import main as ask
from vxstore.io import arrays
from vxstore.io.metadata import commit
from vxstore.statistics import DEFAULT
from vxstore.write import PartCounts, Recorder

PART = 3


def seal_with(path: str, **counts: int) -> None:
    """Have a part hold other counts, as a rank that read other texts would have sealed it."""
    record = arrays.open_group(path, "record", mode="r+")
    for name, count in counts.items():
        array = arrays.get_array(record, name)
        arrays.write_region(array, PART, np.asarray(count, dtype=array.dtype))


@pytest.mark.parametrize("complete", [True, False])
def test_it_is_recorded_again(
    run_options: list[str], tmp_path: Path, complete: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["locate", *run_options]) == 0
    path = str(tmp_path / "run.zarr")
    expected = vxstore.open(path).record().load()
    tokens = int(expected.token_count[PART])
    if not complete:
        commit(path, {"state": "recording"})
    seal_with(path, token_count=tokens + 7, story_count=int(expected.story_count[PART]) + 1)
    assert main(["locate", *run_options]) == (0 if complete else 2)
    assert complete or "--repair`, then `vxdist locate`" in capsys.readouterr().err

    findings = [f for f in check(path).findings if f.part is not None]
    assert {(f.array, f.part, f.fix) for f in findings} == {
        ("record/token_count", PART, RERECORD),
        ("record/story_count", PART, RERECORD),
    }
    assert findings[0].what == f"sealed with {tokens + 7}, and {tokens} were planned"
    assert ask(["check", path, "--repair"]) == 0
    assert Recorder(path).sealed().tolist() == [part != PART for part in range(24)]
    assert main(["locate", *run_options]) == 0
    assert "resuming: 1 of 24 parts are missing" in capsys.readouterr().out
    assert vxstore.open(path).record().load().equals(expected)
    assert not check(path).findings


def test_a_part_of_other_tokens_is_not_sealed(run_options: list[str], tmp_path: Path) -> None:
    assert main(["locate", *run_options]) == 0
    path = str(tmp_path / "run.zarr")
    recorder = Recorder(path)
    recorder.unseal(PART)
    shape = vxstore.open(path).root().active_count.shape[:2]
    for tokens, stories, name in ((1, 2, "token_count"), (recorder_tokens(path), 9, "story_count")):
        counts = PartCounts(
            statistics=dict.fromkeys(DEFAULT, np.zeros(shape, dtype="int32")),
            token_count=tokens,
            story_count=stories,
        )
        with pytest.raises(ValueError, match=f"part {PART}: {name} of .* were planned for it"):
            recorder.write_part(PART, counts)
    assert not recorder.sealed()[PART]


def recorder_tokens(path: str) -> int:
    """Tokens that are planned for the part."""
    planned = arrays.open_group(path, "record").attrs["planned_token_counts"]
    assert isinstance(planned, list)
    return int(planned[PART])


def test_a_store_that_does_not_say_what_was_planned(
    run_options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stores of earlier versions: nothing is checked, all else works."""
    monkeypatch.setattr("vxstore.write.PLANNED", {})
    assert main(["locate", *run_options]) == 0
    path = str(tmp_path / "run.zarr")
    assert "planned_token_counts" not in arrays.open_group(path, "record").attrs
    assert not check(path).findings
