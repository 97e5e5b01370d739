"""What is not recorded yet never looks like a probability, even if nobody asks for the state."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import vxstore
from vxstore.check.store import check, repair
from vxstore.experts import by_neuron
from vxstore.finalise import complete, forget_sums, sum_layers
from vxstore.io.arrays import fill_value
from vxstore.recorded import record_arrays, root_arrays
from vxstore.write import PartCounts, Recorder

MakeStore = Callable[..., str]
WITH_EXPERTS = {"num_experts": 3}


def shares(dataset: xr.Dataset) -> dict[str, np.ndarray[Any, Any]]:
    """All that could be taken for a probability: counts by neuron, and by expert, divided."""
    dataset = dataset.transpose(..., "value", "language", missing_dims="ignore")
    found = {"of tokens": dataset.active_count.values / dataset.token_count.values}
    if "routed_count" in dataset:
        active = dataset.active_count.transpose("layer", "neuron", ...)
        routed = dataset.routed_count.transpose("layer", "routed_expert", ...)
        found["of tokens routed"] = active.values / by_neuron(routed.values, active.sizes["neuron"])
        found["routed"] = dataset.routed_count.values / dataset.token_count.values
    return found


def assert_none_looks_like_one(dataset: xr.Dataset) -> None:
    """Nothing lies above 0 and up to 1."""
    for name, share in shares(dataset).items():
        assert not ((share > 0) & (share <= 1)).any(), name


@pytest.mark.parametrize("num_experts", [0, 3])
@pytest.mark.parametrize("recorded", [0, 5, 12])
def test_until_a_store_is_complete(make_store: MakeStore, num_experts: int, recorded: int) -> None:
    path = make_store(num_experts=num_experts, record=recorded)
    root = xr.open_zarr(path).load()
    assert_none_looks_like_one(root)
    assert_none_looks_like_one(root.sum(("value", "language")))
    record = xr.open_zarr(path, group="record").load().transpose(..., "part")
    assert_none_looks_like_one(record.isel(part=~record.sealed.values))
    if recorded < 12:
        assert_none_looks_like_one(record.sum("part"))


def test_while_it_is_summed(make_store: MakeStore) -> None:
    """A kill between the layers of two ranks, or before the tokens are summed."""
    path = make_store(record=12)
    sum_layers(path, rank=1, world_size=2)
    assert_none_looks_like_one(xr.open_zarr(path).load())
    sum_layers(path)
    assert_none_looks_like_one(xr.open_zarr(path).load())
    complete(path)
    share = shares(xr.open_zarr(path).load())["of tokens"]
    assert ((share >= 0) & (share <= 1)).all()


@pytest.mark.parametrize("num_experts", [0, 3])
def test_after_a_repair(
    make_store: MakeStore, counts_of: Callable[[xr.Dataset, int], PartCounts], num_experts: int
) -> None:
    path = make_store(num_experts=num_experts)
    root, record = vxstore.open(path).root().load(), vxstore.open(path).record().load()
    (Path(path) / "record/story_count/c/4").unlink()
    repair(path, check(path))
    assert_none_looks_like_one(xr.open_zarr(path).load())
    found = xr.open_zarr(path, group="record").load().transpose(..., "part")
    assert not found.sealed[4]
    assert_none_looks_like_one(found.isel(part=[4]))
    Recorder(path).write_part(4, counts_of(record, 4))
    sum_layers(path)
    complete(path)
    assert vxstore.open(path).root().load().equals(root)
    assert vxstore.open(path).record().load().equals(record)


def test_sums_of_an_older_store_stay(copy_of: Callable[[str], str]) -> None:
    """Without them it would read 1 everywhere: its fill values are all -1."""
    path = copy_of("format1")
    before = vxstore.open(path).root().load()
    forget_sums(path)
    assert vxstore.open(path).root().load().equals(before)


@pytest.mark.parametrize("specs", [root_arrays(WITH_EXPERTS), record_arrays(WITH_EXPERTS)])
def test_no_count_can_be_a_fill_value(specs: dict[str, Any]) -> None:
    for name, spec in specs.items():
        if name == "seal":
            continue
        number = fill_value(spec)
        assert name == "sealed" or np.isnan(number) or number < 0
        np.testing.assert_array_equal(np.asarray(number).astype(spec.dtype), number)


PART = st.tuples(st.integers(0, 2**27), st.floats(0, 1), st.floats(0, 1))


@given(parts=st.lists(PART, max_size=8), missing=st.integers(1, 8))
def test_sums_that_a_part_is_missing_from(
    parts: list[tuple[int, float, float]], missing: int
) -> None:
    """Of up to a billion tokens."""
    specs = record_arrays(WITH_EXPERTS)
    tokens = [number for number, _, _ in parts]
    routed = [int(number * share) for number, share, _ in parts]
    active = [int(number * share) for number, (_, _, share) in zip(routed, parts, strict=True)]
    token_sum, routed_sum, active_sum = (
        sum(counts) + missing * int(fill_value(specs[name]))
        for name, counts in (
            ("token_count", tokens),
            ("routed_count", routed),
            ("active_count", active),
        )
    )
    for above, below in (
        (active_sum, token_sum),
        (active_sum, routed_sum),
        (routed_sum, token_sum),
    ):
        assert below == 0 or not 0 <= above / below <= 1
