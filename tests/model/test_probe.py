"""Laws 5, 6 and 8: counts equal a plain recomputation; watching changes nothing; NaN stops."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vxdist.errors import UserError
from vxdist.model.probe import Counter, Mask
from vxdist.model.sites import check_sites, find_sites

TOKENS_BT = torch.randint(3, 512, (3, 11), generator=torch.Generator().manual_seed(1))
CPU = torch.device("cpu")


def silu_gate(layer: Any, x: torch.Tensor) -> torch.Tensor:
    return F.silu(x @ layer.mlp.gate_proj.weight.T)


def gelu_gate(layer: Any, x: torch.Tensor) -> torch.Tensor:
    return F.gelu(x @ layer.mlp.gate_proj.weight.T, approximate="tanh")


def fused_gate(layer: Any, x: torch.Tensor) -> torch.Tensor:
    weight = layer.mlp.gate_up_proj.weight
    return F.silu(x @ weight[: weight.shape[0] // 2].T)


def gpt2(layer: Any, x: torch.Tensor) -> torch.Tensor:
    return F.gelu(x @ layer.mlp.c_fc.weight + layer.mlp.c_fc.bias, approximate="tanh")


def neox(layer: Any, x: torch.Tensor) -> torch.Tensor:
    return F.gelu(F.linear(x, layer.mlp.dense_h_to_4h.weight, layer.mlp.dense_h_to_4h.bias))


def opt(layer: Any, x: torch.Tensor) -> torch.Tensor:
    return F.relu(F.linear(x, layer.fc1.weight, layer.fc1.bias))


PLAIN: dict[str, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    "llama": silu_gate,
    "mistral": silu_gate,
    "qwen2": silu_gate,
    "qwen3": silu_gate,
    "gemma2": gelu_gate,
    "gemma3": gelu_gate,
    "phi3": fused_gate,
    "gpt2": gpt2,
    "gpt_neox": neox,
    "opt": opt,
}


def layers_of(decoder: Any) -> Any:
    return decoder.h if hasattr(decoder, "h") else decoder.layers


def block_inputs(decoder: Any) -> list[torch.Tensor]:
    """What each feed-forward block reads, in a run of its own."""
    seen: list[torch.Tensor] = []
    blocks = [getattr(layer, "fc1", None) or layer.mlp for layer in layers_of(decoder)]
    handles = [
        block.register_forward_pre_hook(lambda _, args: seen.append(args[0].reshape(-1, 32)))
        for block in blocks
    ]
    decoder(input_ids=TOKENS_BT, use_cache=False)
    for handle in handles:
        handle.remove()
    return seen


def test_counts_equal_a_plain_recomputation(family: str, make_model: Callable[[str], Any]) -> None:
    decoder = make_model(family).get_decoder()
    sites = find_sites(decoder)
    assert (sites.num_layers, sites.num_neurons) == (3, 48)
    counted = torch.arange(TOKENS_BT.numel()) % 4 != 0
    plain_LTN = torch.stack(
        [
            PLAIN[family](layer, x)[counted]
            for layer, x in zip(layers_of(decoder), block_inputs(decoder), strict=True)
        ]
    )
    counter = Counter(sites, CPU)
    counter.count_rows(counted.nonzero().squeeze(1))
    decoder(input_ids=TOKENS_BT, use_cache=False)
    counter.remove()
    active_LN, sum_LN, square_LN = counter.take()
    assert 0 < active_LN.sum() < plain_LTN.numel()
    unsure_LN = (plain_LTN.abs() < 1e-5).any(dim=1).numpy() & (family != "opt")
    expected_LN = (plain_LTN > 0).sum(1).numpy()
    np.testing.assert_array_equal(active_LN[~unsure_LN], expected_LN[~unsure_LN])
    np.testing.assert_allclose(sum_LN, plain_LTN.double().sum(1).numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        square_LN, plain_LTN.double().square().sum(1).numpy(), rtol=1e-4, atol=1e-4
    )


def test_watching_leaves_outputs_bit_identical(
    family: str, make_model: Callable[[str], Any]
) -> None:
    model = make_model(family)
    before = model(input_ids=TOKENS_BT, use_cache=False).logits
    counter = Counter(find_sites(model.get_decoder()), CPU)
    counter.count_rows(torch.arange(TOKENS_BT.numel()))
    watched = model(input_ids=TOKENS_BT, use_cache=False).logits
    assert torch.equal(before, watched)
    assert counter.take()[0].sum() > 0


def test_masking_equals_zeroing_the_down_projection(
    family: str, make_model: Callable[[str], Any]
) -> None:
    masked_model, cut_model = make_model(family), make_model(family)
    off = {0: np.array([0, 5, 47]), 2: np.array([3])}
    mask = Mask(find_sites(masked_model.get_decoder()), CPU)
    plain = masked_model(input_ids=TOKENS_BT, use_cache=False).logits
    mask.switch_off(off)
    masked = masked_model(input_ids=TOKENS_BT, use_cache=False).logits
    for layer, neurons in off.items():
        down = find_sites(cut_model.get_decoder()).downs[layer]
        # GPT-2's Conv1D keeps its weight the other way round.
        columns = down.weight.data.T if hasattr(down, "nx") else down.weight.data
        columns[:, neurons] = 0
    cut = cut_model(input_ids=TOKENS_BT, use_cache=False).logits
    assert not torch.allclose(plain, masked, atol=1e-4)
    torch.testing.assert_close(masked, cut, atol=1e-5, rtol=1e-5)
    mask.switch_off({})
    assert torch.equal(plain, masked_model(input_ids=TOKENS_BT, use_cache=False).logits)


def test_only_the_rows_asked_for_count(make_model: Callable[[str], Any]) -> None:
    decoder = make_model("llama").get_decoder()
    sites = find_sites(decoder)
    parts = []
    for rows in (torch.arange(0, 10), torch.arange(10, 33), torch.arange(33)):
        counter = Counter(sites, CPU)
        counter.count_rows(rows)
        decoder(input_ids=TOKENS_BT, use_cache=False)
        counter.remove()
        parts.append(counter.take()[0])
    np.testing.assert_array_equal(parts[0] + parts[1], parts[2])


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_an_activation_that_is_not_finite_stops_and_names_the_layer(
    make_model: Callable[[str], Any], poison: float
) -> None:
    decoder = make_model("llama").get_decoder()
    decoder.layers[1].mlp.gate_proj.weight.data[3, 0] = poison
    counter = Counter(find_sites(decoder), CPU)
    counter.count_rows(torch.arange(TOKENS_BT.numel()))
    decoder(input_ids=TOKENS_BT, use_cache=False)
    with pytest.raises(UserError, match="layer 1: an activation is not finite"):
        counter.take()


def test_an_unknown_layout_is_refused_with_what_was_looked_for() -> None:
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.Linear(2, 2)])

    with pytest.raises(UserError, match=r"Odd.*looked for.*mlp\.act_fn.*mlp\.down_proj"):
        find_sites(Odd())


def test_neurons_that_are_elsewhere_are_noticed(make_model: Callable[[str], Any]) -> None:
    decoder = make_model("llama").get_decoder()
    sites = find_sites(decoder)
    check_sites(decoder, sites, (1, 2, 3))
    mlp = decoder.layers[2].mlp
    # A block that adds its branches where a gate should multiply them.
    mlp.forward = lambda x: mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) + mlp.up_proj(x))
    with pytest.raises(UserError, match="layer 2: a zeroed neuron reaches"):
        check_sites(decoder, sites, (1, 2, 3))
    mlp.forward = lambda x: mlp.down_proj(torch.relu(mlp.gate_proj(x)) * mlp.up_proj(x))
    with pytest.raises(UserError, match="layer 2"):
        check_sites(decoder, sites, (1, 2, 3))
