"""Other architectures and number types walk the whole road too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vxstore
from vxdist.cli import main


@pytest.mark.parametrize(
    ("family", "dtype"),
    [("gpt2", "float32"), ("opt", "float32"), ("phi3", "float32"), ("gemma3", "bfloat16")],
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
    assert dict(root.sizes) == {"layer": 3, "neuron": 48, "value": 3, "language": 2}
    share = root.active_count.sum() / (root.token_count.sum() * 3 * 48)
    assert 0.1 < share < 0.9
    shift = store.effect("choice").mean_shift.values
    assert np.isfinite(shift).all()
    assert np.abs(shift).max() > 0
