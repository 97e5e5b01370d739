"""The layouts of feed-forward blocks that vxdist supports, and the model families that have them.

A neuron is unit j of the hidden layer of a feed-forward block; its activation is the output of the
activation function, before the product with the up projection in a gated block (arXiv 2504.04994).
In most layouts below that function is a module of its own, so a hook sees the activations. Where it
is not, or runs on some experts' tokens alone, vxdist/model/runners.py computes the same with one.
"""

import re
from dataclasses import dataclass

LAYERS = ("layers", "h", "blocks")
"""Attribute names that decoders use for their list of layers."""
ROUTERS = (
    *("mlp.gate", "mlp.router", "mlp.shared_expert_gate", "router"),
    *("feed_forward.gate", "feed_forward.router"),
)
"""Modules that route tokens to experts, or weigh what the shared expert gives."""
NOT_FEED_FORWARD = re.compile(
    r"attn|attention|conv1d"
    # State-space and recurrent layers beside, or in place of, attention.
    r"|^mamba\.|^temporal_block\.|^conv\."
    # Gemma 3n and 4: predictions between streams, low-rank residuals, embeddings for each layer.
    r"|^altup\.|^laurel\.|^per_layer_(input_gate|projection)\."
)
"""Names of other weights of a decoder layer. Weights that match nothing here belong to neurons that
vxdist would miss."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Module names within a decoder layer, and the model types tested to have them."""

    name: str
    first: tuple[str, ...]
    """Modules that distinguish this layout from others."""
    activation: str
    """The activation function; or, if `inline`, the module that has it in its code."""
    output: str
    """The module that reads the activations: the down projection, or the module of all experts."""
    families: tuple[str, ...]
    gated: bool = False
    """Whether the activations are multiplied by an up projection, which is not watched."""
    inline: bool = False
    """If true, the activation function is no module of the model; see vxdist/model/runners.py."""
    experts: bool = False
    """If true, a neuron is (layer, expert, unit); of the experts that transformers runs."""

    def describe(self) -> str:
        """For messages: name and modules of the layout."""
        inside = dict.fromkeys((*self.first, self.activation, self.output))
        return f"{self.name} ({', '.join(inside)})"


