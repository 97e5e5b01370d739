"""Packed weights are unpacked as transformers, and the packages that pack them, do it.

transformers 5.23 unpacks some models wrongly, or not at all, so the shapes here are those that it
can: blocks of FP8 that fill a matrix, and 64 columns for bitsandbytes (0.50 takes a block that
goes on in the next row for that row's first).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.model.packing import FORMS, awq, fp8, gptq, write
from tests.model.test_quantised import load
from vxdist.config import ModelConfig
from vxdist.hooks.selftest import ready_hook_points
from vxdist.model.load import describe_model
from vxdist.model.quantised.awq import Awq
from vxdist.model.quantised.bitsandbytes import Bitsandbytes
from vxdist.model.quantised.compressed import Compressed
from vxdist.model.quantised.gptq import Gptq
from vxdist.model.quantised.scheme import Scheme
from vxdist.model.source import find_model

Make = Callable[[str], Any]
E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
"""What four bits say, but for the sign (OCP Microscaling Formats, 2023)."""


def loaded_by_transformers(folder: Path, quantization: Any) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, quantization_config=quantization
    )


def assert_alike(found: Any, expected: Any) -> None:
    """Of FP8, transformers leaves what is not packed in the files' dtype, whatever it is asked."""
    expected = expected.state_dict()
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, expected[name].to(tensor.dtype)), name


def write_fp8(base: Path, folder: Path) -> None:
    """As DeepSeek-V3 is published: every expert's matrix apart."""
    rng, packed = np.random.default_rng(3), {}
    for name, tensor in load_file(base / "model.safetensors").items():
        packed[name] = tensor
        if tensor.dim() == 2 and ".layers." in name and "mlp.gate.weight" not in name:
            _, parts = fp8(rng, *tensor.shape, block=4)
            packed |= {f"{name.removesuffix('weight')}{part}": t for part, t in parts.items()}
    write(base, folder, packed, {"quant_method": "fp8", "weight_block_size": [4, 4]})


def write_mxfp4(base: Path, folder: Path) -> dict[str, torch.Tensor]:
    """As gpt-oss is published: the experts of a layer in one tensor, columns in groups of 32.

    Returns what is packed, by its names.
    """
    rng, packed, plain = np.random.default_rng(3), {}, {}
    for name, tensor in load_file(base / "model.safetensors").items():
        if name.endswith(("gate_up_proj", "down_proj")):
            experts, columns, rows = tensor.shape
            shape = (experts, rows, columns // 32)
            block = rng.integers(0, 256, (*shape, 16)).astype("u1")
            scale = rng.integers(118, 126, shape).astype("u1")
            packed[f"{name}_blocks"] = torch.from_numpy(block)
            packed[f"{name}_scales"] = torch.from_numpy(scale)
            code = np.stack([block & 15, block >> 4], -1).reshape(*shape, 32)
            number = np.array(E2M1)[code % 8] * np.where(code > 7, -1.0, 1.0)
            number = number * 2.0 ** (scale.astype(float) - 127)[..., None]
            number_ERC = number.reshape(experts, rows, columns).astype("f4")
            plain[name] = torch.from_numpy(number_ERC).transpose(1, 2)
        else:
            packed[name] = tensor
    write(base, folder, packed, {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]})
    return plain


