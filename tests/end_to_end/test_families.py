"""Other architectures and number types walk the whole road too."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import vxstore
from vxdist.cli import main


@pytest.mark.parametrize(
    ("family", "dtype"),
    [
        ("gpt2", "float32"),
        ("opt", "float32"),
        ("phi3", "float32"),
        ("gemma3", "bfloat16"),
        ("mixtral", "float32"),
        ("qwen3_moe", "bfloat16"),
    ],
)
def test_the_whole_road(
    run_options: list[str],
    make_model: Callable[[str], Any],
    tokenizer: Any,
    tmp_path: Path,
    family: str,
    dtype: str,
) -> None:
    folder = tmp_path / "model"
    make_model(family).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    options = [*run_options, "--model.path", str(folder), "--model.dtype", dtype]
    assert main(["run", *options]) == 0
    store = vxstore.open(str(tmp_path / "run.zarr"))
    root = store.root().load()
    has_experts = family in ("mixtral", "qwen3_moe")
    sizes = {"layer": 3, "neuron": 48, "value": 3, "language": 2}
    assert dict(root.sizes) == sizes | ({"routed_expert": 4} if has_experts else {})
    tokens = root.token_count
    if has_experts:
        assert (root.routed_count.sum("routed_expert") == 2 * tokens).all()  # 2 experts a token
        tokens = root.routed_count.isel(routed_expert=root.expert).transpose(
            *root.active_count.dims
        )
        assert root.unit.values.tolist() == list(range(12)) * 4
    assert (root.active_count <= tokens).all()
    share = root.active_count.sum() / (tokens + 0 * root.active_count).sum()
    assert 0.1 < share < 0.9
    shift = store.effect("choice").mean_shift.values
    assert np.isfinite(shift).all()
    assert np.abs(shift).max() > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = xr.open_datatree(store.path, engine="zarr").load()
    assert tree["record/sealed"].all()
    assert (tree["evaluation/choice/effect/mean_shift"].values == shift).all()
    assert tree["scores/vape"].scored_language.values.tolist() == ["en", "zh", "pooled"]
