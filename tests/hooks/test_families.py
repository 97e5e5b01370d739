"""Laws 5 and 6 for every family: counts equal a plain recomputation; watching changes nothing.

T: token, N: neuron, D: hidden size, K: expert of a token, U: unit of an expert.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.conftest import INLINE, ONE_EACH, QUICK_BLOCKS, SEVERAL_BLOCKS
from tests.hooks.watching import assert_outputs_stay
from vxdist.hooks.ablation import Ablation
from vxdist.hooks.counter import Counter
from vxdist.hooks.measures import choose
from vxdist.hooks.selftest import check_hook_points
from vxdist.model.decoder import LAYERS, find_decoder
from vxdist.model.hook_points import find_hook_points
from vxdist.model.layouts import LAYOUTS
from vxstore.statistics import DEFAULT

TOKENS_BT = torch.randint(3, 512, (3, 11), generator=torch.Generator().manual_seed(1))
CPU = torch.device("cpu")

GELU_TANH = (
    "bloom codegen gemma gemma2 gemma3 gemma3_text gemma3n_text gemma4 gemma4_text gemma4_unified "
    "gemma4_unified_text gpt-sw3 gpt2 gpt_bigcode gpt_neo gptj openai-gpt phi recurrent_gemma "
    "starcoder2 vaultgemma"
)
GELU_ERF = "biogpt falcon gpt_neox gpt_neox_japanese modernbert-decoder mpt xglm"
RELU = "ctrl opt"
SQUARED_RELU = "arcee fuyu jais2 nanochat nemotron persimmon"
PLAIN_ROUTERS = "flex_olmo mixtral olmoe qwen3_moe"
"""Families whose experts are those of the largest products with a matrix."""

FIRST: dict[str, Callable[[Any], Any]] = {
    "gated": lambda layer: layer.mlp.gate_proj,
    "gated, fused": lambda layer: layer.mlp.gate_up_proj,
    "up and down": lambda layer: layer.mlp.up_proj,
    "GPT-2": lambda layer: layer.mlp.c_fc,
    "GPT-NeoX": lambda layer: layer.mlp.dense_h_to_4h,
    "BLOOM": lambda layer: layer.mlp.dense_h_to_4h,
    "GPT-J": lambda layer: layer.mlp.fc_in,
    "Phi": lambda layer: layer.mlp.fc1,
    "OPT": lambda layer: layer.fc1,
    "gated, feed_forward": lambda layer: layer.feed_forward.gate_proj,
    "gated, mlp_block": lambda layer: layer.mlp_block.gate_proj,
    "MPT": lambda layer: layer.ffn.up_proj,
    "CTRL": lambda layer: layer.ffn[0],
    "gated, Wi": lambda layer: layer.mlp.Wi,
    "gated, ffn": lambda layer: layer.ffn.proj_up_gate,
    "experts": lambda layer: layer.mlp.experts,
    "experts, block_sparse_moe": lambda layer: layer.block_sparse_moe.experts,
    "experts, ffn": lambda layer: layer.ffn.experts,
}
"""The module that reads what the neurons read."""


def xielu(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """Huang and Schlag, 2024 (arXiv 2411.13010), eq. 10, with the layer's learned slopes."""
    act = layer.mlp.act_fn
    positive, negative = F.softplus(act.alpha_p), 0.5 + F.softplus(act.alpha_n)
    below = (torch.expm1(x.clamp(max=-1e-6)) - x) * negative
    return torch.where(x > 0, positive * x * x, below) + 0.5 * x


