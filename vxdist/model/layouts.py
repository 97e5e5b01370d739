"""The layouts of feed-forward blocks that vxdist supports, and the model families that have them.

A neuron is unit j of the hidden layer of a feed-forward block; its activation is the output of the
activation function, before the product with the up projection in a gated block (arXiv 2504.04994).
In most layouts below that function is a module of its own, so a hook sees the activations. Where it
is not, or runs on some experts' tokens alone, vxdist/model/runners.py computes the same with one.
"""

import re
from dataclasses import dataclass

ROUTERS = (
    "gate", "router", "shared_expert_gate", "fc1_latent_proj", "fc2_latent_proj",
    "pre_expert_proj", "post_expert_proj",
)  # fmt: skip
"""Modules beside routed experts that route tokens to them, weigh what the shared expert gives, or
project what the experts read and give, without a function."""
NOT_FEED_FORWARD = re.compile(
    r"attn|attention|conv1d"
    # Connections of residual streams; norms with a gate of low rank.
    r"|hyper_connection|_hc\.|_layernorm\."
    # State-space and recurrent layers beside, or in place of, attention.
    r"|^mamba\.|^mamba_decoder\.|^linear\.|^temporal_block\.|^conv\.|^mlstm_layer\.|^mixer\.(in|out|[qkvo])_proj\."
    # Experts that only images are given.
    r"|^mlp\.vision_moe\."
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


def _names(families: str) -> tuple[str, ...]:
    return tuple(families.split())


def _gated(name: str, place: str, families: str) -> Layout:
    return Layout(
        name=name,
        gated=True,
        first=(f"{place}.gate_proj", f"{place}.up_proj"),
        activation=f"{place}.act_fn",
        output=f"{place}.down_proj",
        families=_names(families),
    )


def _up_and_down(name: str, place: str, families: str) -> Layout:
    return Layout(
        name=name,
        first=(f"{place}.up_proj",),
        activation=f"{place}.act_fn",
        output=f"{place}.down_proj",
        families=_names(families),
    )


def _inline(name: str, first: str, place: str, down: str, families: str) -> Layout:
    return Layout(
        name=name,
        gated=True,
        inline=True,
        first=tuple(f"{place}.{module}" for module in first.split()),
        activation=place,
        output=f"{place}.{down}",
        families=_names(families),
    )


def _experts(
    name: str, place: str, families: str, *, gated: bool = True, inline: bool = False
) -> Layout:
    return Layout(
        name=name,
        gated=gated,
        inline=inline,
        experts=True,
        first=(place,),
        activation=place if inline else f"{place}.act_fn",
        output=place,
        families=_names(families),
    )


LAYOUTS = (
    _gated(
        "gated",
        "mlp",
        "cohere cohere2 cohere_compass_text cwm diffllama doge ernie4_5 exaone4 gemma gemma2 "
        "gemma3 gemma3_text gemma3n_text gemma4 gemma4_unified gemma4_unified_text granite "
        "granite_swa helium hunyuan_v1_dense hyperclovax internlm3 iquestcoder llama minicpm3 "
        "ministral ministral3 mistral olmo olmo2 olmo3 olmo_hybrid qwen2 qwen3 qwen3_5 "
        "qwen3_5_text seed_oss smollm3 stablelm vaultgemma youtu",
    ),
    Layout(
        name="gated, fused",
        gated=True,
        first=("mlp.gate_up_proj",),
        activation="mlp.activation_fn",
        output="mlp.down_proj",
        families=_names("glm glm4 phi3 phi4_multimodal"),
    ),
    _gated("gated, feed_forward", "feed_forward", "bamba falcon_h1"),
    _gated("gated, mlp_block", "mlp_block", "recurrent_gemma"),
    _gated("gated, shared_transf", "shared_transf.feed_forward", "zamba"),
    Layout(
        name="gated, fused, shared_transformer",
        gated=True,
        first=(
            "shared_transformer.feed_forward.gate_up_proj",
            "shared_transformer.feed_forward.gate_up_proj_adapter_list",
        ),
        activation="shared_transformer.feed_forward.act_fn",
        output="shared_transformer.feed_forward.down_proj",
        families=_names("zamba2"),
    ),
    _up_and_down("up and down", "mlp", "apertus arcee jais2 nemotron"),
    Layout(
        name="GPT-2",
        first=("mlp.c_fc",),
        activation="mlp.act",
        output="mlp.c_proj",
        families=_names("gpt-sw3 gpt2 gpt_bigcode gpt_neo openai-gpt starcoder2"),
    ),
    Layout(
        name="GPT-NeoX",
        first=("mlp.dense_h_to_4h",),
        activation="mlp.act",
        output="mlp.dense_4h_to_h",
        families=_names("falcon fuyu gpt_neox gpt_neox_japanese persimmon"),
    ),
    Layout(
        name="BLOOM",
        first=("mlp.dense_h_to_4h",),
        activation="mlp.gelu_impl",
        output="mlp.dense_4h_to_h",
        families=_names("bloom"),
    ),
    Layout(
        name="GPT-J",
        first=("mlp.fc_in",),
        activation="mlp.act",
        output="mlp.fc_out",
        families=_names("codegen gptj"),
    ),
    Layout(
        name="Phi",
        first=("mlp.fc1",),
        activation="mlp.activation_fn",
        output="mlp.fc2",
        families=_names("nanochat phi"),
    ),
    Layout(
        name="OPT",
        first=("fc1",),
        activation="activation_fn",
        output="fc2",
        families=_names("biogpt opt xglm"),
    ),
    Layout(
        name="MPT",
        first=("ffn.up_proj",),
        activation="ffn.act",
        output="ffn.down_proj",
        families=_names("mpt"),
    ),
    Layout(
        name="gated, ffn",
        gated=True,
        first=("ffn.proj_up_gate", "ffn.proj_up"),
        activation="ffn.act_fn",
        output="ffn.proj_down",
        families=_names("xlstm"),
    ),
    Layout(
        name="gated, Wi",
        gated=True,
        first=("mlp.Wi",),
        activation="mlp.act",
        output="mlp.Wo",
        families=_names("modernbert-decoder"),
    ),
    _up_and_down("up and down, mixer", "mixer", "nemotron_h"),
    Layout(
        name="CTRL",
        first=("ffn.0",),
        activation="ffn.1",
        output="ffn.2",
        families=_names("ctrl"),
    ),
    _gated(
        "gated, shared experts",
        "mlp.shared_experts",
        "afmoe aria_text axk1 axk2 bailing_hybrid deepseek_v2 deepseek_v3 deepseek_v32 "
        "deepseek_v4 dots1 dots3_note dots3_note_text ernie4_5_moe exaone_moe glm4_moe "
        "glm4_moe_lite glm_moe_dsa hy_v3 kimi_linear kolibri1 laguna solar_open",
    ),
    _gated(
        "gated, shared expert",
        "mlp.shared_expert",
        "flint qwen2_moe qwen3_5_moe qwen3_5_moe_text qwen3_next qwen4_exp qwen4_exp_text",
    ),
    _gated("gated, mlp.shared_mlp", "mlp.shared_mlp", "hunyuan_v1_moe"),
    Layout(
        name="gated, shared_mlp",
        gated=True,
        first=("shared_mlp.input_linear",),
        activation="shared_mlp.activation",
        output="shared_mlp.output_linear",
        families=_names("granitemoe_swa granitemoehybrid granitemoeshared"),
    ),
    _up_and_down("up and down, shared experts of a mixer", "mixer.shared_experts", "nemotron_h"),
    Layout(
        name="gated, feed_forward, activation_fn",
        gated=True,
        first=("feed_forward.gate_proj", "feed_forward.up_proj"),
        activation="feed_forward.activation_fn",
        output="feed_forward.down_proj",
        families=_names("llama4_text"),
    ),
    Layout(
        name="gated, shared expert of feed_forward",
        gated=True,
        first=("feed_forward.shared_expert.gate_proj", "feed_forward.shared_expert.up_proj"),
        activation="feed_forward.shared_expert.activation_fn",
        output="feed_forward.shared_expert.down_proj",
        families=_names("llama4_text"),
    ),
    _inline("gated, inline", "w1 w3", "feed_forward", "w2", "lfm2 lfm2_moe lfm3"),
    _inline("gated, fused, inline", "gate_up_proj", "mlp", "down_proj", "minimax_m3_vl_text"),
    _inline(
        "gated, fused, inline, shared experts",
        "gate_up_proj",
        "mlp.shared_experts",
        "down_proj",
        "minimax_m3_vl_text",
    ),
    _experts(
        "experts",
        "mlp.experts",
        "beam cohere2_moe flex_olmo mellum mimo_v2_flash minimax minimax_m2 mixtral olmoe phimoe "
        "qwen3_moe zaya",
    ),
    _experts("experts beside the block", "experts", "gemma4_text"),
    _experts("experts, block_sparse_moe", "block_sparse_moe.experts", "granitemoe"),
    _experts("experts, text_moe", "mlp.text_moe.experts", ""),
    _experts("experts, feed_forward", "feed_forward.experts", "jamba llama4_text"),
    _experts("experts, inline", "mlp.experts", "gpt_oss minimax_m3_vl_text", inline=True),
    _experts("experts, feed_forward, inline", "feed_forward.experts", "lfm2_moe", inline=True),
    Layout(
        name="experts, ffn",
        gated=True,
        first=("ffn.experts",),
        activation="ffn.experts.mlp.activation_fn",
        output="ffn.experts",
        experts=True,
        families=_names("dbrx"),
    ),
    _experts("experts without gate, mixer", "mixer.experts", "nemotron_h", gated=False),
)
"""In this order blocks of one layer are numbered: dense ones before routed experts."""
