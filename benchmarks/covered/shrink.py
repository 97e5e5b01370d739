"""A small configuration of any model type: what its own names, set small."""

from collections.abc import Mapping
from typing import Any

from transformers import CONFIG_MAPPING, PretrainedConfig

LAYERS = 4
WIDTHS: Mapping[int, str] = {
    2: "num_key_value_heads n_kv_heads num_kv_heads num_experts_per_tok num_experts_per_token "
    "moe_topk moe_k top_k_experts moe_num_active_primary_experts index_n_heads encoder_layers "
    "decoder_layers num_decoder_layers num_encoder_layers depth linear_num_key_heads n_mamba_heads "
    "num_mem_blocks",
    4: "num_attention_heads n_head n_heads num_heads attention_heads encoder_attention_heads "
    "decoder_attention_heads num_experts n_routed_experts num_local_experts moe_num_experts "
    "n_experts linear_num_value_heads linear_num_heads rotary_dim mamba_dt_rank "
    "num_hidden_layers n_layer n_layers num_layers",
    8: "qk_rope_head_dim qk_nope_head_dim index_topk laurel_rank sliding_window "
    "attention_window_size attention_chunk_size local_attention window_size mamba_n_heads "
    "mamba_num_heads adapter_rank",
    16: "head_dim attention_head_dim kv_channels swa_head_dim global_head_dim q_lora_rank "
    "kv_lora_rank v_head_dim index_head_dim o_lora_rank hidden_size_per_layer_input "
    "linear_head_dim linear_key_head_dim linear_value_head_dim mamba_d_head mamba_d_state "
    "mamba_head_dim ssm_state_size mamba_headdim state_size mamba_chunk_size chunk_size d_kv "
    "num_position_embeddings codebook_size kv_lora",
    24: "moe_intermediate_size moe_hidden_size expert_intermediate_size expert_ffn_hidden_size "
    "moe_ffn_hidden_size",
    32: "shared_expert_intermediate_size shared_intermediate_size "
    "moe_shared_expert_intermediate_size shared_experts_intermediate_size",
    64: "hidden_size d_model n_embd dim embed_dim hidden_dim lru_width projection_dim "
    "out_hidden_size mm_hidden_size word_embed_proj_dim max_source_positions",
    96: "intermediate_size ffn_dim d_ff n_inner ffn_hidden_size d_inner encoder_ffn_dim "
    "decoder_ffn_dim ffn_embed_dim filter_size dense_intermediate_size dense_ffn_hidden_size "
    "block_ff_dim mlp_dim intermediate_size_mlp dff",
    128: "mamba_d_ssm",
    512: "vocab_size vocab_size_per_layer_input max_position_embeddings n_positions n_ctx "
    "max_seq_len max_target_positions context_length",
}
SMALL: Mapping[str, Any] = {
    **{name: width for width, names in WIDTHS.items() for name in names.split()},
    **dict.fromkeys(("n_group", "topk_group", "num_expert_group"), 1),
    **dict.fromkeys(("mamba_n_groups", "n_groups", "mamba_ngroups"), 1),
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "image_token_id": 5,
    "image_token_index": 5, "video_token_id": 6, "audio_token_id": 7, "boi_token_id": 8,
    "eoi_token_id": 9, "image_size": 28, "patch_size": 14, "num_channels": 3,
    "tie_word_embeddings": False, "num_kv_shared_layers": 0, "conv_L_cache": 3,
}  # fmt: skip
BY_LAYER = ("layer_types", "layers_block_type", "mlp_layer_types", "block_types")
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
SECTIONS = ROPE | {"mrope_section": [2, 3, 3]}
HALF = ROPE | {"mrope_section": [1, 1, 2], "partial_rotary_factor": 0.5}
HEADS = {"num_key_value_heads": 4}
ROTATED = HEADS | {"head_dim": 8}
EXPERTS = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
INDEXED = {
    "indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 16, "indexer_budget": 8,
    "indexer_compress_ratio": 2, "hc_lowrank": 8,
}  # fmt: skip
SHARED = {"layers_block_type": ["linear_attention", "hybrid"] * 2, "tie_word_embeddings": True}
MORE: Mapping[str, Mapping[str, Any]] = {
    "aria_text": {"intermediate_size": 24},
    "cohere_compass_text": {"rope_parameters": {"full_attention": ROPE}},
    "dbrx": {
        "attn_config": {"rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {
            "hidden_size": 64,
            "ffn_hidden_size": 24,
            "moe_num_experts": 4,
            "moe_top_k": 2,
        },
    },
    "deepseek_v2": {"first_k_dense_replace": 1, "num_experts_per_tok": 2},
    "axk1": ROTATED,
    "axk2": ROTATED,
    "deepseek_v3": ROTATED | {"first_k_dense_replace": 1},
    **dict.fromkeys(("deepseek_v32", "dots3_note_text", "glm_moe_dsa"), HEADS),
    "dots3_note": {
        "text_config": HEADS,
        "vision_config": {"adapter_in_dim": 64, "adapter_out_dim": 64},
        "audio_config": {"adapter_input_size": 64, "adapter_out_dim": 64},
    },
    "kimi_k25": {"text_config": ROTATED},
    "mistral_large4": {"text_config": HEADS},
    "dots1": EXPERTS | {"n_shared_experts": 1, "first_k_dense_replace": 1},
    "falcon": {"num_kv_heads": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "hunyuan_v1_dense": {"head_dim": 16, "rope_parameters": ROPE},
    "hunyuan_v1_moe": {"head_dim": 16, "rope_parameters": ROPE},
    "hunyuan_vl": {
        "text_config": {"rope_parameters": ROPE | {"mrope_section": [2, 2, 2, 2]}, "head_dim": 16}
    },
    "lfm2_moe": {
        "layer_types": ["conv", "full_attention", "conv", "full_attention"],
        "num_dense_layers": 1,
    },
    "mamba2": {"num_heads": 8, "head_dim": 16, "expand": 2},
    "minicpm3": {"head_dim": 8},
    "ministral": {"head_dim": 16, "rope_parameters": ROPE},
    "nemotron": {"head_dim": 16, "num_key_value_heads": 2},
    "qwen2": {"vocab_size": 520},
    "qwen4_exp": {"text_config": INDEXED},
    "qwen4_exp_text": INDEXED,
    **{
        name: {"text_config": {"rope_parameters": SECTIONS}}
        for name in (
            *("glm46v", "glm4v", "paddleocr_vl", "qwen2_vl", "qwen2_5_vl"),
            "qwen2_5_omni_thinker",
        )
    },
    **{
        name: {"text_config": {"rope_parameters": HALF}}
        for name in ("glm4v_moe", "glm_ocr", "glmga")
    },
    "fast_vlm": {"vision_config": {"hidden_size": 64}},
    "perception_lm": {"vision_config": {"model_args": {"embed_dim": 64}}},
    "emu3": {"vocabulary_map": {"<image>": 5}},
    "chameleon": {"vocabulary_map": {"<image>": 5, "IMGIMGA": 6}},
    "cohere_compass": {"text_config": {"rope_parameters": {"full_attention": ROPE}}},
    "cosmos3_edge": {"text_config": {"rope_parameters": SECTIONS}},
    "deepseek_ocr2": {
        "text_config": {"mlp_layer_types": ["dense"] + ["sparse"] * 3, "num_experts_per_tok": 2}
    },
    "ernie4_5_vl_moe": {"text_config": {"rope_parameters": ROPE | {"mrope_section": [3, 3, 2]}}},
    "gemma3n": {"text_config": {"intermediate_size": [96] * 4}},
    "gemma3n_text": {"intermediate_size": [96] * 4},
    "glm5_next": {"text_config": HEADS | {"index_kpool": 2, "qk_rope_head_dim": 0}},
    "granite4_vision": {"deepstack_layer_map": [[1, 1]], "downsample_rate": "1/2"},
    "molmo2": {"adapter_config": {"vision_feature_layer": [2, 1]}},
    "nemotron_h_omni": {"vision_config": {"video_temporal_patch_size": 2}},
    "step3p7": {"text_config": {"sliding_window": 8}},
    "youtu": {"head_dim": 8},
    "zamba": SHARED,
    "zamba2": SHARED | {"n_mamba_heads": 8, "attention_head_dim": 32, "num_mem_blocks": 1},
    "zaya": {"num_experts_per_tok": 1},
}
"""What some types need besides."""


VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "gemma4_text:experts": {
        "enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 24,
    },
    "gemma4_text:wide": {
        "use_double_wide_mlp": True, "num_kv_shared_layers": 2,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
    },
}  # fmt: skip
"""Settings of a type, TYPE:VARIANT, that published checkpoints have and its defaults do not."""


