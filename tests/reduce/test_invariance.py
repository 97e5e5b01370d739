"""What a score must not depend on: the size of blocks, threads, the order of parts and languages.

The record has few tokens and three languages, so that clusters tie, in a neuron and in the sums
over languages.
"""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import vxstore
from tests.reduce.stores import write_record
from tests.stats.generators import Synthetic, twins
from vxdist.reduce import blocks, clusters
from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.claimed import Contrast, ContrastSettings
from vxdist.reduce.testing import TESTS
from vxdist.reduce.testing import Testing as Settings
from vxdist.stats import tested
from vxstore import schema

LANGUAGES = ("en", "zh", "fr")
TESTING = Settings(shuffles=20, halves=2)
NULL = ("any_rate", "mean_selected", "levels")


@pytest.fixture(scope="module", autouse=True)
def few_values_are_enough() -> None:
    """Have three values stand out among each other, so that level 2 is looked at too."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (clusters, tested):
            patch.setattr(module, "LEAST_LABELS", 3)
        yield


@pytest.fixture(scope="module")
def records() -> dict[str, Synthetic]:
    """The record of each language."""
    rng = np.random.default_rng(87)
    return {
        name: twins(
            rng, neurons=400, values=3, clusters=7, alone=0.2, tokens=60, planted=60, delta=2.0
        )
        for name in LANGUAGES
    }


@pytest.fixture(scope="module")
def path(records: dict[str, Synthetic], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The records as a store."""
    return write_record(str(tmp_path_factory.mktemp("plain") / "s.zarr"), records, layers=4)


def scored(path: str, name: str, threads: int | None = 1) -> xr.Dataset:
    """Score a store, and read the score."""
    selector = Contrast(ContrastSettings())
    write_score(path, name, selector, kind="contrast", testing=TESTING, threads=threads)
    return vxstore.open(path).scores(name).load()


@pytest.fixture(scope="module")
def plain(path: str) -> xr.Dataset:
    """The score that the others are compared with."""
    found = scored(path, "plain")
    tests = found.attrs["tests"]
    assert [tests[name]["absent"] for name in (*LANGUAGES, "pooled")] == [{}] * 4, "all is tested"
    assert any(tests[name]["found"]["4"]["assignments"] for name in LANGUAGES)
    return found


def check_same(found: xr.Dataset, plain: xr.Dataset) -> None:
    """Compare all arrays and what was selected."""
    found = found.sel(language=plain.language.values)
    for name in TESTS:
        np.testing.assert_allclose(found[name], plain[name], rtol=0, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(found.selected, plain.selected)
    for language in plain.language.values.tolist():
        assert found.attrs["tests"][language]["found"] == plain.attrs["tests"][language]["found"]


def check_same_null(found: xr.Dataset, plain: xr.Dataset) -> None:
    """Compare what was found under shuffled labels."""
    for language, null in plain.attrs["null"].items():
        other = found.attrs["null"][language]
        assert {key: other[key] for key in NULL} == {key: null[key] for key in NULL}


def test_blocks(path: str, plain: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """One layer is read and written at a time, and 64 neurons of it are tested at a time.

    Of the parts, five are read at a time, of whichever languages.
    """
    monkeypatch.setattr(schema, "CHUNK_BYTES", 1)
    monkeypatch.setattr(blocks, "PARTS_AT_ONCE", 5)
    monkeypatch.setattr(blocks, "TILE_NUMBERS", 1)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
    found = scored(path, "blocks")
    assert found.q_value.encoding["chunks"][0] == 1
    check_same(found, plain)
    check_same_null(found, plain)


def test_threads(path: str, plain: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four at once, over tiles that do not end where layers do."""
    monkeypatch.setattr(blocks, "TILE_NUMBERS", 1)
    found = scored(path, "threads", threads=4)
    check_same(found, plain)
    check_same_null(found, plain)


def test_order_of_parts_and_languages(
    records: dict[str, Synthetic], plain: xr.Dataset, tmp_path: Path
) -> None:
    """The same parts, in any order, and the languages in another one."""
    path = write_record(
        str(tmp_path / "s.zarr"),
        {name: records[name] for name in ("fr", "en", "zh")},
        layers=4,
        order=np.random.default_rng(1),
    )
    found = scored(path, "plain")
    assert found.language.values.tolist() != plain.language.values.tolist()
    check_same(found, plain)
    check_same_null(found, plain)
