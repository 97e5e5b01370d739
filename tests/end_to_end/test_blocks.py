"""A model whose layers differ, with a shared expert beside routed ones, walks the whole road."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import vxstore
from vxdist.cli import main
from vxstore.check.store import check
from vxstore.experts import tokens_given


def test_the_whole_road(
    run_options: list[str], make_model: Callable[[str], Any], tokenizer: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    make_model("deepseek_v3").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    assert main(["run", *run_options, "--model.path", str(folder)]) == 0
    store = vxstore.open(str(tmp_path / "run.zarr"))
    assert store.attrs["format_version"] == 4
    root = store.root().load()
    assert (root.sizes["layer"], root.sizes["neuron"], root.sizes["routed_expert"]) == (3, 60, 4)
    assert (root.block.values == -1).sum() == 20
    assert (root.routed_count.sum("routed_expert").isel(layer=[1, 2]) == 2 * root.token_count).all()
    assert int(root.routed_count.isel(layer=0).sum()) == 0
    given_LNVG = tokens_given(root, slice(None))
    active_LNVG = root.active_count.transpose("layer", "neuron", "value", "language").values
    assert (active_LNVG <= given_LNVG).all()
    assert 0.1 < active_LNVG.sum() / given_LNVG.sum() < 0.9
    selected = store.scores("vape").selected
    assert int(selected.sum()) > 0
    assert not selected.where(root.block == -1, False).any()
    masked = store.evaluation("choice").masked
    assert not masked.where(root.block == -1, False).any()
    shift = store.effect("choice").mean_shift.values
    assert np.isfinite(shift).all()
    assert np.abs(shift).max() > 0
    assert check(store.path).findings == []
    pages = [file.read_text() for file in tmp_path.rglob("*.html")]
    assert any("L1/B" in page or "L0/B0/U" in page for page in pages)
