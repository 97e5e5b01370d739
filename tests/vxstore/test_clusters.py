"""Which parts tell the same dilemmas, as a store holds it and as it is read."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

import vxstore
from vxstore.check.findings import RESTORE
from vxstore.check.store import check
from vxstore.cli.main import main
from vxstore.errors import StoreError
from vxstore.finalise import finalise
from vxstore.io.metadata import commit
from vxstore.write import PartCounts, PartLabels, Recorder, create

DATA = Path(__file__).parents[1] / "data"
CLUSTERS, SETTINGS = (2, 0, 2, 0), ("sea", "hill", "sea", "hill")


@pytest.fixture
def make(tmp_path: Path, make_counts: Callable[..., PartCounts]) -> Callable[..., str]:
    """A complete store with four parts, of these clusters and settings."""

    def build(clusters: Sequence[int | None] = CLUSTERS, settings: Sequence[str] = SETTINGS) -> str:
        path = str(tmp_path / "run.zarr")
        shutil.rmtree(path, ignore_errors=True)
        parts = [
            PartLabels(value="calm", language=g, stance="aligned", cluster=c, setting=s)
            for g, c, s in zip(("zh", "zh", "en", "en"), clusters, settings, strict=True)
        ]
        create(path, num_layers=2, num_neurons=3, values=["calm"], languages=["zh", "en"],
               parts=parts, attrs={"model": "tiny"})  # fmt: skip
        recorder = Recorder(path)
        for part in range(4):
            recorder.write_part(part, make_counts(part, 2, 3))
        finalise(path)
        return path

    return build


def replace_clusters(path: str, data: Sequence[int], dtype: str, dims: tuple[str, ...]) -> None:
    """Another `cluster`, vouched for as if it had been written so."""
    commit(path, {}, without=["record/cluster"])
    record = zarr.open_group(f"{path}/record", mode="r+")
    record.create_array("cluster", data=np.array(data, dtype=dtype), dimension_names=dims,
                        overwrite=True)  # fmt: skip
    commit(path, {})


def test_is_a_coordinate_in_memory_and_a_plain_array_on_disk(make: Callable[..., str]) -> None:
    path = make()
    for at in (path, Path(path)):
        record = vxstore.open(str(at)).record()
        assert record.cluster.values.tolist() == list(CLUSTERS)
        assert record.cluster.dtype == np.int32
        assert "cluster" in record.coords
        assert record.setting.values.tolist() == list(SETTINGS)
    group: Any = zarr.open_group(f"{path}/record", mode="r")
    assert group.attrs["coordinates"].split() == ["part_value", "part_language", "stance",
                                                  "setting"]  # fmt: skip
    cluster = group["cluster"]
    assert (cluster.dtype, cluster.metadata.dimension_names) == (np.int32, ("part",))
    assert {"units", "long_name"} <= set(cluster.attrs)
    vouched = json.loads((Path(path) / "zarr.json").read_text())["attributes"]["metadata_digests"]
    assert {"record/cluster/zarr.json", "record/setting/zarr.json"} <= set(vouched)
    tree = xr.open_datatree(path, engine="zarr").load()
    assert tree["record/cluster"].values.tolist() == list(CLUSTERS)
    assert not check(path).findings


def test_is_there_while_parts_are_recorded(make: Callable[..., str]) -> None:
    path = make()
    commit(path, {"state": "recording"})
    Recorder(path).unseal(1)
    assert vxstore.open(path).record().cluster.values.tolist() == list(CLUSTERS)


@pytest.mark.parametrize(
    ("clusters", "settings", "held"),
    [
        ((0, 1, None, 1), SETTINGS, {"setting"}),
        (CLUSTERS, ("sea", "", "sea", "hill"), {"cluster"}),
        ((None,) * 4, ("",) * 4, set()),
    ],
)
def test_is_written_only_if_every_part_has_one(
    make: Callable[..., str],
    clusters: Sequence[int | None],
    settings: Sequence[str],
    held: set[str],
) -> None:
    path = make(clusters, settings)
    assert {"cluster", "setting"} & {*vxstore.open(path).record().variables} == held
    assert not check(path).findings


@pytest.mark.parametrize("number", [-1, 2**31])
def test_a_number_that_cannot_be_is_not_written(make: Callable[..., str], number: int) -> None:
    with pytest.raises(ValueError, match=f"part 3: cluster {number} is not from 0 to"):
        make((0, 1, 0, number))


@pytest.mark.parametrize(
    ("data", "dtype", "dims", "told"),
    [
        ([0, -3, 0, 1], "int32", ("part",), "cluster: found -3 for part 1, expected a number fro"),
        ([0, 2, 0, 2], "int64", ("part",), "cluster: found int64 by part, expected int32 by part"),
        ([0, 2, 0, 2], "float32", ("part",), "cluster: found float32 by part, expected int32"),
        ([0, 2, 0], "int32", ("part",), "length 3 on 'cluster'"),
        ([0, 2, 0], "int32", ("neuron",), "cluster: found int32 by neuron, expected int32 by part"),
    ],
)
def test_damaged_ones_are_refused_in_a_line(
    make: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    data: Sequence[int],
    dtype: str,
    dims: tuple[str, ...],
    told: str,
) -> None:
    path = make()
    replace_clusters(path, data, dtype, dims)
    store = vxstore.open(path)
    with pytest.raises(StoreError, match=re.escape(told)) as caught:
        store.record()
    assert "\n" not in str(caught.value)
    assert store.root().load().sizes["neuron"] == 3
    (finding,) = check(path).findings
    assert told in finding.what
    assert finding.fix == RESTORE
    assert main(["check", path]) == 2
    assert "can only be restored from a copy" in capsys.readouterr().err


def test_a_lost_chunk_is_damage(make: Callable[..., str]) -> None:
    for complete in (True, False):
        path = make()
        shutil.rmtree(f"{path}/record/cluster/c")
        if not complete:
            commit(path, {"state": "recording"})
        with pytest.raises(StoreError, match="cluster"):
            vxstore.open(path).record()
        assert {finding.fix for finding in check(path).findings} == {RESTORE}


@pytest.mark.parametrize("name", ["format1", "format2", "format3", "format3_experts"])
def test_stores_of_earlier_versions_have_none(name: str) -> None:
    record = vxstore.open(str(DATA / f"{name}.zarr")).record().load()
    assert not {"cluster", "setting"} & {*record.variables}
