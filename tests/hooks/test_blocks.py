"""Laws 5 and 6 where layers differ or have several blocks, and which neurons there are.

T: token, N: neuron, D: hidden size, E: expert, U: unit of an expert.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoConfig, AutoModelForCausalLM

from tests.conftest import CONFIGURATIONS, SEVERAL_BLOCKS
from vxdist.cli import main
from vxdist.errors import UserError
from vxdist.hooks.ablation import Ablation
from vxdist.hooks.counter import Counter
from vxdist.hooks.live import ablate
from vxdist.hooks.measures import choose
from vxdist.hooks.selftest import TOKENS, check_hook_points
from vxdist.model.hook_points import find_hook_points
from vxstore.statistics import DEFAULT

TOKENS_BT = torch.randint(3, 512, (3, 11), generator=torch.Generator().manual_seed(1))
CPU = torch.device("cpu")
EXPERTS, UNITS, TOP = 4, 12, 2
SIZES = {
    "deepseek_v3": [["dense 40"], ["dense 12", "experts"], ["dense 12", "experts"]],
    "glm4_moe": [["dense 40"], ["dense 24", "experts"], ["dense 24", "experts"]],
    "gemma4_text": [["dense 40", "experts"]] * 3,
    "qwen2_moe": [["dense 20", "experts"], ["dense 40"], ["dense 20", "experts"]],
}
"""The blocks of each layer, as the configurations have them; experts are 4 x 12, 2 a token."""


@pytest.fixture(params=SEVERAL_BLOCKS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def width_of(block: str) -> int:
    return EXPERTS * UNITS if block == "experts" else int(block.split()[1])


def function_of(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    return partial(F.gelu, approximate="tanh") if name == "gemma4_text" else F.silu


def dense_of(layer: Any) -> Any:
    """The module that is the dense block."""
    for inside in ("shared_experts", "shared_expert"):
        if hasattr(layer.mlp, inside):
            return getattr(layer.mlp, inside)
    return layer.mlp


def experts_of(layer: Any) -> Any:
    return layer.experts if hasattr(layer, "experts") else getattr(layer.mlp, "experts", None)


def router_of(layer: Any) -> Any:
    return layer.router if hasattr(layer, "router") else layer.mlp.gate


def choose_experts(name: str, router: Any, read_D: torch.Tensor) -> list[int]:
    """The experts of one token, as the families' papers choose them."""
    if name == "gemma4_text":  # its router normalises what it reads itself
        scaled_D = read_D / (read_D.square().mean() + router.eps).sqrt() * router.scale
        chosen: list[int] = (router.proj.weight @ scaled_D).topk(TOP).indices.tolist()
        return chosen
    score_E = router.weight @ read_D
    if name == "deepseek_v3":  # of two groups of two, the one with the larger sum of scores
        group = int(score_E.sigmoid().view(2, 2).sum(1).argmax())
        return [2 * group, 2 * group + 1]
    chosen = score_E.topk(TOP).indices.tolist()
    return chosen


def read_by(decoder: Any, find: Callable[[Any], Any]) -> list[torch.Tensor | None]:
    """What a module of each layer reads, (token, D), in a run of its own; None without one."""
    seen: dict[int, torch.Tensor] = {}
    handles = []
    for n, layer in enumerate(decoder.layers):
        if (module := find(layer)) is not None:
            keep = partial(_keep, seen, n)
            handles.append(module.register_forward_pre_hook(keep))
    decoder(input_ids=TOKENS_BT, use_cache=False)
    for handle in handles:
        handle.remove()
    return [seen.get(n) for n in range(len(decoder.layers))]


def _keep(seen: dict[int, torch.Tensor], n: int, _: Any, args: tuple[torch.Tensor]) -> None:
    seen[n] = args[0].reshape(-1, args[0].shape[-1])


