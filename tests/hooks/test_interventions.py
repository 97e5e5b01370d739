"""What each intervention does to models of every family, against hooks of this test and against
plain weights.

L: layer, N: neuron.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from vxdist.errors import UserError
from vxdist.hooks.ablation import Ablation
from vxdist.hooks.attach import Rows, watch
from vxdist.hooks.interventions import Affine, Intervention, Recorded
from vxdist.hooks.interventions.add import Add, AddSettings
from vxdist.hooks.interventions.other_mean import OtherMean, OtherMeanSettings
from vxdist.hooks.interventions.scale import Scale, ScaleSettings
from vxdist.hooks.interventions.zero import Zero
from vxdist.model.blocks import Block
from vxdist.model.decoder import find_decoder
from vxdist.model.hook_points import find_hook_points

TOKENS_BT = torch.randint(3, 512, (2, 9), generator=torch.Generator().manual_seed(3))
CPU = torch.device("cpu")
LAYERS, NEURONS = 3, 48
NEURON_N = np.array([0, 5, 17, 47])
NEURONS_BY_LAYER = dict.fromkeys(range(LAYERS), NEURON_N)
VALUES = ("calm", "pluck", "zeal")
TOKENS = {"calm": 10, "pluck": 30, "zeal": 20}


def recorded(values: tuple[str, ...] = VALUES) -> Recorded:
    """Sums of 48 neurons over tokens of three values; the last two neurons were given none."""
    rng = np.random.default_rng(5)
    sum_LNV = {
        "activation_sum": 5 * rng.normal(size=(LAYERS, NEURONS, len(VALUES))),
        "activation_square_sum": 60 + 20 * rng.random((LAYERS, NEURONS, len(VALUES))),
    }

    def mean_LN(statistic: str, of: tuple[str, ...] | None, language: str) -> Any:
        at = [VALUES.index(value) for value in of or VALUES]
        found_LN = sum_LNV[statistic][..., at].sum(-1) / sum(TOKENS[VALUES[v]] for v in at)
        found_LN[:, -2:] = np.nan
        return found_LN

    return Recorded(shape_LN=(LAYERS, NEURONS), values=values, mean_LN=mean_LN)


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=TOKENS_BT, use_cache=False).logits
    return found


def ablated(model: Any, affine: Affine | None) -> torch.Tensor:
    """Logits of a model whose neurons `NEURON_N` are ablated in each layer."""
    ablation = Ablation(find_hook_points(find_decoder(model)), CPU)
    ablation.ablate(NEURONS_BY_LAYER, affine)
    try:
        return logits(model)
    finally:
        ablation.remove()


def by_hand(model: Any, replace: Callable[[int, int, torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Logits of a model whose activations this test's own hook replaces, neuron by neuron."""
    hook_points = find_hook_points(find_decoder(model))

    def see(block: Block, activation: torch.Tensor, rows: Rows | None) -> torch.Tensor:
        activation = activation.clone()
        for neuron in NEURON_N:
            expert, at = divmod(int(neuron), block.num_units)
            of = slice(None) if rows is None else rows.expert_S == expert
            activation[of, ..., at] = replace(block.layer, int(neuron), activation[of, ..., at])
        return activation

    handles = watch(hook_points, see)
    try:
        return logits(model)
    finally:
        for handle in handles:
            handle.remove()


def make(intervention: Intervention, value: str = "calm") -> Affine:
    return intervention.affine(recorded(), value, "en")


def test_scaling_is_scaling_columns(make_model: Callable[[str], Any], layout_family: str) -> None:
    model, plain = make_model(layout_family), make_model(layout_family)
    affine = make(Scale(ScaleSettings(dose=2.5)))
    hook_points = find_hook_points(find_decoder(plain))
    found = ablated(model, affine)
    for block in hook_points.blocks:
        for neuron in NEURON_N:
            _column(block.output, block.num_units, int(neuron)).mul_(2.5)
    torch.testing.assert_close(found, logits(plain), rtol=1e-3, atol=1e-3)
    assert not torch.equal(found, logits(model))


