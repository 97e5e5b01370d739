"""Which tokens count, law 8 (what is not finite stops), and neurons that are elsewhere."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from vxdist.errors import UserError
from vxdist.hooks.counter import Counter
from vxdist.hooks.selftest import check_hook_points
from vxdist.model.hook_points import find_hook_points

TOKENS_BT = torch.randint(3, 512, (3, 11), generator=torch.Generator().manual_seed(1))
CPU = torch.device("cpu")


def test_only_the_rows_asked_for_count(make_model: Callable[[str], Any]) -> None:
    decoder = make_model("llama").get_decoder()
    hook_points = find_hook_points(decoder)
    parts = []
    first_T = torch.arange(TOKENS_BT.numel()) < 10
    for counted_T in (first_T, ~first_T, first_T | ~first_T):
        counter = Counter(hook_points, CPU)
        counter.count(counted_T.reshape(TOKENS_BT.shape))
        decoder(input_ids=TOKENS_BT, use_cache=False)
        counter.remove()
        parts.append(counter.take().statistics["active_count"])
    np.testing.assert_array_equal(parts[0] + parts[1], parts[2])


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_an_activation_that_is_not_finite_stops_and_names_the_layer(
    make_model: Callable[[str], Any], poison: float
) -> None:
    decoder = make_model("llama").get_decoder()
    decoder.layers[1].mlp.gate_proj.weight.data[3, 0] = poison
    counter = Counter(find_hook_points(decoder), CPU)
    counter.count(torch.ones_like(TOKENS_BT, dtype=torch.bool))
    decoder(input_ids=TOKENS_BT, use_cache=False)
    with pytest.raises(UserError, match="layer 1: an activation is not finite"):
        counter.take()


class Odd(torch.nn.Module):
    """A decoder whose layers have these modules in their feed-forward blocks."""

    def __init__(self, *blocks: str) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList()
        for names in blocks:
            mlp = torch.nn.ModuleDict({name: torch.nn.Identity() for name in names.split()})
            norm, layer = torch.nn.LayerNorm(2), {"input_norm": torch.nn.LayerNorm(2), "mlp": mlp}
            self.layers.append(torch.nn.ModuleDict({"self_attn": norm, **layer}))


@pytest.mark.parametrize(
    ("blocks", "found"),
    [
        (["wide act", "wide act"], "its layers have mlp (wide, act)"),
        (["wide", "gate experts"], "layer 0 has mlp (wide), but layer 1 has mlp (gate, experts)"),
    ],
)
def test_an_unknown_layout_is_refused_with_the_modules_it_has(
    blocks: list[str], found: str
) -> None:
    with pytest.raises(UserError) as refusal:
        find_hook_points(Odd(*blocks))
    assert f"the layout of Odd is not supported: {found}; `vxdist models`" in str(refusal.value)
    with pytest.raises(UserError, match="Identity is not supported: it has no list layers or h"):
        find_hook_points(torch.nn.Identity())


def test_neurons_that_are_elsewhere_are_noticed(make_model: Callable[[str], Any]) -> None:
    decoder = make_model("llama").get_decoder()
    hook_points = find_hook_points(decoder)
    check_hook_points(decoder, hook_points, (1, 2, 3))
    mlp = decoder.layers[2].mlp
    # A block that adds its branches where a gate should multiply them.
    mlp.forward = lambda x: mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) + mlp.up_proj(x))
    with pytest.raises(UserError, match="layer 2: part of the output bypasses the neurons"):
        check_hook_points(decoder, hook_points, (1, 2, 3))
    mlp.forward = lambda x: mlp.down_proj(torch.relu(mlp.gate_proj(x)) * mlp.up_proj(x))
    with pytest.raises(UserError, match="layer 2"):
        check_hook_points(decoder, hook_points, (1, 2, 3))
