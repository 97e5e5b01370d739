"""A Llama of two layers as a GGUF file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

LAYERS, HIDDEN, UNITS, TOKENS = 2, 32, 48, 64


def tensors() -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(7)
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd": (TOKENS, HIDDEN), "output": (TOKENS, HIDDEN), "output_norm": (HIDDEN,)
    }  # fmt: skip
    for n in range(LAYERS):
        square = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (HIDDEN, HIDDEN))
        block = {
            "ffn_gate": (UNITS, HIDDEN),
            "ffn_up": (UNITS, HIDDEN),
            "ffn_down": (HIDDEN, UNITS),
        }
        norms = dict.fromkeys(("attn_norm", "ffn_norm"), (HIDDEN,))
        shapes |= {f"blk.{n}.{name}": shape for name, shape in (square | block | norms).items()}
    return {f"{k}.weight": rng.normal(size=shape).astype("f4") for k, shape in shapes.items()}


def write_tiny(
    file: Path,
    lost: str | None = None,
    *,
    architecture: str = "llama",
    packed: Mapping[str, tuple[str, np.ndarray[Any, Any]]] | None = None,
) -> Path:
    """Write the file, without the tensor `lost`; `packed` are types and bytes of some tensors."""
    import gguf

    packed = packed or {}
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(UNITS)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // 4)
    writer.add_vocab_size(TOKENS)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["<s>", "</s>", "<unk>", "AB", *map(chr, range(33, 29 + TOKENS))])
    writer.add_token_types([3, 3, 2, *[1] * (TOKENS - 3)])
    writer.add_token_merges(["A B"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(2)
    for name, tensor in tensors().items():
        if name in packed:
            kind, content = packed[name]
            writer.add_tensor(name, content, raw_dtype=gguf.GGMLQuantizationType[kind])
        elif name != lost:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