def shrink(name: str) -> PretrainedConfig:
    """A small configuration of a model type, or of a variant TYPE:VARIANT of it.

    Raises what transformers makes of one that it refuses.
    """
    more = MORE.get(name, {}) | VARIANTS.get(name, {})
    return _shrink(CONFIG_MAPPING[name.partition(":")[0]], more)


def _shrink(config_class: Any, more: Mapping[str, Any]) -> PretrainedConfig:
    whole = config_class()
    small: dict[str, Any] = {}
    for key in [key for key in vars(whole) if not key.startswith("_")]:
        try:
            value = getattr(whole, key)
        except Exception:  # an attribute that differs by layer
            value = 0
        if isinstance(value, PretrainedConfig):
            inner = _shrink(type(value), more.get(key, {})).to_dict()
            small[key] = {k: v for k, v in inner.items() if k != "_name_or_path"}
        elif key in SMALL and value is not None and not isinstance(value, (list, tuple, dict)):
            small[key] = SMALL[key]
        elif key in BY_LAYER and isinstance(value, (list, tuple)):
            small[key] = _every_kind(list(value))
    small |= {k: v for k, v in more.items() if not isinstance(small.get(k), dict)}
    found: PretrainedConfig = config_class(**small)
    return found


def _every_kind(kinds: list[Any]) -> list[Any]:
    """The first layers, the last of them replaced by kinds that are missing."""
    found = kinds[:LAYERS]
    missing = [kind for kind in dict.fromkeys(kinds) if kind not in found]
    for n, kind in enumerate(missing[: LAYERS - 1]):
        found[LAYERS - 1 - n] = kind
    return found
