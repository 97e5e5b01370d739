"""A model whose layers differ, with a shared expert beside routed ones, walks the whole road."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vxstore
from vxdist.cli import main
from vxstore.check.store import check
from vxstore.experts import tokens_given
from vxstore.read import Store


@pytest.fixture
def options(
    run_options: list[str], make_model: Callable[[str], Any], tokenizer: Any, tmp_path: Path
) -> list[str]:
    """Settings of a run with the model, into `run.zarr`."""
    make_model("deepseek_v3").save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return [*run_options, "--model.path", str(tmp_path / "model")]


def check_counts(store: Store) -> None:
    """Counts are of the tokens that each block was given, and of neurons that exist."""
    assert store.attrs["format_version"] == 4
    root = store.root().load()
    assert (root.sizes["layer"], root.sizes["neuron"], root.sizes["routed_expert"]) == (3, 60, 4)
    assert (root.block.values == -1).sum() == 20
    routed = root.routed_count.sum("routed_expert")
    assert (routed.isel(layer=[1, 2]) == 2 * root.token_count).all()
    assert int(routed.isel(layer=0).sum()) == 0
    given_LNVG = tokens_given(root, slice(None))
    active_LNVG = root.active_count.transpose("layer", "neuron", "value", "language").values
    assert (active_LNVG <= given_LNVG).all()
    assert 0.1 < active_LNVG.sum() / given_LNVG.sum() < 0.9
    assert check(store.path).findings == []


def test_it_is_recorded(options: list[str], tmp_path: Path) -> None:
    assert main(["locate", *options]) == 0
    check_counts(vxstore.open(str(tmp_path / "run.zarr")))


@pytest.mark.long
def test_layers_without_neurons_are_recorded(
    run_options: list[str], make_model: Callable[[str], Any], tokenizer: Any, tmp_path: Path
) -> None:
    """Layer 0 of this Nemotron-H is a state-space layer alone."""
    make_model("nemotron_h").save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    assert main(["run", *run_options, "--model.path", str(tmp_path / "model")]) == 0
    store = vxstore.open(str(tmp_path / "run.zarr"))
    root = store.root().load()
    assert (root.block.values == -1).sum(1).tolist() == [68, 0, 28]
    active_L = root.active_count.sum(("neuron", "value", "language")).values
    assert (active_L > 0).tolist() == [False, True, True]
    assert not store.scores("vape").selected.isel(layer=0).any()
    assert check(store.path).findings == []


@pytest.mark.long
def test_the_whole_road(options: list[str], tmp_path: Path) -> None:
    assert main(["run", *options]) == 0
    assert main(["attribute", *options]) == 0
    store = vxstore.open(str(tmp_path / "run.zarr"))
    check_counts(store)
    root = store.root()
    selected = store.scores("vape").selected
    assert int(selected.sum()) > 0
    for chosen in (selected, store.evaluation("choice").masked):
        assert not chosen.where(root.block == -1, False).any()
    shift = store.effect("choice").mean_shift.values
    assert np.isfinite(shift).all()
    assert np.abs(shift).max() > 0
    (name,) = store.names("attribution")
    summed = store.attribution(name).attribution_sum
    assert float(np.abs(summed.where(root.block == 1, 0)).max()) > 0
    assert float(np.abs(summed.where(root.block == -1, 0)).max()) == 0
    pages = [file.read_text() for file in tmp_path.rglob("*.html")]
    assert any("/B0/U" in page or "/B1/E" in page for page in pages)
