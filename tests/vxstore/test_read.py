"""Opening a store: without a warning, as the design says, and nothing that is not one."""

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

import vxstore
from vxstore.errors import StoreError
from vxstore.schema import FORMAT_VERSION

MakeStore = Callable[..., str]
ROOT_ARRAYS = {
    "active_count": (("layer", "neuron", "value", "language"), "int64"),
    "activation_sum": (("layer", "neuron", "value", "language"), "float64"),
    "activation_square_sum": (("layer", "neuron", "value", "language"), "float64"),
    "token_count": (("value", "language"), "int64"),
    "story_count": (("value", "language"), "int64"),
}
RECORD_ARRAYS = {
    "active_count": (("part", "layer", "neuron"), "int32"),
    "activation_sum": (("part", "layer", "neuron"), "float32"),
    "activation_square_sum": (("part", "layer", "neuron"), "float32"),
    "token_count": (("part",), "int64"),
    "story_count": (("part",), "int32"),
    "sealed": (("part",), "bool"),
}


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def layout(dataset: xr.Dataset) -> dict[str, tuple[tuple[str, ...], str]]:
    """Dimensions and type of every array."""
    return {str(name): (array.dims, str(array.dtype)) for name, array in dataset.items()}  # type: ignore[misc]


class TestLayout:
    def test_root_opens_bare(self, full_store: str) -> None:
        root = xr.open_zarr(full_store).load()
        assert layout(root) == ROOT_ARRAYS
        assert set(root.coords) == {"layer", "neuron", "value", "language"}
        assert root.value.values.tolist() == ["calm", "zeal", "thrift"]
        assert root.language.values.tolist() == ["zh", "en"]
        assert root.neuron.values.tolist() == list(range(6))

    def test_root_opens_bare_before_anything_was_derived(self, make_store: MakeStore) -> None:
        assert layout(xr.open_zarr(make_store()).load()) == ROOT_ARRAYS

    def test_record(self, full_store: str) -> None:
        record = vxstore.open(full_store).record().load()
        assert layout(record) == RECORD_ARRAYS
        assert record.sizes == {"part": 12, "layer": 4, "neuron": 6}
        for label in ("value", "language", "stance"):
            assert record[label].dims == ("part",)
            assert label in record.coords
        assert record.stance.values.tolist() == ["aligned", "violating"] * 6
        assert record.language.values.tolist() == ["zh", "zh", "en", "en"] * 3

    def test_scores_and_evaluation(self, full_store: str) -> None:
        store = vxstore.open(full_store)
        scores = store.scores("vape").load()
        assert layout(scores)["entropy"] == (("layer", "neuron", "language"), "float64")
        assert scores.language.values.tolist() == ["zh", "en", "pooled"]
        evaluation = store.evaluation("choice").load()
        assert layout(evaluation)["log_odds"] == (("condition", "dilemma", "order"), "float64")
        assert evaluation.kind.values.tolist() == ["intact", "mask"]
        assert store.effect("choice").load().mean_shift.dims == ("mask", "value", "language")

    def test_everything_says_what_it_is(self, full_store: str) -> None:
        store = vxstore.open(full_store)
        for dataset in (
            store.root(),
            store.record(),
            store.scores("vape"),
            store.effect("choice"),
            store.evaluation("choice"),
        ):
            for name, array in dataset.variables.items():
                assert array.attrs["long_name"], name
            for name, data in dataset.items():
                assert data.attrs["units"], name

    def test_no_fill_value_hides_a_count(self, full_store: str) -> None:
        for file in Path(full_store).rglob("zarr.json"):
            assert "_FillValue" not in json.loads(file.read_text()).get("attributes", {}), file

    def test_labels_may_be_of_any_script(self, make_store: MakeStore) -> None:
        values = ["富强", "عدل", "a/b/../c", "[bold]x"]
        root = xr.open_zarr(make_store(values=values)).load()
        assert root.value.values.tolist() == values
        assert int(root.token_count.sel(value="عدل", language="zh")) == 54 + 55


class TestUnfinished:
    def test_root_is_refused_and_the_record_is_not(self, make_store: MakeStore) -> None:
        store = vxstore.open(make_store(record=5))
        assert not store.complete
        with pytest.raises(StoreError, match="7 of 12 parts are missing"):
            store.root()
        assert int(store.record().sealed.sum()) == 5

    @pytest.mark.parametrize("kind", ["scores", "evaluation"])
    def test_a_name_that_is_not_there(self, make_store: MakeStore, kind: str) -> None:
        store = vxstore.open(make_store())
        assert store.names(kind) == []
        with pytest.raises(StoreError, match=rf"no finished {kind}/vape \(there: none\)"):
            getattr(store, kind)("vape")

    def test_known_names_are_listed(self, full_store: str) -> None:
        store = vxstore.open(full_store)
        assert (store.names("scores"), store.names("evaluation")) == (["vape"], ["choice"])
        for name in ("lape", "", "../record", "vape/entropy"):
            with pytest.raises(StoreError, match=r"\(there: vape\)"):
                store.scores(name)


def write_root(folder: Path, text: str) -> str:
    """A folder whose zarr.json holds `text`."""
    (folder / "zarr.json").write_text(text)
    return str(folder)


def group_meta(attributes: Any) -> str:
    """zarr.json of a group with these attributes."""
    return json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes})


class TestRefusals:
    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match=r"no store at .*vxdist locate"):
            vxstore.open(str(tmp_path / "none.zarr"))

    @pytest.mark.parametrize(
        "text",
        [
            "", "{", "[]", "null", "7", '"group"', "{}", "\x00\xff",
            '{"zarr_format": 2, "node_type": "group"}',
            '{"zarr_format": 3, "node_type": "other"}',
            group_meta({}),
            group_meta([]),
            group_meta({"format": "other", "format_version": 1}),
            group_meta({"format": "vxstore"}),
            group_meta({"format": "vxstore", "format_version": None}),
            group_meta({"format": "vxstore", "format_version": "1"}),
            group_meta({"format": "vxstore", "format_version": 1}),
        ],
    )  # fmt: skip
    def test_not_a_store(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(StoreError) as caught:
            _ = vxstore.open(write_root(tmp_path, text)).complete
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_file_and_an_array(self, tmp_path: Path, full_store: str) -> None:
        file = tmp_path / "notes.txt"
        file.write_text("notes")
        for path in (str(file), f"{full_store}/active_count", f"{full_store}/record"):
            with pytest.raises(StoreError, match=r"not a (readable )?vxstore"):
                vxstore.open(path)

    def test_zarr_2(self, tmp_path: Path) -> None:
        zarr.open_group(str(tmp_path / "old"), mode="w", zarr_format=2)
        with pytest.raises(StoreError, match="not a vxstore"):
            vxstore.open(str(tmp_path / "old"))

    def test_a_newer_format(self, tmp_path: Path) -> None:
        newer = {"format": "vxstore", "format_version": FORMAT_VERSION + 1, "state": "complete"}
        with pytest.raises(StoreError, match=r"store format 5.*reads up to 4.*newer vxdist"):
            vxstore.open(write_root(tmp_path, group_meta(newer)))

    def test_an_unknown_attribute_is_no_reason(self, make_store: MakeStore) -> None:
        path = make_store(attrs={"seen_by": "a later version"})
        assert vxstore.open(path).complete
        assert np.asarray(vxstore.open(path).root().token_count).dtype == np.dtype("int64")
