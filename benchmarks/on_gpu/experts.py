"""Locate on models of routed experts, against transformers' fastest way to run them.

    qwen3_30b_a3b   the shape of Qwen3-30B-A3B: 48 layers of 128 experts, 8 of them for a token
    gpt_oss_20b     the shape of gpt-oss-20b: 24 layers of 32 experts, 4 of them for a token

Random weights, drawn on the device. The bare decoder runs transformers' `grouped_mm`, without a
hook; locate is vxdist's loop with its store. If memory does not suffice, the model has half of the
layers, which `layers` tells. Whatever goes wrong is in the result, as `error`.

S: row, one for each token and each of its experts; E: expert, U: unit, T: token, L: layer.
"""

import traceback
from collections.abc import Callable
from typing import Any

import torch
import transformers as hf

from on_gpu.compare import compare
from on_gpu.measure import copy_rate, free_memory, matrix_rate, median_seconds
from on_gpu.models import build, make_texts, weight_bytes
from vxdist.hooks.counter import Counter
from vxdist.hooks.kernel import ERROR, accumulate_experts, accumulate_experts_torch
from vxdist.model.hook_points import find_hook_points

SHAPES: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "qwen3_30b_a3b": (
        hf.Qwen3MoeConfig,
        {"hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 768,
         "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4,
         "head_dim": 128, "vocab_size": 151_936, "num_experts": 128, "num_experts_per_tok": 8},
    ),
    "gpt_oss_20b": (
        hf.GptOssConfig,
        {"hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 24,
         "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
         "vocab_size": 201_088, "num_local_experts": 32, "num_experts_per_tok": 4},
    ),
}  # fmt: skip
"""From their config.json."""
SECTIONS = tuple(SHAPES)
TINY = {
    "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 512,
}  # fmt: skip
TINY_OF = {
    "qwen3_30b_a3b": {"moe_intermediate_size": 48, "num_experts": 8, "num_experts_per_tok": 2},
    "gpt_oss_20b": {"num_local_experts": 4, "num_experts_per_tok": 2},
}
TOKENS_PER_BATCH, BATCHES = 16_384, 2
SPARE_BYTES = 8 * 10**9
"""Memory for a batch besides the weights: a token is in as many rows as it has experts."""
MOST_SECONDS = 25.0
"""No round of the comparison starts after that."""


