"""Laws 5 and 6 where vxdist runs a block in place of the model's own code.

S: row, T: token, N: neuron, D: hidden size, E: expert, U: unit of an expert, L: layer.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.conftest import INLINE
from vxdist.errors import UserError
from vxdist.hooks.ablation import Ablation
from vxdist.hooks.attach import Rows, watch
from vxdist.hooks.counter import Counter
from vxdist.hooks.interventions import Affine
from vxdist.hooks.live import ablate
from vxdist.hooks.selftest import TOKENS, check_hook_points
from vxdist.model.blocks import Block
from vxdist.model.gates import FORMS, find_gate
from vxdist.model.hook_points import find_hook_points
from vxdist.model.runners import InTurn
from vxdist.model.running import Running, find_runner, runner_of

TOKENS_BT = torch.randint(3, 512, (3, 11), generator=torch.Generator().manual_seed(1))
CPU = torch.device("cpu")
EXPERTS, UNITS = 4, 12
PLACES = ("shared_expert", "shared_experts")


@pytest.fixture(params=INLINE)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(input_ids=TOKENS_BT, use_cache=False).logits
    return found


def block_of(layer: Any) -> Any:
    return getattr(layer, "feed_forward", None) or layer.mlp


def dense_of(layer: Any) -> Any:
    """The dense block of a layer, beside its experts or alone; None without one."""
    block = block_of(layer)
    inside = [getattr(block, place) for place in PLACES if hasattr(block, place)]
    return inside[0] if inside else None if hasattr(block, "experts") else block


def down_of(dense: Any) -> Any:
    return dense.w2 if hasattr(dense, "w2") else dense.down_proj


def glu(x: torch.Tensor) -> torch.Tensor:
    """gpt-oss's model card: x sigmoid(1.702 x), of x up to 7."""
    x = x.clamp(max=7)
    return x / (1 + torch.exp(-1.702 * x))