def function_of(family: str, layer: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """The activation function that the family's papers and configurations name."""
    if family in GELU_TANH.split():
        return partial(F.gelu, approximate="tanh")
    if family in GELU_ERF.split():
        return F.gelu
    if family in SQUARED_RELU.split():
        return lambda x: F.relu(x).square()
    if family == "apertus":
        return partial(xielu, layer)
    return F.relu if family in RELU.split() else F.silu


def layers_of(decoder: Any) -> Any:
    return next(getattr(decoder, name) for name in LAYERS if hasattr(decoder, name))


@dataclass(frozen=True, kw_only=True)
class Read:
    """What a block reads, and the experts of each token."""

    read_TD: torch.Tensor
    expert_TK: torch.Tensor | None

    def of(self, counted_T: torch.Tensor) -> "Read":
        expert_TK = self.expert_TK
        return Read(
            read_TD=self.read_TD[counted_T],
            expert_TK=None if expert_TK is None else expert_TK[counted_T],
        )


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Activations by plain arithmetic, and which of them there are."""

    activation_TN: torch.Tensor
    routed_TN: torch.Tensor


def recompute(family: str, layout: str, layer: Any, read: Read) -> Plain:
    function = function_of(family, layer)
    if layout.startswith("experts"):
        return recompute_experts(family, layer, FIRST[layout](layer), read)
    first = FIRST[layout](layer)
    # GPT-2's Conv1D keeps its weight the other way round.
    hidden_TN = read.read_TD @ (first.weight if hasattr(first, "nx") else first.weight.T)
    if first.bias is not None:
        hidden_TN = hidden_TN + first.bias
    if layout in ("gated, fused", "gated, Wi"):
        hidden_TN = hidden_TN[:, : hidden_TN.shape[1] // 2]
    if family == "falcon_h1":
        hidden_TN = hidden_TN * layer.feed_forward.gate_multiplier
    activation_TN = function(hidden_TN)
    return Plain(activation_TN=activation_TN, routed_TN=torch.ones_like(activation_TN).bool())


def recompute_experts(family: str, layer: Any, of: Any, read: Read) -> Plain:
    """Token by token, expert by expert."""
    num_experts, num_units = 4, 12
    assert read.expert_TK is not None
    activation_TN = torch.zeros(len(read.read_TD), num_experts * num_units)
    routed_TN = torch.zeros_like(activation_TN).bool()
    for token, read_D in enumerate(read.read_TD):
        experts = set(read.expert_TK[token].tolist())
        if family in PLAIN_ROUTERS.split():
            assert experts == set((layer.mlp.gate.weight @ read_D).topk(2).indices.tolist())
        for expert in experts:
            at = slice(expert * num_units, (expert + 1) * num_units)
            # DBRX keeps the experts below each other.
            gate_UD = of.mlp.w1[at] if family == "dbrx" else of.gate_up_proj[expert][:num_units]
            activation_TN[token, at] = F.silu(gate_UD @ read_D)
            routed_TN[token, at] = True
    return Plain(activation_TN=activation_TN, routed_TN=routed_TN)


def what_neurons_read(decoder: Any, layout: str) -> list[Read]:
    """What each feed-forward block reads, in a run of its own."""
    seen: list[Read] = []

    def see(_: Any, args: tuple[torch.Tensor, ...]) -> None:
        read_TD = args[0].reshape(-1, args[0].shape[-1])
        seen.append(
            Read(read_TD=read_TD, expert_TK=args[1] if layout.startswith("experts") else None)
        )

    handles = [FIRST[layout](layer).register_forward_pre_hook(see) for layer in layers_of(decoder)]
    decoder(input_ids=TOKENS_BT, use_cache=False)
    for handle in handles:
        handle.remove()
    return seen


def test_every_family_is_tested(families: list[str]) -> None:
    tested = sorted((*families, *SEVERAL_BLOCKS, *INLINE))
    assert sorted({f for layout in LAYOUTS for f in layout.families}) == tested


def test_a_family_of_each_common_layout_is_quick() -> None:
    """conftest.py names them; the others are long, and so are layouts that few models have."""
    rare = re.compile(r"CTRL|gated, (Wi|ffn|mlp\.shared_mlp)|.*shared_transf|experts, ")
    for layout in LAYOUTS:
        if not rare.match(layout.name):
            assert (ONE_EACH | {*QUICK_BLOCKS, *INLINE}) & set(layout.families), layout.name


def test_counts_equal_a_plain_recomputation(family: str, make_model: Callable[[str], Any]) -> None:
    decoder = find_decoder(make_model(family))
    hook_points = find_hook_points(decoder)
    check_hook_points(decoder, hook_points, (1, 2, 3))
    assert hook_points.alike
    layout = hook_points.blocks[0].layout
    assert family in layout.families
    assert (hook_points.num_layers, hook_points.num_neurons) == (3, 48)
    counted_T = torch.arange(TOKENS_BT.numel()) % 4 != 0
    reads = what_neurons_read(decoder, layout.name)
    plain = [
        recompute(family, layout.name, layer, read.of(counted_T))
        for layer, read in zip(layers_of(decoder), reads, strict=True)
    ]
    plain_LTN = torch.stack([p.activation_TN for p in plain])
    routed_LTN = torch.stack([p.routed_TN for p in plain])
    routed_LN = routed_LTN.sum(1)

    counter = Counter(hook_points, CPU, choose([*DEFAULT, "activation_max"]))
    counter.count(counted_T)
    decoder(input_ids=TOKENS_BT, use_cache=False)
    counter.remove()
    counts = counter.take()
    active_LN = counts.statistics["active_count"]
    assert 0 < active_LN.sum() < plain_LTN.numel()
    is_relu = family in (RELU + " " + SQUARED_RELU).split()
    near_LTN = (plain_LTN.abs() < 1e-5) & (plain_LTN != 0)
    unsure_LN = near_LTN.any(dim=1).numpy() & (not is_relu)
    expected_LN = (plain_LTN > 0).sum(1).numpy()
    np.testing.assert_array_equal(active_LN[~unsure_LN], expected_LN[~unsure_LN])
    tolerance = {"rtol": 1e-4, "atol": 1e-4}
    expected = {
        "activation_sum": plain_LTN.double().sum(1),
        "activation_square_sum": plain_LTN.double().square().sum(1),
        "activation_max": plain_LTN.masked_fill(~routed_LTN, -torch.inf).amax(1),
    }
    for name, number_LN in expected.items():
        np.testing.assert_allclose(counts.statistics[name], number_LN.numpy(), **tolerance)
    if hook_points.num_experts:
        assert counts.routed_LE is not None
        np.testing.assert_array_equal(counts.routed_LE.repeat(12, axis=1), routed_LN.numpy())
        per_token = hook_points.blocks[0].experts_per_token
        assert (counts.routed_LE.sum(1) == per_token * int(counted_T.sum())).all()
    else:
        assert counts.routed_LE is None


def test_watching_leaves_outputs_bit_identical(
    family: str, make_model: Callable[[str], Any]
) -> None:
    assert_outputs_stay(make_model(family), TOKENS_BT)


def test_masking_equals_zeroing_the_down_projection(
    family: str, make_model: Callable[[str], Any]
) -> None:
    masked_model, cut_model = make_model(family), make_model(family)
    off = {0: np.array([0, 5, 30, 47]), 2: np.arange(24)}
    mask = Ablation(find_hook_points(find_decoder(masked_model)), CPU)
    plain = masked_model(input_ids=TOKENS_BT, use_cache=False).logits
    mask.ablate(off)
    masked = masked_model(input_ids=TOKENS_BT, use_cache=False).logits
    for layer, neurons in off.items():
        cut_columns(find_hook_points(find_decoder(cut_model)).blocks[layer].output, neurons)
    cut = cut_model(input_ids=TOKENS_BT, use_cache=False).logits
    assert not torch.allclose(plain, masked, atol=1e-4)
    torch.testing.assert_close(masked, cut, atol=1e-4, rtol=1e-4)
    mask.ablate({})
    assert torch.equal(plain, masked_model(input_ids=TOKENS_BT, use_cache=False).logits)


def cut_columns(output: Any, neurons: np.ndarray) -> None:
    if hasattr(output, "ffn_hidden_size"):  # DBRX
        output.mlp.w2.data[neurons] = 0
        return
    if hasattr(output, "num_experts"):
        for neuron in neurons:
            output.down_proj.data[neuron // 12, :, neuron % 12] = 0
        return
    # GPT-2's Conv1D keeps its weight the other way round.
    columns = output.weight.data.T if hasattr(output, "nx") else output.weight.data
    columns[:, neurons] = 0


@pytest.mark.parametrize("name", ["bitnet"])
def test_what_only_looks_alike_is_refused(name: str) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    from vxdist.errors import UserError

    small = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 4, "num_local_experts": 4,
        "num_experts_per_tok": 2,
    }  # fmt: skip
    torch.manual_seed(7)
    config = AutoConfig.for_model(name, **small)
    model = AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(UserError, match=r"not supported: |not a sum over its neurons"):
        check_hook_points(model.get_decoder(), find_hook_points(find_decoder(model)), (1, 2, 3))