def measure_experts(
    section: str, device: torch.device, *, tiny: bool, rounds: int, seconds: float, profile: bool
) -> dict[str, Any]:
    """The figures of a section, as far as they came, and the error if one came instead."""
    figures: dict[str, Any] = {}
    try:
        _measure(section, device, figures, tiny, rounds, min(seconds, MOST_SECONDS), profile)
    except Exception as error:
        figures["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:600]}"
        figures["error_at"] = traceback.format_exc().splitlines()[-12:]
    return figures


def _measure(
    section: str,
    device: torch.device,
    figures: dict[str, Any],
    tiny: bool,
    rounds: int,
    seconds: float,
    profile: bool,
) -> None:
    config = _configure(section, tiny, device)
    figures["layers"] = config.num_hidden_layers
    figures["weight_gigabytes"] = round(weight_bytes(config, head=False) / 1e9, 2)
    rate = matrix_rate(device, 256 if tiny else 8192)
    figures["matrix_teraflops"] = round(rate / 1e12, 2)
    figures["kernel"] = _tried(lambda: _measure_kernel(config, device, tiny))
    free_memory(device)
    model = build(config, device, head=False)
    model.set_experts_implementation("grouped_mm")
    plan = make_texts(config.vocab_size, 256 if tiny else TOKENS_PER_BATCH, BATCHES)
    figures["watching"] = _tried(lambda: _compare_outputs(model, device))
    figures |= compare(
        model,
        plan,
        device,
        names=("bare", "locate"),
        rounds=rounds,
        seconds=seconds,
        rate=rate,
        profile=profile,
    )


def _tried(run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What it returns, or the error's text: the rest of the section is of use without it."""
    try:
        return run()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"}


def _configure(section: str, tiny: bool, device: torch.device) -> Any:
    """The configuration, with half of the layers if the whole does not fit."""
    kind, numbers = SHAPES[section]
    if tiny:
        return kind(**{**numbers, **TINY, **TINY_OF[section]})
    config = kind(**numbers)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if free < weight_bytes(config, head=False) + SPARE_BYTES:
            return kind(**{**numbers, "num_hidden_layers": numbers["num_hidden_layers"] // 2})
    return config


@torch.inference_mode()
def _compare_outputs(model: Any, device: torch.device) -> dict[str, Any]:
    """Law 6, and law 1 of the tokens routed: what watching changes, and what was counted."""
    decoder = model.get_decoder()
    hook_points = find_hook_points(decoder)
    ids_BT = torch.randint(3, model.config.vocab_size, (2, 64), device=device)
    before_BTD = decoder(input_ids=ids_BT, use_cache=False).last_hidden_state
    again_BTD = decoder(input_ids=ids_BT, use_cache=False).last_hidden_state
    counter = Counter(hook_points, device)
    counter.count(torch.ones_like(ids_BT, dtype=torch.bool))
    watched_BTD = decoder(input_ids=ids_BT, use_cache=False).last_hidden_state
    counter.remove()
    counts = counter.take()
    routed_LE = counts.routed_LE
    assert routed_LE is not None
    expected = hook_points.blocks[0].experts_per_token * ids_BT.numel()
    return {
        "same_bits_twice": torch.equal(before_BTD, again_BTD),
        "same_bits_watched": torch.equal(before_BTD, watched_BTD),
        "largest_change": float((before_BTD.float() - watched_BTD.float()).abs().max()),
        "largest_output": float(before_BTD.float().abs().max()),
        "routed_right": bool((routed_LE.sum(axis=1) == expected).all()),
        "active_share": round(
            float(counts.statistics["active_count"].sum())
            / float(routed_LE.sum() * hook_points.blocks[0].num_units),
            4,
        ),
    }


def _measure_kernel(config: Any, device: torch.device, tiny: bool) -> dict[str, Any]:
    """The counting kernel on the rows of one layer, against plain torch and the copy bandwidth."""
    experts = getattr(config, "num_local_experts", None) or config.num_experts
    units = getattr(config, "moe_intermediate_size", None) or config.intermediate_size
    rows = config.num_experts_per_tok * (256 if tiny else TOKENS_PER_BATCH)
    value_SU = torch.randn(rows, units, device=device).bfloat16()
    counted_S = torch.rand(rows, device=device) < 0.95
    # Uneven, as routers are.
    weight_E = torch.rand(experts, device=device).square()
    expert_S = torch.multinomial(weight_E, rows, replacement=True).sort().values
    number_E = torch.arange(experts, device=device)
    end_E = torch.searchsorted(expert_S, number_E, right=True, out_int32=True)

    def totals() -> list[torch.Tensor]:
        types = (torch.int64, torch.float64, torch.float64)
        return [torch.zeros(experts, units, dtype=of, device=device) for of in types]

    found, expected, again = totals(), totals(), totals()
    accumulate_experts(value_SU, counted_S, end_E, *found)
    accumulate_experts_torch(value_SU, counted_S, end_E, *expected)
    accumulate_experts(value_SU, counted_S, end_E, *again)
    size_EU = totals()[1].index_add_(0, expert_S, value_SU.double().abs() * counted_S[:, None])
    error_EU = (found[1] - expected[1]).abs() / size_EU.clamp_min(1e-9)
    took = median_seconds(
        lambda: accumulate_experts(value_SU, counted_S, end_E, *again), device, 20
    )
    copied = copy_rate(device, 2**20 if tiny else 2**32)
    return {
        "triton": _tried(lambda: _try_triton(value_SU, counted_S, end_E, totals())),
        "rows": rows,
        "experts": experts,
        "units": units,
        "microseconds": round(took * 1e6, 1),
        "share_of_copy_bandwidth": round(value_SU.nbytes / took / copied, 4),
        "counts_exact": torch.equal(found[0], expected[0]),
        "largest_difference_from_torch": float(f"{float(error_EU.max()):.2e}"),
        "difference_allowed": 2 * ERROR,
    }


def _try_triton(
    value_SU: torch.Tensor,
    counted_S: torch.Tensor,
    end_E: torch.Tensor,
    totals: list[torch.Tensor],
) -> dict[str, Any]:
    """Whether the kernel itself runs: counting falls back on plain torch if it does not."""
    if value_SU.device.type != "cuda":
        return {"ran": False}
    from vxdist.hooks.kernel_triton_experts import accumulate_experts_triton

    accumulate_experts_triton(value_SU, counted_S, end_E, *totals)
    return {"ran": True}