def plain_dense(name: str, dense: Any, read_TD: torch.Tensor) -> torch.Tensor:
    if name.startswith("lfm"):
        return F.silu(read_TD @ dense.w1.weight.T)
    if name == "llama4_text":
        return F.silu(read_TD @ dense.gate_proj.weight.T)
    projected_TP = read_TD @ dense.gate_up_proj.weight.T
    return glu(projected_TP[:, : projected_TP.shape[1] // 2])


def plain_expert(name: str, experts: Any, expert: int, read_D: torch.Tensor) -> torch.Tensor:
    weight = experts.gate_up_proj[expert]
    if name == "gpt_oss":
        return glu((read_D @ weight + experts.gate_up_proj_bias[expert])[::2])
    if name == "llama4_text":
        return F.silu(read_D @ weight[:, :UNITS])
    function = F.silu if name == "lfm2_moe" else glu
    return function(weight[:UNITS] @ read_D)


def given(name: str, args: tuple[torch.Tensor, ...]) -> list[list[tuple[int, torch.Tensor]]]:
    """By token, its experts and what each of them reads."""
    if name == "llama4_text":  # experts read all tokens, weighed by the router's score
        read_ETD = args[0].reshape(EXPERTS, -1, args[0].shape[-1])
        return [
            [(e, read_ETD[e, t]) for e in range(EXPERTS) if read_ETD[e, t].any()]
            for t in range(read_ETD.shape[1])
        ]
    return [[(e, read_D) for e in of] for read_D, of in zip(args[0], args[1].tolist(), strict=True)]


def recompute(name: str, model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Activations and which were given, (layer, token, neuron), by arithmetic written here."""
    reads: dict[tuple[int, str], tuple[torch.Tensor, ...]] = {}
    handles = []
    for n, layer in enumerate(model.model.layers):
        experts = getattr(block_of(layer), "experts", None)
        for kind, module in (("dense", dense_of(layer)), ("experts", experts)):
            if module is not None:
                handles.append(
                    module.register_forward_pre_hook(
                        lambda _, args, at=(n, kind): reads.setdefault(at, args) and None
                    )
                )
    logits(model)
    for handle in handles:
        handle.remove()
    hook_points = find_hook_points(model.model)
    shape = (3, TOKENS_BT.numel(), hook_points.num_neurons)
    activation_LTN, given_LTN = torch.zeros(shape), torch.zeros(shape, dtype=torch.bool)
    for (n, kind), args in reads.items():
        layer = model.model.layers[n]
        width = 0 if (dense := dense_of(layer)) is None else down_of(dense).in_features
        if kind == "dense":
            read_TD = args[0].reshape(-1, args[0].shape[-1])
            activation_LTN[n, :, :width] = plain_dense(name, dense, read_TD)
            given_LTN[n, :, :width] = True
            continue
        for t, experts in enumerate(given(name, args)):
            for expert, read_D in experts:
                at = slice(width + expert * UNITS, width + (expert + 1) * UNITS)
                of_layer = block_of(layer).experts
                activation_LTN[n, t, at] = plain_expert(name, of_layer, expert, read_D)
                given_LTN[n, t, at] = True
    return activation_LTN, given_LTN


def with_biases(model: Any) -> Any:
    """Biases of experts that are not zero, as in a trained model."""
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith("_bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def test_counts_equal_a_plain_recomputation(name: str, make_model: Callable[[str], Any]) -> None:
    model = with_biases(make_model(name))
    hook_points = find_hook_points(model.model)
    check_hook_points(model.model, hook_points, TOKENS)
    counted_T = torch.arange(TOKENS_BT.numel()) % 4 != 0
    plain_LTN, given_LTN = (of[:, counted_T] for of in recompute(name, model))
    counter = Counter(hook_points, CPU)
    counter.count(counted_T)
    logits(model)
    counter.remove()
    counts = counter.take()
    sure_LN = ~((plain_LTN.abs() < 1e-5) & given_LTN).any(1).numpy()
    assert sure_LN.mean() > 0.99
    expected_LN = (plain_LTN > 0).sum(1).numpy()
    assert 0 < expected_LN.sum() < given_LTN.sum()
    np.testing.assert_array_equal(counts.statistics["active_count"][sure_LN], expected_LN[sure_LN])
    for statistic, power in (("activation_sum", 1), ("activation_square_sum", 2)):
        np.testing.assert_allclose(
            counts.statistics[statistic], plain_LTN.pow(power).sum(1).numpy(), rtol=1e-4, atol=1e-4
        )
    if counts.routed_LE is not None:
        for block in hook_points.blocks:
            if block.num_experts:
                routed_N = given_LTN[block.layer, :, block.all_neurons].sum(0).numpy()
                np.testing.assert_array_equal(counts.routed_LE[block.layer].repeat(UNITS), routed_N)


def test_watching_leaves_outputs_bit_identical_and_nothing_behind(
    name: str, make_model: Callable[[str], Any]
) -> None:
    model = make_model(name)
    before = logits(model)
    counter = Counter(find_hook_points(model.model), CPU)
    counter.count(torch.ones_like(TOKENS_BT, dtype=torch.bool))
    assert torch.equal(logits(model), before)
    assert any("forward" in vars(module) for module in model.modules())
    counter.remove()
    assert not any("forward" in vars(module) for module in model.modules())
    assert torch.equal(logits(model), before)


def test_masking_equals_zeroing_the_down_projection(
    name: str, make_model: Callable[[str], Any]
) -> None:
    model, cut = with_biases(make_model(name)), make_model(name)
    cut.load_state_dict(model.state_dict())
    hook_points = find_hook_points(cut.model)
    off = {n: np.flatnonzero(row)[n::3] for n, row in enumerate(hook_points.exists())}
    for layer, neurons in off.items():
        for block, expert, _, unit_N in hook_points.place(layer, neurons):
            weight = block.output.down_proj[expert] if block.num_experts else block.output.weight
            turned = name in ("gpt_oss", "llama4_text") and block.num_experts
            (weight if turned else weight.T)[torch.as_tensor(unit_N)] = 0
    plain, expected = logits(model), logits(cut)
    ablation = Ablation(find_hook_points(model.model), CPU)
    ablation.ablate(off)
    found = logits(model)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, plain, atol=1e-3)
    ablation.ablate({})
    assert torch.equal(logits(model), plain)
    ablation.remove()


def test_a_map_of_experts_is_the_map_of_each_row(make_model: Callable[[str], Any]) -> None:
    model, rng = make_model("qwen3_moe"), np.random.default_rng(0)
    hook_points = find_hook_points(model.get_decoder())
    scale_LN, shift_LN = rng.normal(size=(2, 3, EXPERTS * UNITS)).astype(np.float32)
    scale_LN[:, ::5] = 0
    off = {0: np.array([0, 5, 13, 47]), 1: np.arange(UNITS, 2 * UNITS)}
    seen: list[tuple[int, torch.Tensor, Rows]] = []
    mapped: list[torch.Tensor] = []

    def see(block: Block, activation: torch.Tensor, rows: Rows | None) -> None:
        assert rows is not None
        seen.append((block.layer, activation.clone(), rows))

    handles = watch(hook_points, see)
    ablation = Ablation(hook_points, CPU)
    ablation.ablate(off, Affine(scale_LN=scale_LN, shift_LN=shift_LN))
    handles += watch(hook_points, lambda _, of, __: mapped.append(of.clone()))
    logits(model)
    for handle in (*handles, ablation):
        handle.remove()
    for (layer, before_SU, rows), after_SU in zip(seen, mapped, strict=True):
        expected_SU = before_SU.clone()
        for row, expert in enumerate(rows.expert_S.tolist()):
            for unit in range(UNITS):
                neuron = expert * UNITS + unit
                if neuron in off.get(layer, ()):
                    expected_SU[row, unit] *= scale_LN[layer, neuron]
                    expected_SU[row, unit] += shift_LN[layer, neuron]
        torch.testing.assert_close(after_SU, expected_SU, rtol=1e-6, atol=1e-6)
    assert not any("forward" in vars(module) for module in model.modules())


def test_rows_are_sorted_and_end_where_they_say(make_model: Callable[[str], Any]) -> None:
    model = make_model("mixtral")
    found: list[Rows] = []

    def see(_: Block, activation: torch.Tensor, rows: Rows | None) -> None:
        assert rows is not None
        assert len(activation) == len(rows.expert_S) == 2 * TOKENS_BT.numel()
        found.append(rows)

    handles = watch(find_hook_points(model.get_decoder()), see)
    logits(model)
    for handle in handles:
        handle.remove()
    for rows in found:
        assert rows.expert_S.diff().min() >= 0
        sizes = torch.bincount(rows.expert_S, minlength=EXPERTS)
        assert rows.end_E.tolist() == sizes.cumsum(0).tolist()
        assert torch.bincount(rows.token_S).tolist() == [2] * TOKENS_BT.numel()
        slices = dict(rows.slices())
        assert sum(of.stop - of.start for of in slices.values()) == len(rows.expert_S)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["gpt_oss", "minimax_m3_vl_text", "mixtral", "lfm2_moe"])
def test_the_three_steps_give_the_bits_of_one(
    make_model: Callable[[str], Any], name: str, dtype: torch.dtype
) -> None:
    experts = next(m for m in make_model(name).modules() if hasattr(m, "_apply_gate"))
    gate = find_gate(experts)
    assert gate is not None
    projected_SP = 10 * torch.randn(64, 2 * UNITS, generator=torch.Generator().manual_seed(3))
    projected_SP = projected_SP.to(dtype)
    assert torch.equal(gate(projected_SP), experts._apply_gate(projected_SP))


def test_every_form_is_one_of_its_own(make_model: Callable[[str], Any]) -> None:
    """gpt-oss's experts have what other forms need too, and only its own gives the same."""
    experts = next(m for m in make_model("gpt_oss").modules() if hasattr(m, "_apply_gate"))
    projected_SP = 10 * torch.randn(8, 2 * UNITS)
    same = []
    for form, make in FORMS.items():
        try:
            if torch.equal(make(experts)(projected_SP), experts._apply_gate(projected_SP)):
                same.append(form)
        except AttributeError:
            continue
    assert same == ["clamped GLU, interleaved"]


def test_experts_that_compute_something_else_are_refused(
    make_model: Callable[[str], Any],
) -> None:
    model = make_model("mixtral")
    experts = model.get_decoder().layers[1].mlp.experts
    own = experts._apply_gate
    experts._apply_gate = lambda projected_SP: own(projected_SP) * 1.001
    told = (
        "^model.path: layer 1 of MixtralModel: what MixtralExperts computes between its two "
        "projections is none of the forms that vxdist knows"
    )
    with pytest.raises(UserError, match=told):
        find_hook_points(model.get_decoder())


def test_a_dense_block_that_computes_something_else_is_refused(
    make_model: Callable[[str], Any],
) -> None:
    model = make_model("lfm2")
    kind = type(model.model.layers[0].feed_forward)
    other = type("Other", (kind,), {"forward": lambda self, x: self.w2(self.w1(x) * self.w3(x))})
    model.model.layers[0].feed_forward.__class__ = other
    with pytest.raises(UserError, match="layer 0 of Lfm2Model: what Other computes"):
        find_hook_points(model.model)


def test_weights_beside_an_inline_block_are_not_overlooked(
    make_model: Callable[[str], Any],
) -> None:
    model = make_model("lfm2")
    model.model.layers[1].feed_forward.more = torch.nn.Linear(32, 8)
    with pytest.raises(UserError, match=r"layer 1 of Lfm2Model has feed_forward\.more beside its"):
        find_hook_points(model.model)


def test_what_was_there_before_comes_back(make_model: Callable[[str], Any]) -> None:
    """accelerate too puts a forward function on an instance."""
    model = make_model("mixtral")
    experts = model.get_decoder().layers[0].mlp.experts
    runner = runner_of(experts, model)
    assert runner is not None
    kept = experts.forward
    experts.forward = kept
    first, second = Running(runner), Running(runner)
    first.remove()
    assert experts.forward is not kept
    second.remove()
    assert experts.forward is kept
    del experts.forward
    calls = []
    experts._old_forward = kept
    experts.forward = lambda *args: calls.append(args) or experts._old_forward(*args)
    running = Running(runner)
    assert experts._old_forward is not kept
    logits(model)
    assert len(calls) == 1
    running.remove()
    assert experts._old_forward is kept


def test_widths_that_torch_cannot_read_at_once(make_model: Callable[[str], Any]) -> None:
    """12 units are 24 bytes in bfloat16, which torch's grouped product refuses."""
    model = make_model("mixtral").to(torch.bfloat16)
    counter = Counter(find_hook_points(model.get_decoder()), CPU)
    counter.count(torch.ones_like(TOKENS_BT, dtype=torch.bool))
    found = logits(model).float()
    counter.remove()
    model.set_experts_implementation("eager")
    torch.testing.assert_close(found, logits(model).float(), rtol=0.1, atol=0.1)


def test_it_can_be_ablated_in_memory(make_model: Callable[[str], Any]) -> None:
    model = make_model("gpt_oss")
    before = logits(model)
    with ablate(model, {0: [0, 13], 2: [47]}):
        assert not torch.equal(logits(model), before)
    assert torch.equal(logits(model), before)


class OneByOne(torch.nn.Module):
    """Experts in code of their own, which runs those in use in turn."""

    num_experts, intermediate_dim = EXPERTS, UNITS

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Module()
        self.inner.w1 = torch.nn.Parameter(torch.randn(EXPERTS, UNITS, 8))
        self.inner.act = torch.nn.SiLU()

    def forward(
        self, hidden_TD: torch.Tensor, expert_TK: torch.Tensor, weight_TK: torch.Tensor
    ) -> torch.Tensor:
        output_TD = torch.zeros_like(hidden_TD)
        for expert in expert_TK.unique():
            rank_S, token_S = torch.where(int(expert) == expert_TK.T)
            active_SU = self.inner.act(hidden_TD[token_S] @ self.inner.w1[expert].T)
            weighted_SD = (active_SU @ self.inner.w1[expert]) * weight_TK[token_S, rank_S, None]
            output_TD.index_add_(0, token_S, weighted_SD)
        return output_TD


def test_experts_that_run_in_turn() -> None:
    torch.manual_seed(0)
    module = OneByOne()
    runner = find_runner(module, module, module.inner.act)
    assert isinstance(runner, InTurn)
    hidden_TD, weight_TK = torch.randn(9, 8), torch.rand(9, 2)
    expert_TK = torch.stack([torch.randperm(3)[:2] for _ in range(9)])  # the last is not in use
    plain_TD = module(hidden_TD, expert_TK, weight_TK)
    seen = []
    handles = [
        Running(runner),
        module.inner.act.register_forward_hook(lambda *of: seen.append((runner.rows, of[2]))),
    ]
    assert torch.equal(module(hidden_TD, expert_TK, weight_TK), plain_TD)
    for handle in handles:
        handle.remove()
    for call, (rows, active_SU) in enumerate(seen):
        assert rows is not None
        assert rows.call == call
        ((expert, of),) = rows.slices()
        assert of == slice(0, len(active_SU))
        expected_SU = F.silu(hidden_TD[rows.token_S] @ module.inner.w1[expert].T)
        torch.testing.assert_close(active_SU, expected_SU)
        assert set(rows.token_S.tolist()) == set(
            (expert_TK == expert).any(1).nonzero()[:, 0].tolist()
        )
    assert len(seen) == 3
    with pytest.raises(UserError, match="do not run one by one"):
        _call_twice(module, runner, (hidden_TD, expert_TK, weight_TK))


def _call_twice(module: Any, runner: InTurn, args: tuple[torch.Tensor, ...]) -> None:
    kind = type("Twice", (OneByOne,), {"forward": lambda self, *of: self.inner.act(of[0][:1])})
    module.__class__ = kind
    runner(*args)
