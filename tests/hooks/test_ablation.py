"""Ablation replaces h by scale * h + shift at chosen neurons, and nothing else.

T: token, D: hidden size, L: layer, N: neuron.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from vxdist.hooks.ablation import Ablation, _Map
from vxdist.hooks.interventions import Affine
from vxdist.model.decoder import find_decoder
from vxdist.model.hook_points import find_hook_points

TOKENS_BT = torch.randint(3, 512, (2, 9), generator=torch.Generator().manual_seed(3))
CPU = torch.device("cpu")
LAYERS, NEURONS = 3, 48


def random_map(seed: int, *, scale: float = 1.0) -> Affine:
    rng = np.random.default_rng(seed)
    return Affine(
        scale_LN=(scale * rng.normal(size=(LAYERS, NEURONS))).astype(np.float32),
        shift_LN=rng.normal(size=(LAYERS, NEURONS)).astype(np.float32),
    )


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=TOKENS_BT, use_cache=False).logits
    return found


def test_scaling_a_neuron_is_scaling_its_column(
    make_model: Callable[[str], Any], family: str
) -> None:
    """For every family, experts too: the block is linear in its neurons."""
    model, plain = make_model(family), make_model(family)
    hook_points = find_hook_points(find_decoder(model))
    affine = random_map(1)
    affine = Affine(scale_LN=affine.scale_LN, shift_LN=np.zeros_like(affine.shift_LN))
    neuron_N = np.array([0, 5, 17, 47])
    ablation = Ablation(hook_points, CPU)
    ablation.ablate(dict.fromkeys(range(LAYERS), neuron_N), affine)
    for layer, block in enumerate(find_hook_points(find_decoder(plain)).blocks):
        for neuron in neuron_N:
            _column(block.output, block.num_units, int(neuron)).mul_(
                float(affine.scale_LN[layer, neuron])
            )
    torch.testing.assert_close(logits(model), logits(plain), rtol=1e-3, atol=1e-3)
    ablation.ablate({})
    assert torch.equal(logits(model), logits(make_model(family)))


def _column(output: Any, num_units: int, neuron: int) -> torch.Tensor:
    """The weights that read a neuron."""
    if hasattr(output, "ffn_hidden_size"):  # DBRX
        row: torch.Tensor = output.mlp.w2[neuron]
        return row
    if hasattr(output, "num_experts"):
        expert, unit = divmod(neuron, num_units)
        found: torch.Tensor = output.down_proj[expert][:, unit]
        return found
    # GPT-2's Conv1D keeps its weight the other way round.
    weight: torch.Tensor = output.weight
    return weight[neuron] if hasattr(output, "nx") else weight[:, neuron]


def test_a_block_by_hand(make_model: Callable[[str], Any]) -> None:
    model = make_model("llama")
    mlp, layer = model.model.layers[1].mlp, 1
    affine, neuron_N = random_map(2), np.array([3, 4, 40])
    ablation = Ablation(find_hook_points(find_decoder(model)), CPU)
    ablation.ablate({layer: neuron_N}, affine)
    read_TD = torch.randn(7, mlp.gate_proj.in_features, generator=torch.Generator().manual_seed(2))
    activation_TN = torch.nn.functional.silu(mlp.gate_proj(read_TD))
    for n in neuron_N:
        scale, shift = (float(a[layer, n]) for a in (affine.scale_LN, affine.shift_LN))
        activation_TN[:, n] = scale * activation_TN[:, n] + shift
    expected_TD = mlp.down_proj(activation_TN * mlp.up_proj(read_TD))
    torch.testing.assert_close(mlp(read_TD), expected_TD)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_scale_of_zero_replaces_whatever_was_there(
    make_model: Callable[[str], Any], number: float
) -> None:
    model = make_model("llama")
    affine = random_map(4)
    scale_LN = affine.scale_LN.copy()
    scale_LN[0, :2] = 0
    hook_points = find_hook_points(find_decoder(model))
    ablation = Ablation(hook_points, CPU)
    for mixed in (affine.scale_LN * 0, scale_LN):  # all are replaced; some are
        ablation.ablate({0: np.array([0, 1, 2])}, Affine(scale_LN=mixed, shift_LN=affine.shift_LN))
        seen_TN = torch.full((4, NEURONS), number)
        found_TN = ablation._see(hook_points.blocks[0], seen_TN, None)
        assert found_TN is not None
        expected_2 = torch.as_tensor(affine.shift_LN[0, :2])
        assert torch.equal(found_TN[:, :2], expected_2.expand(4, 2))
        assert not torch.isfinite(found_TN[:, 3:]).any()
        assert not torch.isfinite(seen_TN).any()  # a copy: the model may use it elsewhere


def test_without_a_map_it_is_zero_ablation(make_model: Callable[[str], Any]) -> None:
    model = make_model("llama")
    ablation = Ablation(find_hook_points(find_decoder(model)), CPU)
    neurons = {0: np.array([1, 7]), 2: np.array([30])}
    ablation.ablate(neurons)
    bare = logits(model)
    zero_LN = np.zeros((LAYERS, NEURONS), dtype=np.float32)
    ablation.ablate(neurons, Affine(scale_LN=zero_LN, shift_LN=zero_LN))
    assert torch.equal(logits(model), bare)
    ablation.remove()
    assert not torch.equal(logits(model), bare)


def test_the_map_follows_its_layer_to_another_device(make_model: Callable[[str], Any]) -> None:
    hook_points = find_hook_points(make_model("llama").get_decoder())
    block, ablation = hook_points.blocks[0], Ablation(hook_points, torch.device("meta"))
    ablation.ablate({0: np.array([1, 7])}, random_map(1))
    map_ = ablation._maps[block]
    assert isinstance(map_, _Map)
    assert map_._units_N.device.type == "meta"
    map_._units_N = torch.tensor([1, 7])  # as if it had been made for the CPU
    found_TN = ablation._see(block, torch.empty(4, NEURONS, device="meta"), None)
    assert found_TN is not None
    assert map_._units_N.device.type == "meta"
