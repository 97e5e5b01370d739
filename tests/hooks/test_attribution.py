"""Law 12: what is attributed to a neuron is the derivative of ablating it, in every layout."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import ONE_EACH, QUICK_BLOCKS
from vxdist.hooks.ablation import Ablation
from vxdist.hooks.attribution import Attribution, attribute
from vxdist.hooks.interventions import Affine
from vxdist.model.hook_points import HookPoints, find_hook_points

CPU = torch.device("cpu")
IDS_BT = torch.randint(3, 500, (2, 9), generator=torch.Generator().manual_seed(1))
MASK_BT = torch.ones_like(IDS_BT)
MASK_BT[1, 6:] = 0
STEP = 1e-2


def number_of(model: Any) -> torch.Tensor:
    """A difference of two logits at the last token of each text, (B,)."""
    logits = model(input_ids=IDS_BT, attention_mask=MASK_BT, use_cache=False).logits
    last_BW = logits[torch.arange(2), MASK_BT.sum(1) - 1].float()
    return last_BW[:, 5] - last_BW[:, 7]


def attributed(model: Any, hook_points: HookPoints, *, checkpointing: bool) -> torch.Tensor:
    attribution = Attribution(hook_points, CPU)
    attribution.begin(model, checkpointing=checkpointing)
    with torch.no_grad():  # as in the predict loop
        attribute(lambda: number_of(model))
    found_LN = attribution.take()
    attribution.remove()
    return found_LN


@torch.no_grad()
def scaled(model: Any, hook_points: HookPoints, layer: int, neuron: int, scale: float) -> float:
    """The number, summed over texts, with one neuron's activation scaled on all tokens."""
    shape = (hook_points.num_layers, hook_points.num_neurons)
    ablation = Ablation(hook_points, CPU)
    affine = Affine(
        scale_LN=np.full(shape, scale, np.float32), shift_LN=np.zeros(shape, np.float32)
    )
    ablation.ablate({layer: np.array([neuron])}, affine)
    found = float(number_of(model).double().sum())
    ablation.remove()
    return found


@pytest.mark.parametrize("family", sorted({*ONE_EACH, *QUICK_BLOCKS}))
def test_it_is_the_derivative_of_ablating(family: str, make_model: Callable[[str], Any]) -> None:
    model = make_model(family)
    hook_points = find_hook_points(model.get_decoder())
    found_LN = attributed(model, hook_points, checkpointing=False)
    assert found_LN.abs().max() > 0.05
    for at in np.argsort(-found_LN.abs().numpy().ravel())[[1, 5, 20]]:
        layer, neuron = divmod(int(at), hook_points.num_neurons)
        low, high = (
            scaled(model, hook_points, layer, neuron, scale) for scale in (1 - STEP, 1 + STEP)
        )
        expected = (low - high) / (2 * STEP)
        assert float(found_LN[layer, neuron]) == pytest.approx(expected, rel=0.01, abs=5e-4)


@pytest.mark.parametrize("family", ["llama", "olmoe", "gpt2"])
def test_checkpointing_changes_no_bit(family: str, make_model: Callable[[str], Any]) -> None:
    model = make_model(family)
    hook_points = find_hook_points(model.get_decoder())
    plain, again = (attributed(model, hook_points, checkpointing=c) for c in (False, True))
    assert torch.equal(plain, again)
    assert (
        all("forward" not in vars(layer) for layer in model.get_decoder().layers or ())
        if (family != "gpt2")
        else True
    )
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    with torch.no_grad():
        assert not number_of(model).requires_grad  # the hooks are gone


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up_proj, self.act_fn, self.down_proj = nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.act_fn(self.up_proj(x)))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mlp = Mlp()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mlp(x).cumsum(1)


class Linear(nn.Module):
    """One layer whose output is linear in its neurons, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.layers, self.head = nn.Embedding(512, 8), nn.ModuleList([Layer()]), None
        self.head = nn.Linear(8, 16)

    def get_decoder(self) -> nn.Module:
        return self

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
        logits = self.head(self.layers[0](self.embed(input_ids)))
        return type("Output", (), {"logits": logits})()


def test_prediction_is_exact_where_the_model_is_linear() -> None:
    torch.manual_seed(0)
    model = Linear().requires_grad_(False)
    hook_points = find_hook_points(model)
    found_N = attributed(model, hook_points, checkpointing=False)[0].numpy()
    ablation = Ablation(hook_points, CPU)
    with torch.no_grad():
        intact = float(number_of(model).double().sum())
        for size in (1, 5, 20):
            chosen = np.random.default_rng(size).choice(20, size, replace=False)
            ablation.ablate({0: chosen})
            exact = float(number_of(model).double().sum()) - intact
            assert found_N[chosen].sum() == pytest.approx(exact, abs=1e-5)


def test_without_gradients_nothing_is_added(make_model: Callable[[str], Any]) -> None:
    model = make_model("llama")
    attribution = Attribution(find_hook_points(model.get_decoder()), CPU)
    attribution.begin(model, checkpointing=False)
    with torch.no_grad():
        number_of(model)
    assert not attribution.take().any()
    attribution.remove()
