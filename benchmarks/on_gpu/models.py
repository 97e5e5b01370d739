"""Models with real shapes and random weights, and texts for them."""

from typing import Any

import numpy as np
import torch
import transformers as hf
from torch import nn
from transformers.initialization import no_init_weights

from vxdist.plan import Plan, make_plan
from vxdist.plan.texts import TokenizedStory
from vxstore.write import PartLabels, create

VALUES = ("patriotism", "equality")

LLAMA = {"num_key_value_heads": 8, "vocab_size": 128_256, "rope_theta": 500_000.0}
SHAPES: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "1b": (
        hf.LlamaConfig,
        {**LLAMA, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
         "num_attention_heads": 32},
    ),
    "8b": (
        hf.LlamaConfig,
        {**LLAMA, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
         "num_attention_heads": 32},
    ),
    "32b": (
        hf.Qwen2Config,
        {"hidden_size": 5120, "intermediate_size": 27_648, "num_hidden_layers": 64,
         "num_attention_heads": 40, "num_key_value_heads": 8, "vocab_size": 152_064},
    ),
    "70b": (
        hf.LlamaConfig,
        {**LLAMA, "hidden_size": 8192, "intermediate_size": 28_672, "num_hidden_layers": 80,
         "num_attention_heads": 64},
    ),
}  # fmt: skip
"""Llama-3.2-1B, Llama-3.1-8B, Qwen2.5-32B and Llama-3.1-70B, from their config.json."""
TINY = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
}


def configure(name: str, tiny: bool) -> Any:
    """The configuration of a shape; its class with toy numbers if `tiny`."""
    kind, numbers = SHAPES[name]
    return kind(**{**numbers, **(TINY if tiny else {})})


def build(config: Any, device: torch.device, *, head: bool) -> Any:
    """A bf16 model with weights drawn on the device, with or without its language-model head."""
    kind: Any = hf.AutoModelForCausalLM if head else hf.AutoModel
    with device, no_init_weights():
        model = kind.from_config(config, dtype=torch.bfloat16)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.02)
            else:
                parameter.fill_(1.0 if "norm" in name else 0.0)
    return model.eval().requires_grad_(False)


def weight_bytes(config: Any, *, head: bool) -> int:
    """Bytes of weights of what `build` makes, without building it."""
    kind: Any = hf.AutoModelForCausalLM if head else hf.AutoModel
    with torch.device("meta"):
        model = kind.from_config(config, dtype=torch.bfloat16)
    return sum(parameter.nbytes for parameter in model.parameters())


def multiplied(model: Any) -> int:
    """Number of weights that every token is multiplied with: those of the linear layers, and of
    the experts that it is routed to."""
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))
    experts = [m for m in model.modules() if hasattr(m, "gate_up_proj") and hasattr(m, "down_proj")]
    stacked = [p for m in experts for p in (m.gate_up_proj, m.down_proj) if _is_stacked(p)]
    per_token = getattr(model.config, "num_experts_per_tok", 0)
    return linear + sum(p[0].numel() * per_token for p in stacked)


def _is_stacked(weight: Any) -> bool:
    return isinstance(weight, nn.Parameter) and weight.dim() == 3


def make_texts(vocabulary: int, tokens_per_batch: int, batches: int) -> Plan:
    """Random texts with the lengths of stories, in two parts of about `batches` full batches each.

    Lengths are log-normal around 250 tokens (a dilemma with its choice and rationale). With the
    thousands of stories of a value, the texts of a batch have almost the same length; here they
    differ by at most 5%. The first token of each text does not count, like a BOS token.
    """
    rng = np.random.default_rng(0)
    median = min(250, tokens_per_batch // 8)
    stories = []
    for value in VALUES:
        widths = np.clip(rng.lognormal(np.log(median), 0.3, batches), 8, 4 * median)
        lengths = [rng.uniform(0.95, 1, int(tokens_per_batch / width)) * width for width in widths]
        for n, length in enumerate(rng.permutation(np.concatenate(lengths)).astype(int)):
            stories.append(
                TokenizedStory(
                    id=f"{value}-{n}",
                    pair=f"{value}-{n}",
                    value=value,
                    language="en",
                    stance="aligned",
                    setting="",
                    token_ids_T=rng.integers(3, vocabulary, length, dtype=np.int32),
                    counted_T=np.arange(length) > 0,
                )
            )
    return make_plan(
        stories,
        values=VALUES,
        languages=("en",),
        parts_per_group=1,
        tokens_per_batch=tokens_per_batch,
        max_padding=0.05,
    )


def make_store(path: str, plan: Plan, config: Any) -> None:
    """An empty store for the plan's parts."""
    experts = getattr(config, "num_local_experts", 0) or getattr(config, "num_experts", 0)
    units = getattr(config, "moe_intermediate_size", 0) or config.intermediate_size
    create(
        path,
        num_layers=config.num_hidden_layers,
        num_neurons=units * max(1, experts),
        num_experts=experts,
        values=VALUES,
        languages=("en",),
        parts=[PartLabels(value=p.value, language=p.language, stance=p.stance) for p in plan.parts],
        attrs={
            "model": "random weights",
            "model_fingerprint": "0" * 8,
            "dtype": "bfloat16",
            "planned_token_count": plan.token_count,
            **({"experts_per_token": config.num_experts_per_tok} if experts else {}),
        },
    )
