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

from tests.conftest import CONFIGURATIONS
from tests.hooks.watching import assert_outputs_stay
from vxdist.cli import main
from vxdist.errors import UserError
from vxdist.hooks.ablation import Ablation
from vxdist.hooks.counter import Counter
from vxdist.hooks.live import ablate
from vxdist.hooks.measures import choose
from vxdist.hooks.selftest import TOKENS, check_hook_points
from vxdist.model.decoder import find_decoder
from vxdist.model.hook_points import find_hook_points
from vxstore.statistics import DEFAULT

TOKENS_BT = torch.randint(3, 512, (3, 11), generator=torch.Generator().manual_seed(1))
CPU = torch.device("cpu")
EXPERTS, UNITS, TOP = 4, 12, 2
PLACES = (
    *("mlp", "feed_forward", "mixer", "shared_mlp", "mlp.shared_mlp", "mlp.shared_expert"),
    *("mlp.shared_experts", "mixer.shared_experts"),
    *("shared_transf.feed_forward", "shared_transformer.feed_forward"),
)
"""Where layers have a dense block."""
EXPERTS_AT = (
    *("experts", "mlp.experts", "feed_forward.experts", "mixer.experts"),
    "block_sparse_moe.experts",
)
SIZES = {
    **dict.fromkeys(("aria_text",), "24+e 24+e 24+e"),
    "beam": "40 40 e",
    **dict.fromkeys(("bailing_hybrid", "deepseek_v32", "glm_moe_dsa"), "40 40 12+e"),
    "flint": "40 40 20+e",
    "gemma4_text": "40+e 40+e 40+e",
    "jamba": "12 e 12",
    "mimo_v2_flash": "40 e e",
    "nemotron_h": "- 20+e 40",
    "qwen2_moe": "20+e 40 20+e",
    **dict.fromkeys(("zamba", "zamba2"), "- 40 40"),
    **dict.fromkeys(("deepseek_v4", "hunyuan_v1_moe", "solar_open"), "12+e 12+e 12+e"),
    **dict.fromkeys(("afmoe", "deepseek_v2", "ernie4_5_moe", "glm4_moe"), "40 24+e 24+e"),
    **dict.fromkeys(("axk1", "axk2", "deepseek_v3", "dots1", "exaone_moe"), "40 12+e 12+e"),
    **dict.fromkeys(("glm4_moe_lite", "hy_v3", "kimi_linear"), "40 12+e 12+e"),
    **dict.fromkeys(("dots3_note", "dots3_note_text", "laguna"), "40 20+e 20+e"),
    **dict.fromkeys(("granitemoe_swa", "granitemoehybrid", "granitemoeshared"), "20+e 20+e 20+e"),
    **dict.fromkeys(("kolibri1", "qwen3_5_moe", "qwen3_5_moe_text"), "20+e 20+e 20+e"),
    **dict.fromkeys(("qwen3_next", "qwen4_exp", "qwen4_exp_text"), "20+e 20+e 20+e"),
}
"""The blocks of each layer, as the configurations have them: neurons of the dense one, and e for
experts, 4 x 12, 2 a token."""


@pytest.fixture
def name(blocks_family: str) -> str:
    return blocks_family


def sizes_of(name: str) -> list[list[str]]:
    """The blocks of each layer by kind and width."""
    layers = [layer.replace("-", "").split("+") for layer in SIZES[name].split()]
    return [
        ["experts" if block == "e" else f"dense {block}" for block in layer if block]
        for layer in layers
    ]


def width_of(block: str) -> int:
    return EXPERTS * UNITS if block == "experts" else int(block.split()[1])


def dense_width(name: str, layer: int) -> int:
    """Neurons of a layer before those of its experts."""
    return sum(width_of(block) for block in sizes_of(name)[layer] if block != "experts")


