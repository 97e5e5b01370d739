"""Datasets select, group and plot as those of other sources; a store says what it is."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import vxstore
from vxstore import read
from vxstore.read import Store

MakeStore = Callable[..., str]
READS: tuple[Callable[[Store], xr.Dataset], ...] = (
    Store.root,
    Store.record,
    lambda store: store.scores("vape"),
    lambda store: store.evaluation("choice"),
    lambda store: store.effect("choice"),
    lambda store: store.unfinished_evaluation("choice"),
)


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


class TestLabels:
    @pytest.mark.parametrize("at", range(len(READS)))
    def test_are_of_a_type_that_xarray_plots(self, full_store: str, at: int) -> None:
        dataset = READS[at](vxstore.open(full_store))
        for name, labels in dataset.coords.items():
            assert labels.dtype.kind in "iU", name
            assert labels.attrs["long_name"], name

    def test_select(self, full_store: str) -> None:
        root = vxstore.open(full_store).root()
        one = root.sel(value="calm", language="zh")
        assert int(one.token_count) == 50 + 51
        assert one.value.dtype.kind == "U"
        assert root.sel(value=["zeal", "calm"]).token_count.sizes == {"value": 2, "language": 2}
        with pytest.raises(KeyError):
            root.sel(value="cal")

    def test_group_and_tabulate(self, full_store: str) -> None:
        record = vxstore.open(full_store).record().load()
        by_value = record.token_count.groupby("value").sum()
        assert by_value.sel(value="thrift").item() == 58 + 59 + 60 + 61
        frame = record.token_count.to_dataframe()
        assert frame[frame.language == "zh"].token_count.sum() == 50 + 51 + 54 + 55 + 58 + 59
        table = vxstore.open(full_store).root().token_count.to_pandas()
        assert table.loc["calm", "zh"] == 50 + 51

    def test_align_with_ordinary_labels(self, full_store: str) -> None:
        counts = vxstore.open(full_store).root().token_count
        weights = xr.DataArray([2, 3], dims="value", coords={"value": ["zeal", "calm"]})
        assert (counts * weights).sel(value="calm", language="zh").item() == 3 * (50 + 51)

    @pytest.mark.parametrize("at", range(len(READS)))
    def test_are_written_again(self, full_store: str, at: int, tmp_path: Path) -> None:
        """A dataset, or what was selected from it, goes into a Zarr store of one's own."""
        dataset = READS[at](vxstore.open(full_store))
        dataset.to_zarr(tmp_path / "mine.zarr", consolidated=False)
        assert xr.open_zarr(tmp_path / "mine.zarr", consolidated=False).equals(dataset)

    @pytest.mark.parametrize("value", ["富强", "عدل", "a" * 100, "🙂"])
    def test_of_any_script_and_length(self, make_store: MakeStore, value: str) -> None:
        root = vxstore.open(make_store(values=[value, "b"], shape=(1, 2))).root()
        assert root.value.values.tolist() == [value, "b"]
        assert root.token_count.sel(value=value, language="zh").item() == 50 + 51

    def test_one_that_is_huge_is_not_padded_to(self, make_store: MakeStore) -> None:
        """A thousand labels of a megabyte each would be asked for, where one of them is so long."""
        path = make_store()
        with mock.patch.object(read, "LARGEST_CHUNK", 4 * len("thrift") * 3 - 1):
            root = vxstore.open(path).root()
        assert root.value.values.tolist() == ["calm", "zeal", "thrift"]
        assert root.value.dtype.kind == "O"


@given(labels=st.lists(st.text("ab 富🙂", max_size=4), max_size=5))
def test_no_label_is_changed(labels: list[str]) -> None:
    given_labels = np.array(labels, dtype=np.dtypes.StringDType())
    assert read.as_unicode(given_labels).tolist() == labels


class TestPlots:
    @pytest.fixture
    def probability(self, full_store: str) -> Iterator[xr.DataArray]:
        matplotlib = pytest.importorskip("matplotlib")
        matplotlib.use("agg")
        import matplotlib.pyplot as plt

        yield vxstore.open(full_store).scores("vape").activation_probability
        plt.close("all")

    def test_over_values(self, probability: xr.DataArray) -> None:
        one = probability.isel(layer=0, neuron=1)
        (line,) = one.sel(language="zh").plot()  # type: ignore[call-overload]
        assert line.get_xdata().tolist() == ["calm", "zeal", "thrift"]

    def test_over_layers_and_values(self, probability: xr.DataArray) -> None:
        probability.isel(neuron=0).sel(language="pooled").plot()  # type: ignore[call-arg]

    def test_facets(self, probability: xr.DataArray) -> None:
        grid = probability.isel(neuron=0).plot(x="layer", hue="value", col="language")  # type: ignore[call-arg]
        assert [text.get_text() for text in grid.figlegend.texts] == ["calm", "zeal", "thrift"]

    def test_effects(self, full_store: str) -> None:
        matplotlib = pytest.importorskip("matplotlib")
        matplotlib.use("agg")
        effect = vxstore.open(full_store).effect("choice")
        effect.mean_shift.isel(mask=0).plot()  # type: ignore[call-arg]


class TestRepr:
    def test_of_a_complete_store(self, full_store: str) -> None:
        assert repr(vxstore.open(full_store)).splitlines() == [
            f"<vxstore.Store {full_store!r}>",
            "  model:       tiny (float32)",
            "  neurons:     4 layers x 6",
            "  values:      calm, zeal, thrift",
            "  languages:   zh, en",
            "  state:       complete",
            "  scores:      vape",
            "  evaluations: choice",
        ]

    def test_of_experts_and_of_an_unfinished_store(self, make_store: MakeStore) -> None:
        assert "4 layers x 3 experts x 2\n" in repr(vxstore.open(make_store(num_experts=3)))
        shown = repr(vxstore.open(make_store(record=5)))
        assert "5 of 12 parts recorded\n" in shown
        assert shown.endswith("  scores:      none\n  evaluations: none")

    def test_of_hostile_labels(self, make_store: MakeStore) -> None:
        """Nothing that a terminal obeys is shown."""
        shown = repr(vxstore.open(make_store(values=["a\x1b[31m", "b\nc"], shape=(1, 2))))
        assert "a[31m, b c\n" in shown
        assert "\x1b" not in shown

    def test_of_damage(self, make_store: MakeStore) -> None:
        """A notebook shows it, and does not stop."""
        path = make_store()
        store = vxstore.open(path)
        (Path(path) / "value/c/0").unlink()
        shown = repr(store)
        assert shown.startswith(f"<vxstore.Store {path!r}: ")
        assert "missing" in shown