def recompute(name: str, decoder: Any, counted_T: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Activations by plain arithmetic, and which were given, both (layer, token, neuron)."""
    function = function_of(name)
    dense = read_by(decoder, lambda layer: dense_of(layer).gate_proj)
    experts = read_by(decoder, experts_of)
    router = read_by(decoder, lambda layer: experts_of(layer) and router_of(layer))
    widest = max(sum(map(width_of, blocks)) for blocks in SIZES[name])
    activation_LTN = torch.zeros(3, int(counted_T.sum()), widest)
    given_LTN = torch.zeros_like(activation_LTN).bool()
    for n, layer in enumerate(decoder.layers):
        first = width_of(SIZES[name][n][0])
        read_TD = dense[n]
        assert read_TD is not None
        gate = dense_of(layer).gate_proj
        activation_LTN[n, :, :first] = function(read_TD[counted_T] @ gate.weight.T)
        given_LTN[n, :, :first] = True
        read_TD, route_TD = experts[n], router[n]
        if read_TD is None or route_TD is None:
            continue
        rows = zip(read_TD[counted_T], route_TD[counted_T], strict=True)
        for t, (read_D, route_D) in enumerate(rows):
            for expert in choose_experts(name, router_of(layer), route_D):
                gate_UD = experts_of(layer).gate_up_proj[expert][:UNITS]
                at = slice(first + expert * UNITS, first + (expert + 1) * UNITS)
                activation_LTN[n, t, at] = function(gate_UD @ read_D)
                given_LTN[n, t, at] = True
    return activation_LTN, given_LTN


def test_blocks_are_found(name: str, make_model: Callable[[str], Any]) -> None:
    decoder = make_model(name).get_decoder()
    hook_points = find_hook_points(decoder)
    check_hook_points(decoder, hook_points, TOKENS)
    assert not hook_points.alike
    found = [
        ["experts" if of.num_experts else f"dense {of.num_units}" for of in hook_points.of_layer(n)]
        for n in range(3)
    ]
    assert found == SIZES[name]
    widths = [sum(map(width_of, blocks)) for blocks in SIZES[name]]
    assert hook_points.exists().sum(1).tolist() == widths
    assert hook_points.num_neurons == max(widths)
    for layer, width in enumerate(widths):  # the existing ones come first, each in one place
        assert hook_points.exists()[layer, :width].all()
        at = np.zeros(width, dtype=int)
        for placed in hook_points.place(layer, np.arange(width)):
            at[placed.at_N] += 1
            of = placed.block.neurons_of(placed.expert)
            np.testing.assert_array_equal(np.arange(of.start, of.stop), np.flatnonzero(placed.at_N))
        assert (at == 1).all()


def test_counts_equal_a_plain_recomputation(name: str, make_model: Callable[[str], Any]) -> None:
    decoder = make_model(name).get_decoder()
    hook_points = find_hook_points(decoder)
    counted_T = torch.arange(TOKENS_BT.numel()) % 4 != 0
    plain_LTN, given_LTN = recompute(name, decoder, counted_T)
    counter = Counter(hook_points, CPU, choose([*DEFAULT, "activation_max"]))
    counter.count(counted_T)
    decoder(input_ids=TOKENS_BT, use_cache=False)
    counter.remove()
    counts = counter.take()
    active_LN = counts.statistics["active_count"]
    sure_LN = ~((plain_LTN.abs() < 1e-5) & given_LTN).any(dim=1).numpy()
    assert sure_LN.mean() > 0.99
    np.testing.assert_array_equal(active_LN[sure_LN], (plain_LTN > 0).sum(1).numpy()[sure_LN])
    expected = {
        "activation_sum": plain_LTN.double().sum(1),
        "activation_square_sum": plain_LTN.double().square().sum(1),
        "activation_max": plain_LTN.masked_fill(~given_LTN, -torch.inf).amax(1),
    }
    for statistic, number_LN in expected.items():
        found_LN = counts.statistics[statistic]
        np.testing.assert_allclose(found_LN, number_LN.numpy(), rtol=1e-4, atol=1e-4)
    assert counts.routed_LE is not None
    for layer, blocks in enumerate(SIZES[name]):
        routed_N = given_LTN[layer].sum(0).numpy()[width_of(blocks[0]) :]
        if "experts" in blocks:
            np.testing.assert_array_equal(
                counts.routed_LE[layer].repeat(UNITS), routed_N[: EXPERTS * UNITS]
            )
            assert counts.routed_LE[layer].sum() == TOP * int(counted_T.sum())
        else:
            assert (counts.routed_LE[layer] == 0).all()


def test_watching_leaves_outputs_bit_identical(name: str, make_model: Callable[[str], Any]) -> None:
    model = make_model(name)
    before = model(input_ids=TOKENS_BT, use_cache=False).logits
    counter = Counter(find_hook_points(model.get_decoder()), CPU)
    counter.count(torch.ones_like(TOKENS_BT, dtype=torch.bool))
    watched = model(input_ids=TOKENS_BT, use_cache=False).logits
    assert torch.equal(before, watched)
    assert counter.take().statistics["active_count"].sum() > 0


def test_masking_equals_zeroing_the_down_projection(
    name: str, make_model: Callable[[str], Any]
) -> None:
    """Neurons of both blocks of a layer, and of several experts, together."""
    model, cut = make_model(name), make_model(name)
    off = {0: np.array([0, 5, 11, 37]), 2: np.array([1, 11, 40, 41, 43, 59])}
    plain = model(input_ids=TOKENS_BT, use_cache=False).logits
    for layer, neurons in off.items():
        first = width_of(SIZES[name][layer][0])
        for neuron in neurons.tolist():
            if neuron < first:
                dense_of(cut.get_decoder().layers[layer]).down_proj.weight[:, neuron] = 0
            else:
                expert, unit = divmod(neuron - first, UNITS)
                experts_of(cut.get_decoder().layers[layer]).down_proj[expert, :, unit] = 0
    expected = cut(input_ids=TOKENS_BT, use_cache=False).logits
    with ablate(model, {layer: neurons.tolist() for layer, neurons in off.items()}):
        found = model(input_ids=TOKENS_BT, use_cache=False).logits
    assert not torch.allclose(plain, found, atol=1e-4)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(plain, model(input_ids=TOKENS_BT, use_cache=False).logits)


def test_layers_of_two_widths() -> None:
    """As in Gemma 4 E2B, whose layers that share keys and values are twice as wide."""
    wide: dict[str, Any] = {"num_kv_shared_layers": 1, "use_double_wide_mlp": True}
    wide |= {"enable_moe_block": False, "layer_types": ["full_attention"] * 3}
    config = AutoConfig.for_model("gemma4_text", **{**CONFIGURATIONS["gemma4_text"], **wide})
    with torch.device("meta"):
        hook_points = find_hook_points(AutoModelForCausalLM.from_config(config).get_decoder())
    assert hook_points.exists().sum(1).tolist() == [40, 40, 80]
    assert (hook_points.num_neurons, hook_points.num_experts, hook_points.alike) == (80, 0, False)


def test_neurons_that_do_not_exist_are_refused(make_model: Callable[[str], Any]) -> None:
    model = make_model("deepseek_v3")
    told = "vxdist.ablate: layer 0: found neuron 40, expected one of its 40$"
    with pytest.raises(UserError, match=told), ablate(model, {0: [39, 40], 1: [59]}):
        pass
    ablation = Ablation(find_hook_points(model.get_decoder()), CPU)
    with pytest.raises(ValueError, match="layer 0: 1 neurons do not exist"):
        ablation.ablate({0: np.array([39, 40])})


def test_weights_beside_several_blocks_are_not_passed_over(
    make_model: Callable[[str], Any],
) -> None:
    decoder = make_model("deepseek_v3").get_decoder()
    decoder.layers[2].mlp.third = torch.nn.Linear(32, 16)
    with pytest.raises(UserError, match=r"layer 2 of \w+ has mlp.third beside its routed experts"):
        find_hook_points(decoder)
    decoder.layers[2].mlp = torch.nn.Linear(32, 32)
    with pytest.raises(UserError, match=r"not supported: layer 0 has mlp \(.*layer 2 has mlp;"):
        find_hook_points(decoder)


def _add_squares(_: Any, args: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    return output + args[0].sum(-1, keepdim=True).square()


def test_a_block_that_bypasses_its_neurons_is_named(make_model: Callable[[str], Any]) -> None:
    decoder = make_model("deepseek_v3").get_decoder()
    shared = decoder.layers[1].mlp.shared_experts
    shared.down_proj.register_forward_hook(_add_squares)
    with pytest.raises(UserError, match=r"layer 1, mlp\.shared_experts: its output is not a sum"):
        check_hook_points(decoder, find_hook_points(decoder), TOKENS)


def test_models_describes_it(
    make_model: Callable[[str], Any], tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    make_model("deepseek_v3").save_pretrained(tmp_path)
    capsys.readouterr()
    assert main(["models", str(tmp_path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "40 or 60 per layer, 160 in total, in blocks that differ by layer" in shown
