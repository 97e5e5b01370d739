"""What an operating system leaves in a store's folders is named in one line, else passed over."""

import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import xarray as xr

import vxstore
from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.vape import Vape, VapeSettings
from vxstore.check.store import check, repair
from vxstore.cli.main import main
from vxstore.errors import StoreError
from vxstore.finalise import finalise
from vxstore.identity import holds_store
from vxstore.io.storage import is_foreign
from vxstore.write import PartCounts, PartLabels, Recorder, create

NAMES = (".DS_Store", "._zarr.json", "Thumbs.db", "desktop.ini")


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def leave_files(path: str) -> int:
    """Leave them in every folder; how many."""
    folders = [path, *(str(found) for found in Path(path).rglob("*") if found.is_dir())]
    for folder in folders:
        for name in NAMES:
            (Path(folder) / name).write_bytes(b"\0\0\0\1Bud1")
    (Path(path) / ".fseventsd").mkdir()
    (Path(path) / ".fseventsd" / "zarr.json").write_text("{}")
    return len(folders) * len(NAMES) + 1


@pytest.fixture
def touched(full_store: str, tmp_path: Path) -> str:
    """A finished store that was looked at."""
    path = str(shutil.copytree(full_store, tmp_path / "s.zarr"))
    leave_files(path)
    return path


def test_all_is_read(touched: str, full_store: str) -> None:
    store, untouched = vxstore.open(touched), vxstore.open(full_store)
    assert store.names("scores") == ["vape"]
    assert store.root().load().identical(untouched.root().load())
    assert store.record().load().identical(untouched.record().load())
    assert store.scores("vape").load().identical(untouched.scores("vape").load())
    assert store.evaluation("choice").load().identical(untouched.evaluation("choice").load())
    assert store.effect("choice").load().identical(untouched.effect("choice").load())
    assert repr(store).count("vape") == 1


def test_xarray_opens_it(touched: str) -> None:
    xr.open_zarr(touched).load()
    tree = xr.open_datatree(touched, engine="zarr").load()
    assert tree["scores/vape"].has_data
    assert ".fseventsd" not in tree


def test_one_line_of_a_check(
    make_store: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_store()
    count = leave_files(path)
    report = check(path)
    assert report.findings == []
    (note,) = report.notes
    assert note.startswith(f"{count} files that are not the store's own, such as .DS_Store")
    assert main(["check", path]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count(".DS_Store") == 1


def test_damage_is_named_all_the_same(touched: str) -> None:
    (Path(touched) / "value/c/0").write_bytes(b"")
    assert [finding.array for finding in check(touched).findings] == ["value"]
    with pytest.raises(StoreError, match="only a copy"):
        repair(touched, check(touched))


def test_a_run_goes_on_beside_them(
    make_store: Callable[..., str],
    make_counts: Callable[..., PartCounts],
) -> None:
    path = make_store(record=11)
    leave_files(path)
    Recorder(path).write_part(11, make_counts(11, 4, 6, tokens=61))
    finalise(path)
    settings = VapeSettings(
        filter_quantile=0.5,
        top_fraction=0.2,
        activation_quantile=0.5,
        min_active_tokens=1,
    )
    write_score(path, "vape", Vape(settings))
    leave = Path(path) / "scores" / "vape" / ".DS_Store"
    leave.write_text("")
    write_score(path, "vape", Vape(settings))
    assert vxstore.open(path).root().load().equals(vxstore.open(make_store()).root().load())
    assert check(path).findings == []


def test_a_folder_of_hidden_files_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("years of work")
    with pytest.raises(StoreError, match="not a vxstore"):
        holds_store(str(tmp_path))


def test_a_folder_made_in_the_finder_is_empty(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_text("")
    assert not holds_store(str(tmp_path))
    part = PartLabels(value="calm", language="zh", stance="aligned")
    create(
        str(tmp_path),
        num_layers=1,
        num_neurons=2,
        values=["calm"],
        languages=["zh"],
        parts=[part],
        attrs={},
    )
    assert holds_store(str(tmp_path))


@pytest.mark.parametrize("name", [*NAMES, "a/.DS_Store", ".fseventsd/x/y"])
def test_foreign(name: str) -> None:
    assert is_foreign(name)


@pytest.mark.parametrize("name", ["zarr.json", "scores/vape/zarr.json", "c/0/0", "a.b", "Thumbs"])
def test_not_foreign(name: str) -> None:
    assert not is_foreign(name)