def _column(output: Any, num_units: int, neuron: int) -> torch.Tensor:
    """The weights that read a neuron."""
    if hasattr(output, "ffn_hidden_size"):  # DBRX
        row: torch.Tensor = output.mlp.w2[neuron]
        return row
    if hasattr(output, "num_experts"):
        expert, unit = divmod(neuron, num_units)
        found: torch.Tensor = output.down_proj[expert][:, unit]
        return found
    weight: torch.Tensor = output.weight
    return weight[neuron] if hasattr(output, "nx") else weight[:, neuron]


def test_dose_0_is_zero_and_dose_1_intact_to_the_bit(
    make_model: Callable[[str], Any], layout_family: str
) -> None:
    model = make_model(layout_family)
    zero = ablated(model, make(Zero()))
    assert torch.equal(ablated(model, make(Scale(ScaleSettings(dose=0.0)))), zero)
    intact = logits(model)
    ones_LN = np.ones((LAYERS, NEURONS), dtype=np.float32)
    assert torch.equal(ablated(model, Affine(scale_LN=ones_LN, shift_LN=0 * ones_LN)), intact)
    assert not torch.equal(zero, intact)


def test_adding_is_a_hook_that_adds_standard_deviations(
    make_model: Callable[[str], Any], layout_family: str
) -> None:
    model, known = make_model(layout_family), recorded()
    mean_LN, square_LN = (
        known.mean_LN(f"activation_{of}", None, "en") for of in ("sum", "square_sum")
    )
    sd_LN = np.nan_to_num(np.sqrt(square_LN - mean_LN**2))
    assert (sd_LN[:, :-2] > 0.5).all()
    found = ablated(model, make(Add(AddSettings(strength=-1.5))))
    expected = by_hand(model, lambda layer, n, h: h - 1.5 * float(sd_LN[layer, n]))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not torch.equal(found, logits(model))


@pytest.mark.parametrize(
    ("value", "mask", "others"),
    [
        ("zeal", "calm", ("zeal",)),
        (None, "calm", ("pluck", "zeal")),
        (None, "pluck", ("calm", "zeal")),
    ],
)
def test_another_values_mean_is_a_constant(
    make_model: Callable[[str], Any], layout_family: str, value: str | None, mask: str, others: Any
) -> None:
    model = make_model(layout_family)
    mean_LN = np.nan_to_num(recorded().mean_LN("activation_sum", others, "en"))
    found = ablated(model, make(OtherMean(OtherMeanSettings(value=value)), mask))
    expected = by_hand(model, lambda layer, n, h: torch.full_like(h, float(mean_LN[layer, n])))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_of_two_values_the_mean_is_that_of_the_only_other() -> None:
    known = recorded(values=("calm", "zeal"))
    one = OtherMean(OtherMeanSettings(value="zeal")).affine(known, "calm", "en")
    all_others = OtherMean(OtherMeanSettings()).affine(known, "calm", "en")
    np.testing.assert_array_equal(one.shift_LN, all_others.shift_LN)


def test_there_must_be_another_value() -> None:
    with pytest.raises(UserError, match="calm is all that is recorded"):
        OtherMean(OtherMeanSettings()).check(["calm"], ["calm"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_dose_is_not_rounded_to_16_bits(
    make_model: Callable[[str], Any], dtype: torch.dtype
) -> None:
    """0.3 is 0.30078 in bfloat16."""
    hook_points = find_hook_points(make_model("llama").get_decoder())
    ablation = Ablation(hook_points, CPU)
    dose_LN = np.full((LAYERS, NEURONS), 0.3, dtype=np.float32)
    ablation.ablate({0: np.array([3])}, Affine(scale_LN=dose_LN, shift_LN=dose_LN))
    seen_TN = torch.linspace(-8, 8, 501).to(dtype)[:, None].expand(-1, NEURONS)
    found_TN = ablation._see(hook_points.blocks[0], seen_TN, None)
    assert found_TN is not None
    expected_T = (seen_TN[:, 3].double() * 0.3 + 0.3).to(dtype)
    assert (found_TN[:, 3] == expected_T).float().mean() > 0.99
    assert found_TN.dtype == dtype
