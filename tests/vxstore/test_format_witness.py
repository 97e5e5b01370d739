"""Law 7: a store written by an earlier version opens for ever."""

from pathlib import Path

import numpy as np

import vxstore

WITNESS = Path(__file__).parents[1] / "data" / "format1.zarr"


def test_the_first_store_still_opens() -> None:
    store = vxstore.open(str(WITNESS))
    assert store.attrs["format_version"] == 1
    root = store.root().load()
    assert dict(root.sizes) == {"layer": 2, "neuron": 3, "value": 2, "language": 2}
    assert root.token_count.sel(value="calm", language="zh") == 21
    np.testing.assert_array_equal(
        root.active_count.sel(value="zeal", language="en").values, [[3, 4, 5], [6, 7, 8]]
    )
    scores = store.scores("vape")
    assert scores.selected.sum() == 2
    assert list(scores.language.values) == ["zh", "en", "pooled"]
