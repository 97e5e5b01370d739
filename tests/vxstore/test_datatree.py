"""xarray's own way in: one call opens a store whole, as one tree, without a warning."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from unittest import mock

import numpy as np
import pytest
import xarray as xr

import vxstore
from vxdist.asking.outcomes.choice import Choice
from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.vape import Vape, VapeSettings
from vxstore.evaluation import ConditionLabels, DilemmaLabels, create_evaluation
from vxstore.io import arrays
from vxstore.names import names_on_disk
from vxstore.read import Store

MakeStore = Callable[..., str]
SETTINGS = VapeSettings(
    filter_quantile=0.5,
    top_fraction=0.2,
    activation_quantile=0.5,
    min_active_tokens=1,
)
GROUPS: Mapping[str, Callable[[Store], xr.Dataset]] = {
    "/": Store.root,
    "/record": Store.record,
    "/scores/vape": lambda store: store.scores("vape"),
    "/evaluation/choice": lambda store: store.evaluation("choice"),
    "/evaluation/choice/effect": lambda store: store.effect("choice"),
}


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def open_tree(path: str) -> xr.DataTree:
    """A store, all of it read."""
    return xr.open_datatree(path, engine="zarr").load()


def groups_of(tree: xr.DataTree) -> set[str]:
    """Groups that hold anything."""
    return {node.path for node in tree.subtree if node.has_data}


@pytest.fixture(params=[0, 3])
def path(request: pytest.FixtureRequest, make_store: MakeStore) -> str:
    """A complete store, dense and with experts in turn."""
    return make_store(num_experts=request.param)


class TestOpens:
    def test_after_each_stage(self, path: str, add_evaluation: Callable[[str], None]) -> None:
        assert groups_of(open_tree(path)) == {"/", "/record"}
        write_score(path, "vape", Vape(SETTINGS))
        assert groups_of(open_tree(path)) == {"/", "/record", "/scores/vape"}
        add_evaluation(path)
        assert groups_of(open_tree(path)) == set(GROUPS)

    def test_holds_what_vxstore_reads(
        self, path: str, add_evaluation: Callable[[str], None]
    ) -> None:
        write_score(path, "vape", Vape(SETTINGS))
        add_evaluation(path)
        tree, store = open_tree(path), vxstore.open(path)
        for name, read in GROUPS.items():
            names = names_on_disk(name[1:], store.attrs["format_version"])
            expected = read(store).load()
            expected = expected.rename({k: v for k, v in names.items() if k in expected.coords})
            found = tree[name].to_dataset()
            for array, variable in expected.variables.items():
                assert found[array].dims == variable.dims
                np.testing.assert_array_equal(found[array].values, variable.values)

    def test_works_as_a_tree(self, path: str, add_evaluation: Callable[[str], None]) -> None:
        """In a notebook it is shown, and selected from as a whole."""
        write_score(path, "vape", Vape(SETTINGS))
        add_evaluation(path)
        tree = open_tree(path)
        assert "activation_probability" in tree._repr_html_()
        one = tree.isel(layer=1).sel(value="calm", language="zh")
        assert int(one["token_count"]) == 50 + 51
        assert one["record/active_count"].dims == ("part", "neuron")
        assert one["evaluation/choice/masked"].dims == ("condition", "neuron")
        for node in tree.subtree:
            assert node.to_dataset().isel({dim: [0] for dim in node.sizes}).nbytes

    def test_what_is_still_written_is_not_there(
        self, path: str, add_evaluation: Callable[[str], None]
    ) -> None:
        write_score(path, "vape", Vape(SETTINGS))
        with (
            mock.patch.object(arrays, "create_whole", side_effect=KeyboardInterrupt),
            pytest.raises(KeyboardInterrupt),
        ):
            write_score(path, "other", Vape(SETTINGS))
        create_evaluation(
            path,
            "choice",
            conditions=[ConditionLabels(name="intact", kind="intact", mask="", draw=-1)],
            dilemmas=[DilemmaLabels(id="d", value="calm", language="zh")],
            languages=["zh", "en"],
            measures=Choice.arrays,
            labels=Choice.labels,
            masked_CLNG=np.zeros((1, 4, 6, 2), dtype=bool),
            attrs={},
        )
        assert groups_of(open_tree(path)) == {"/", "/record", "/scores/vape"}
        xr.open_zarr(path).load()

    def test_of_an_unfinished_store(self, make_store: MakeStore) -> None:
        tree = open_tree(make_store(record=5))
        assert groups_of(tree) == {"/", "/record"}
        assert int(tree["record/sealed"].sum()) == 5
        assert (tree["active_count"] < 0).all()
