"""MXFP4, in which gpt-oss is published, is unpacked as it is loaded."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from vxdist.config import ModelConfig
from vxdist.hooks.selftest import ready_hook_points
from vxdist.model.load import describe_model, load_model
from vxdist.model.source import find_model

WIDTH = 64
VALUES = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
"""What four bits say, but for the sign (OCP Microscaling Formats, 2023)."""


def save_packed(folder: Path) -> dict[str, torch.Tensor]:
    """A small gpt-oss whose experts are packed; returns them unpacked, by their names."""
    config = AutoConfig.for_model(
        "gpt_oss", vocab_size=64, hidden_size=WIDTH, head_dim=16, intermediate_size=WIDTH,
        num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, num_local_experts=4,
        num_experts_per_tok=2, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder)
    packed, plain = {}, {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if not name.endswith(("gate_up_proj", "down_proj")):
            packed[name] = tensor
            continue
        experts, inputs, outputs = tensor.shape
        code = torch.randint(16, (experts, outputs, inputs // 32, 32))
        scale = torch.randint(120, 124, (experts, outputs, inputs // 32), dtype=torch.uint8)
        packed[f"{name}_blocks"] = (code[..., ::2] + 16 * code[..., 1::2]).to(torch.uint8)
        packed[f"{name}_scales"] = scale
        number = torch.tensor(VALUES)[code % 8] * torch.where(code > 7, -1.0, 1.0)
        number = number * 2.0 ** (scale.float() - 127)[..., None]
        plain[name] = number.reshape(experts, outputs, inputs).transpose(1, 2)
    save_file(packed, folder / "model.safetensors", metadata={"format": "pt"})
    content = json.loads((folder / "config.json").read_text())
    content["quantization_config"] = {
        "quant_method": "mxfp4",
        "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head", "model.embed_tokens"],
    }
    (folder / "config.json").write_text(json.dumps(content))
    return plain


def test_packed_experts_are_unpacked_and_watched(tmp_path: Path) -> None:
    plain = save_packed(tmp_path)
    settings = ModelConfig(path=str(tmp_path), dtype="float32")
    source = find_model(settings)
    assert describe_model(source).packing == "mxfp4"
    model = load_model(source, settings)
    found = dict(model.named_parameters())
    for name, expected in plain.items():
        torch.testing.assert_close(found[name].float(), expected, rtol=0, atol=0)
    assert ready_hook_points(model).num_neurons == 4 * WIDTH