def function_of(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    if name == "nemotron_h":
        return lambda x: F.relu(x).square()
    if name.startswith("zamba"):
        return F.gelu
    return partial(F.gelu, approximate="tanh") if name == "gemma4_text" else F.silu


def inside(layer: Any, path: str) -> Any:
    for step in path.split("."):
        layer = getattr(layer, step, None)
    return layer


def down_of(layer: Any) -> Any:
    """The down projection of the dense block."""
    blocks = [block for path in PLACES if (block := inside(layer, path)) is not None]
    found = [
        getattr(of, n) for of in blocks for n in ("down_proj", "output_linear") if hasattr(of, n)
    ]
    return found[0] if found else None


def first_of(layer: Any) -> Any:
    """The matrix that the dense block reads with, of which the neurons are the first rows."""
    blocks = [block for path in PLACES if (block := inside(layer, path)) is not None]
    for block in blocks:
        if hasattr(block, "input_linear"):
            return block.input_linear
        if hasattr(block, "down_proj"):
            names = ("gate_up_proj", "gate_proj", "up_proj")
            return next(getattr(block, name) for name in names if hasattr(block, name))
    return None


def experts_of(layer: Any) -> Any:
    return next((of for path in EXPERTS_AT if (of := inside(layer, path)) is not None), None)


def router_of(layer: Any) -> Any:
    return layer.router if hasattr(layer, "router") else layer.mlp.gate


def gate_of(experts: Any, expert: int) -> torch.Tensor:
    """What an expert's neurons read with, (U, D)."""
    weight = experts.gate_up_proj if hasattr(experts, "gate_up_proj") else experts.up_proj
    found: torch.Tensor = weight[expert]
    return (found.T if getattr(experts, "is_transposed", False) else found)[:UNITS]


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


def read_by(decoder: Any, find: Callable[[Any], Any]) -> list[tuple[torch.Tensor, ...] | None]:
    """What a module of each layer is called with, in a run of its own; None without one.

    The first is what it reads, (token, D).
    """
    seen: dict[int, tuple[torch.Tensor, ...]] = {}
    handles = []
    for n, layer in enumerate(decoder.layers):
        if (module := find(layer)) is not None:
            keep = partial(_keep, seen, n)
            handles.append(module.register_forward_pre_hook(keep))
    decoder(input_ids=TOKENS_BT, use_cache=False)
    for handle in handles:
        handle.remove()
    return [seen.get(n) for n in range(len(decoder.layers))]


def _keep(seen: dict[int, Any], n: int, _: Any, args: tuple[torch.Tensor, ...]) -> None:
    seen[n] = args[0].reshape(-1, args[0].shape[-1]), *args[1:]


def given_experts(name: str, decoder: Any) -> list[list[list[int]] | None]:
    """The experts of each token in each layer; computed where their papers' way is written here."""
    experts = read_by(decoder, experts_of)
    if name not in ("deepseek_v3", "gemma4_text", "glm4_moe", "qwen2_moe"):
        return [None if args is None else args[1].tolist() for args in experts]
    router = read_by(decoder, lambda layer: experts_of(layer) and router_of(layer))
    return [
        args and [choose_experts(name, router_of(layer), read_D) for read_D in args[0]]
        for layer, args in zip(decoder.layers, router, strict=True)
    ]


def recompute(name: str, decoder: Any, counted_T: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Activations by plain arithmetic, and which were given, both (layer, token, neuron)."""
    function = function_of(name)
    dense, experts = read_by(decoder, first_of), read_by(decoder, experts_of)
    chosen = given_experts(name, decoder)
    widest = max(sum(map(width_of, blocks)) for blocks in sizes_of(name))
    activation_LTN = torch.zeros(3, TOKENS_BT.numel(), widest)
    given_LTN = torch.zeros_like(activation_LTN).bool()
    for n, layer in enumerate(decoder.layers):
        first = dense_width(name, n)
        if (args := dense[n]) is not None:
            weight_ND = first_of(layer).weight[:first]
            if name == "zamba2":  # each layer adds a matrix of low rank to the shared one
                mlp = layer.shared_transformer.feed_forward
                down, up = mlp.gate_up_proj_adapter_list[mlp.layer_dic[n]]
                weight_ND = weight_ND + (up.weight @ down.weight)[:first]
            activation_LTN[n, :, :first] = function(args[0] @ weight_ND.T)
            given_LTN[n, :, :first] = True
        if (args := experts[n]) is None:
            continue
        for t, read_D in enumerate(args[0]):
            for expert in (chosen[n] or [])[t]:
                at = slice(first + expert * UNITS, first + (expert + 1) * UNITS)
                activation_LTN[n, t, at] = function(gate_of(experts_of(layer), expert) @ read_D)
                given_LTN[n, t, at] = True
    return activation_LTN[:, counted_T], given_LTN[:, counted_T]


def test_blocks_are_found(name: str, make_model: Callable[[str], Any]) -> None:
    decoder = find_decoder(make_model(name))
    hook_points = find_hook_points(decoder)
    check_hook_points(decoder, hook_points, TOKENS)
    assert not hook_points.alike
    found = [
        ["experts" if of.num_experts else f"dense {of.num_units}" for of in hook_points.of_layer(n)]
        for n in range(3)
    ]
    assert found == sizes_of(name)
    widths = [sum(map(width_of, blocks)) for blocks in sizes_of(name)]
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
    decoder = find_decoder(make_model(name))
    hook_points = find_hook_points(decoder)
    counted_T = torch.arange(TOKENS_BT.numel()) % 4 != 0
    plain_LTN, given_LTN = recompute(name, decoder, counted_T)
    counter = Counter(hook_points, CPU, choose([*DEFAULT, "activation_max"]))
    counter.count(counted_T)
    decoder(input_ids=TOKENS_BT, use_cache=False)
    counter.remove()
    counts = counter.take()
    active_LN = counts.statistics["active_count"]
    near = 1e-10 if name == "nemotron_h" else 1e-5  # the former squares
    sure_LN = ~((plain_LTN.abs() < near) & given_LTN & (plain_LTN != 0)).any(dim=1).numpy()
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
    if not hook_points.num_experts:
        assert counts.routed_LE is None
        return
    assert counts.routed_LE is not None
    for layer, blocks in enumerate(sizes_of(name)):
        routed_N = given_LTN[layer].sum(0).numpy()[dense_width(name, layer) :]
        if "experts" in blocks:
            np.testing.assert_array_equal(
                counts.routed_LE[layer].repeat(UNITS), routed_N[: EXPERTS * UNITS]
            )
            assert counts.routed_LE[layer].sum() == TOP * int(counted_T.sum())
        else:
            assert (counts.routed_LE[layer] == 0).all()


def test_watching_leaves_outputs_bit_identical(name: str, make_model: Callable[[str], Any]) -> None:
    assert_outputs_stay(make_model(name), TOKENS_BT)


def test_masking_equals_zeroing_the_down_projection(
    name: str, make_model: Callable[[str], Any]
) -> None:
    """Neurons of both blocks of a layer, and of several experts, together."""
    model, cut = make_model(name), make_model(name)
    widths = [sum(map(width_of, blocks)) for blocks in sizes_of(name)]
    off = {layer: np.arange(layer, width, 3) for layer, width in enumerate(widths) if width}
    plain = model(input_ids=TOKENS_BT, use_cache=False).logits
    for layer, neurons in off.items():
        first = dense_width(name, layer)
        for neuron in neurons.tolist():
            if neuron < first:
                down_of(find_decoder(cut).layers[layer]).weight[:, neuron] = 0
                continue
            expert, unit = divmod(neuron - first, UNITS)
            experts = experts_of(find_decoder(cut).layers[layer])
            if getattr(experts, "is_transposed", False):
                experts.down_proj[expert, unit] = 0
            else:
                experts.down_proj[expert, :, unit] = 0
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
    ablation = Ablation(find_hook_points(find_decoder(model)), CPU)
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