LAYOUTS = (
    Layout(
        name="gated",
        gated=True,
        first=("mlp.gate_proj", "mlp.up_proj"),
        activation="mlp.act_fn",
        output="mlp.down_proj",
        families=(
            "cohere",
            "cohere2",
            "cwm",
            "diffllama",
            "ernie4_5",
            "exaone4",
            "gemma",
            "gemma2",
            "gemma3",
            "gemma3_text",
            "gemma3n_text",
            "gemma4",
            "gemma4_unified",
            "gemma4_unified_text",
            "granite",
            "granite_swa",
            "helium",
            "hunyuan_v1_dense",
            "hyperclovax",
            "internlm3",
            "iquestcoder",
            "llama",
            "minicpm3",
            "ministral",
            "ministral3",
            "mistral",
            "olmo",
            "olmo2",
            "olmo3",
            "olmo_hybrid",
            "qwen2",
            "qwen3",
            "qwen3_5",
            "qwen3_5_text",
            "seed_oss",
            "smollm3",
            "stablelm",
            "vaultgemma",
            "youtu",
        ),
    ),
    Layout(
        name="gated, fused",
        gated=True,
        first=("mlp.gate_up_proj",),
        activation="mlp.activation_fn",
        output="mlp.down_proj",
        families=(
            "glm",
            "glm4",
            "phi3",
            "phi4_multimodal",
        ),
    ),
    Layout(
        name="gated, feed_forward",
        gated=True,
        first=("feed_forward.gate_proj", "feed_forward.up_proj"),
        activation="feed_forward.act_fn",
        output="feed_forward.down_proj",
        families=("bamba", "falcon_h1"),
    ),
    Layout(
        name="gated, mlp_block",
        gated=True,
        first=("mlp_block.gate_proj", "mlp_block.up_proj"),
        activation="mlp_block.act_fn",
        output="mlp_block.down_proj",
        families=("recurrent_gemma",),
    ),
    Layout(
        name="up and down",
        first=("mlp.up_proj",),
        activation="mlp.act_fn",
        output="mlp.down_proj",
        families=(
            "apertus",
            "arcee",
            "jais2",
            "nemotron",
        ),
    ),
    Layout(
        name="GPT-2",
        first=("mlp.c_fc",),
        activation="mlp.act",
        output="mlp.c_proj",
        families=(
            "gpt-sw3",
            "gpt2",
            "gpt_bigcode",
            "gpt_neo",
            "starcoder2",
        ),
    ),
    Layout(
        name="GPT-NeoX",
        first=("mlp.dense_h_to_4h",),
        activation="mlp.act",
        output="mlp.dense_4h_to_h",
        families=(
            "falcon",
            "fuyu",
            "gpt_neox",
            "gpt_neox_japanese",
            "persimmon",
        ),
    ),
    Layout(
        name="BLOOM",
        first=("mlp.dense_h_to_4h",),
        activation="mlp.gelu_impl",
        output="mlp.dense_4h_to_h",
        families=("bloom",),
    ),
    Layout(
        name="GPT-J",
        first=("mlp.fc_in",),
        activation="mlp.act",
        output="mlp.fc_out",
        families=("codegen", "gptj"),
    ),
    Layout(
        name="Phi",
        first=("mlp.fc1",),
        activation="mlp.activation_fn",
        output="mlp.fc2",
        families=(
            "nanochat",
            "phi",
        ),
    ),
    Layout(
        name="OPT",
        first=("fc1",),
        activation="activation_fn",
        output="fc2",
        families=(
            "biogpt",
            "opt",
            "xglm",
        ),
    ),
    Layout(
        name="MPT",
        first=("ffn.up_proj",),
        activation="ffn.act",
        output="ffn.down_proj",
        families=("mpt",),
    ),
    Layout(
        name="gated, shared experts",
        gated=True,
        first=("mlp.shared_experts.gate_proj", "mlp.shared_experts.up_proj"),
        activation="mlp.shared_experts.act_fn",
        output="mlp.shared_experts.down_proj",
        families=("deepseek_v3", "glm4_moe"),
    ),
    Layout(
        name="gated, shared expert",
        gated=True,
        first=("mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj"),
        activation="mlp.shared_expert.act_fn",
        output="mlp.shared_expert.down_proj",
        families=("qwen2_moe",),
    ),
    Layout(
        name="gated, feed_forward, activation_fn",
        gated=True,
        first=("feed_forward.gate_proj", "feed_forward.up_proj"),
        activation="feed_forward.activation_fn",
        output="feed_forward.down_proj",
        families=("llama4_text",),
    ),
    Layout(
        name="gated, shared expert of feed_forward",
        gated=True,
        first=("feed_forward.shared_expert.gate_proj", "feed_forward.shared_expert.up_proj"),
        activation="feed_forward.shared_expert.activation_fn",
        output="feed_forward.shared_expert.down_proj",
        families=("llama4_text",),
    ),
    Layout(
        name="gated, inline",
        gated=True,
        inline=True,
        first=("feed_forward.w1", "feed_forward.w3"),
        activation="feed_forward",
        output="feed_forward.w2",
        families=("lfm2", "lfm2_moe", "lfm3"),
    ),
    Layout(
        name="gated, fused, inline",
        gated=True,
        inline=True,
        first=("mlp.gate_up_proj",),
        activation="mlp",
        output="mlp.down_proj",
        families=("minimax_m3_vl_text",),
    ),
    Layout(
        name="gated, fused, inline, shared experts",
        gated=True,
        inline=True,
        first=("mlp.shared_experts.gate_up_proj",),
        activation="mlp.shared_experts",
        output="mlp.shared_experts.down_proj",
        families=("minimax_m3_vl_text",),
    ),
    Layout(
        name="experts",
        gated=True,
        first=("mlp.experts",),
        activation="mlp.experts.act_fn",
        output="mlp.experts",
        families=(
            "cohere2_moe",
            "flex_olmo",
            "mellum",
            "minimax",
            "minimax_m2",
            "mixtral",
            "olmoe",
            "phimoe",
            "qwen3_moe",
            "zaya",
        ),
        experts=True,
    ),
    Layout(
        name="experts, inline",
        gated=True,
        inline=True,
        first=("mlp.experts",),
        activation="mlp.experts",
        output="mlp.experts",
        families=("gpt_oss", "minimax_m3_vl_text"),
        experts=True,
    ),
    Layout(
        name="experts, feed_forward",
        gated=True,
        first=("feed_forward.experts",),
        activation="feed_forward.experts.act_fn",
        output="feed_forward.experts",
        families=("llama4_text",),
        experts=True,
    ),
    Layout(
        name="experts, feed_forward, inline",
        gated=True,
        inline=True,
        first=("feed_forward.experts",),
        activation="feed_forward.experts",
        output="feed_forward.experts",
        families=("lfm2_moe",),
        experts=True,
    ),
    Layout(
        name="experts beside the block",
        gated=True,
        first=("experts",),
        activation="experts.act_fn",
        output="experts",
        families=("gemma4_text",),
        experts=True,
    ),
)
"""In this order blocks of one layer are numbered: dense ones before routed experts."""