def gpt_oss(folder: Path) -> None:
    """A small gpt-oss whose experts have 32 columns, as MXFP4 needs."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from tests.conftest import CONFIGURATIONS

    torch.manual_seed(7)
    settings = CONFIGURATIONS["gpt_oss"] | {"intermediate_size": 32}
    model: Any = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt_oss", **settings))
    model.save_pretrained(folder)


def test_fp8_of_deepseek(make_model: Make, tmp_path: Path) -> None:
    from transformers import FineGrainedFP8Config

    make_model("deepseek_v3").save_pretrained(tmp_path / "base")
    write_fp8(tmp_path / "base", tmp_path / "packed")
    shape = describe_model(find_model(ModelConfig(path=str(tmp_path / "packed"))))
    assert (shape.packing, shape.num_experts) == ("fp8", 4)
    found = load(tmp_path / "packed", "bfloat16")
    expected = loaded_by_transformers(tmp_path / "packed", FineGrainedFP8Config(dequantize=True))
    assert_alike(found, expected)


def test_packed_experts_are_unpacked_and_watched(tmp_path: Path) -> None:
    gpt_oss(tmp_path / "base")
    plain = write_mxfp4(tmp_path / "base", tmp_path / "packed")
    source = find_model(ModelConfig(path=str(tmp_path / "packed")))
    assert describe_model(source).packing == "mxfp4"
    model = load(tmp_path / "packed")
    found = dict(model.named_parameters())
    assert plain
    for name, expected in plain.items():
        torch.testing.assert_close(found[name].float(), expected, rtol=0, atol=0)
    assert ready_hook_points(model).num_neurons == 4 * 32


def test_mxfp4_of_gpt_oss(tmp_path: Path) -> None:
    from transformers import Mxfp4Config

    gpt_oss(tmp_path / "base")
    write_mxfp4(tmp_path / "base", tmp_path / "packed")
    shape = describe_model(find_model(ModelConfig(path=str(tmp_path / "packed"))))
    assert (shape.packing, shape.num_experts) == ("mxfp4", 4)
    found = load(tmp_path / "packed", "bfloat16")
    assert_alike(found, loaded_by_transformers(tmp_path / "packed", Mxfp4Config(dequantize=True)))
    # By hand: the first two numbers of a row of the second expert, and their scale.
    packed = load_file(tmp_path / "packed" / "model.safetensors")
    name = "model.layers.1.mlp.experts.down_proj"
    byte = int(packed[f"{name}_blocks"][1, 5, 0, 0])
    power = 2.0 ** (int(packed[f"{name}_scales"][1, 5, 0]) - 127)
    for column, code in enumerate((byte & 15, byte >> 4)):
        number = (-1 if code & 8 else 1) * E2M1[code & 7] * power
        assert float(found.state_dict()[name][1, column, 5]) == number


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("nested", [False, True])
def test_bitsandbytes(bits: int, nested: bool) -> None:
    functional = pytest.importorskip("bitsandbytes").functional
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(5))
    if bits == 8:
        number, scale, _ = functional.int8_vectorwise_quant(weight.half())
        parts = {"weight": number, "SCB": scale}
        expected = functional.int8_vectorwise_dequant(number, scale)
    else:
        kind = "fp4" if nested else "nf4"
        packed, state = functional.quantize_4bit(
            weight, quant_type=kind, compress_statistics=nested
        )
        found = {f"weight.{key}": part for key, part in state.as_dict(packed=True).items()}
        parts = {"weight": packed, **found}
        expected = functional.dequantize_4bit(packed, state)
    unpacked = Bitsandbytes({f"load_in_{bits}bit": True}).unpack(parts)
    torch.testing.assert_close(unpacked, expected.float(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "form", ["compressed words", "compressed words with zero points", "compressed int8"]
)
def test_compressed_tensors(form: str) -> None:
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig

    pack, about = FORMS[form]
    _, parts = pack(np.random.default_rng(4), 32, 48)
    scheme = QuantizationConfig.model_validate(about).config_groups["group_0"]
    compressor = BaseCompressor.get_value_from_registry(about["format"])
    expected = compressor.decompress(dict(parts), scheme)["weight"]
    found: Scheme = Compressed(about)
    assert torch.equal(found.unpack(parts).to(expected.dtype), expected)


def test_awq() -> None:
    module = pytest.importorskip("gptqmodel.quantization.awq.utils.packing_utils")
    _, parts = awq(np.random.default_rng(4), 32, 48)
    expected = module.dequantize_gemm(parts["qweight"], parts["qzeros"], parts["scales"], 4, 16)
    found = Awq({"bits": 4, "group_size": 16}).unpack(parts)
    assert torch.equal(found.half(), expected.T)


@pytest.mark.parametrize("ordered", [False, True])
def test_gptq(ordered: bool) -> None:
    module = pytest.importorskip("gptqmodel.nn_modules.qlinear.torch")
    _, parts = gptq(np.random.default_rng(4), 64, 128, group=32, ordered=ordered)
    linear = module.TorchLinear(
        bits=4, group_size=32, sym=False, desc_act=ordered, in_features=128, out_features=64,
        bias=False, register_buffers=True,
    )  # fmt: skip
    linear.load_state_dict(parts, strict=False)
    linear.qzeros.data += 0x11111111  # what it does to make version 2 of version 1
    linear.post_init()
    found = Gptq({"bits": 4, "group_size": 32}).unpack(parts)
    assert torch.equal(found.half(), linear.dequantize_weight().T.half())
