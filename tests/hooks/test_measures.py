"""Statistics beside the default ones, of every neuron, equal a plain recomputation."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from vxdist.errors import UserError
from vxdist.hooks import kernel
from vxdist.hooks.counter import Counter, Counts
from vxdist.hooks.measures import MEASURES, choose
from vxdist.model.hook_points import find_hook_points
from vxstore.statistics import DEFAULT, STATISTICS, Statistic

TOKENS_BT = torch.randint(3, 512, (3, 11), generator=torch.Generator().manual_seed(1))
ALL_T = torch.ones(TOKENS_BT.numel(), dtype=torch.bool)
EVERYTHING = (*DEFAULT, *MEASURES)
LOGARITHM = Statistic(
    name="log_sum",
    record_dtype="float32",
    total_dtype="float64",
    combine="sum",
    units="1",
    long_name="sum of the logarithm of the activation",
    record_long_name="the same of the part",
)


def logarithms(activation_RN: torch.Tensor) -> torch.Tensor:
    """NaN below zero."""
    return activation_RN.log().sum(0)


def count(model: Any, names: tuple[str, ...], *counted: torch.Tensor) -> Counts:
    """Of one pass for each set of counted tokens."""
    decoder = model.get_decoder()
    counter = Counter(find_hook_points(decoder), torch.device("cpu"), choose(names))
    for counted_T in counted:
        counter.count(counted_T.reshape(TOKENS_BT.shape))
        decoder(input_ids=TOKENS_BT, use_cache=False)
    counter.remove()
    return counter.take()


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_the_default_ones_keep_their_bits(make_model: Callable[[str], Any], family: str) -> None:
    model = make_model(family)
    alone, beside = (count(model, names, ALL_T) for names in (DEFAULT, EVERYTHING))
    assert list(alone.statistics) == list(DEFAULT)
    assert list(beside.statistics) == list(EVERYTHING)
    for name, number_LN in alone.statistics.items():
        np.testing.assert_array_equal(number_LN, beside.statistics[name])
        assert number_LN.dtype == beside.statistics[name].dtype


@pytest.mark.parametrize("family", ["llama", "mixtral"])
@pytest.mark.parametrize("block", [1, 48 * 4, kernel.BLOCK])
def test_batches_and_blocks_do_not_change_a_maximum(
    make_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, family: str, block: int
) -> None:
    model = make_model(family)
    whole = count(model, EVERYTHING, ALL_T).statistics["activation_max"]
    monkeypatch.setattr(kernel, "BLOCK", block)
    first_T = torch.arange(TOKENS_BT.numel()) < 10
    halves = count(model, EVERYTHING, first_T, ~first_T).statistics["activation_max"]
    np.testing.assert_array_equal(whole, halves)


def test_over_no_tokens(make_model: Callable[[str], Any]) -> None:
    """Neither zero, nor what a part before had."""
    decoder = make_model("mixtral").get_decoder()
    counter = Counter(find_hook_points(decoder), torch.device("cpu"), choose(EVERYTHING))
    for counted_T in (ALL_T, ~ALL_T):
        counter.count(counted_T.reshape(TOKENS_BT.shape))
        decoder(input_ids=TOKENS_BT, use_cache=False)
        counts = counter.take()
    assert (counts.statistics["activation_max"] == -np.inf).all()
    assert (counts.statistics["activation_sum"] == 0).all()


def test_a_statistic_that_is_not_finite_stops_and_names_the_layer(
    make_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STATISTICS, LOGARITHM.name, LOGARITHM)
    monkeypatch.setitem(MEASURES, LOGARITHM.name, f"{__name__}:logarithms")
    with pytest.raises(UserError, match=r"layer 0: log_sum is not finite .* locate\.statistics"):
        count(make_model("llama"), ("active_count", "log_sum"), ALL_T)
    model = make_model("llama")
    model.get_decoder().layers[1].mlp.gate_proj.weight.data[3, 0] = float("nan")
    with pytest.raises(UserError, match="layer 1: an activation is not finite"):
        count(model, ("active_count", "activation_max"), ALL_T)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["active_count", "activation_mx"], "found 'activation_mx', expected names among active_"),
        (["activation_max"], "found activation_max, expected active_count among them"),
        ([], "found none"),
    ],
)
def test_names_that_cannot_be(names: list[str], told: str) -> None:
    with pytest.raises(UserError, match=rf"locate\.statistics: {told}"):
        choose(names)


def test_the_order_of_names_is_that_of_the_table() -> None:
    assert [row.name for row in choose(EVERYTHING[::-1])] == list(EVERYTHING)


def test_what_has_no_measure_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STATISTICS, LOGARITHM.name, LOGARITHM)
    with pytest.raises(UserError, match="found 'log_sum'"):
        choose([*DEFAULT, "log_sum"])
