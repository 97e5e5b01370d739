"""Packs the matrices of a small model by the definition of each format, number by number.

Nothing here is shared with what unpacks them: each packer makes whole numbers and scales, writes
them bit by bit, and says what they amount to.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]
Packed = tuple[torch.Tensor, Tensors]
"""The weight, and the tensors it is packed in, by what is added to the stem of its name."""
NF4 = (
    -1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0,
)  # fmt: skip
"""QLoRA (arXiv 2305.14314), appendix E, rounded to float32's digits."""


def words(number_RC: np.ndarray[Any, Any], bits: int) -> torch.Tensor:
    """Rows of unsigned numbers as words of 32 bits, the first number lowest."""
    rows, columns = number_RC.shape
    word_RW = np.zeros((rows, -(-columns * bits // 32)), dtype=np.uint32)
    for r in range(rows):
        for c in range(columns):
            word, shift = divmod(c * bits, 32)
            word_RW[r, word] |= np.uint32(int(number_RC[r, c]) << shift)
    return torch.from_numpy(word_RW.view(np.int32).copy())


def grid(rng: np.random.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    """Scales that float16 and bfloat16 hold exactly, so that formats lose nothing of them."""
    return torch.tensor(rng.integers(16, 64, shape) / 1024, dtype=torch.float32)


def fp8(rng: np.random.Generator, rows: int, columns: int, *, block: int | None = 20) -> Packed:
    number = torch.from_numpy(rng.normal(size=(rows, columns)).astype("f4"))
    number = number.to(torch.float8_e4m3fn)
    if block is None:
        scale = grid(rng, ())
        return number.float() * scale, {
            "weight": number,
            "weight_scale": scale,
            "input_scale": torch.ones(()),
        }
    scale = grid(rng, (-(-rows // block), -(-columns // block)))
    rows_RC = [
        [float(number[r, c]) * float(scale[r // block, c // block]) for c in range(columns)]
        for r in range(rows)
    ]
    return torch.tensor(rows_RC), {"weight": number, "weight_scale_inv": scale}


def gptq(
    rng: np.random.Generator, rows: int, columns: int, *, bits: int = 4, group: int = 16,
    ordered: bool = False, offset: int = 1,
) -> Packed:  # fmt: skip
    number_RC = rng.integers(0, 1 << bits, (rows, columns))
    groups = -(-columns // group)
    zero_RG = rng.integers(offset, (1 << bits) - 1, (rows, groups))
    scale_RG = grid(rng, (rows, groups))
    group_C = np.arange(columns) // group
    if ordered:
        rng.shuffle(group_C)
    difference = torch.from_numpy(number_RC - zero_RG[:, group_C]).float()
    parts = {
        "qweight": words(number_RC, bits).T.contiguous(),
        "qzeros": words((zero_RG - offset).T, bits),
        "scales": scale_RG.T.contiguous().half(),
    }
    if ordered or offset:
        parts["g_idx"] = torch.from_numpy(group_C.astype("i4"))
    return difference * scale_RG[:, group_C], parts


def awq(rng: np.random.Generator, rows: int, columns: int, *, group: int = 16) -> Packed:
    number_RC = rng.integers(0, 16, (rows, columns))
    zero_RG = rng.integers(0, 16, (rows, columns // group))
    scale_RG = grid(rng, (rows, columns // group))
    # AutoAWQ packs outputs 0, 2, 4, 6, 1, 3, 5, 7 of every eight, in this order.
    order_R = (np.arange(rows).reshape(-1, 8)[:, [0, 2, 4, 6, 1, 3, 5, 7]]).flatten()
    group_C = np.arange(columns) // group
    difference = torch.from_numpy(number_RC - zero_RG[:, group_C]).float()
    parts = {
        "qweight": words(number_RC[order_R].T, 4),
        "qzeros": words(zero_RG[order_R].T, 4),
        "scales": scale_RG.T.contiguous().half(),
    }
    return difference * scale_RG[:, group_C], parts


def nf4(rng: np.random.Generator, rows: int, columns: int, *, nested: bool = True) -> Packed:
    block, size = 64, rows * columns
    index_N = rng.integers(0, 16, size)
    byte_K = (index_N[0::2] << 4 | index_N[1::2]).astype("u1")
    blocks = -(-size // block)
    table = torch.tensor(NF4)
    state: dict[str, Any] = {
        "quant_type": "nf4", "blocksize": block, "dtype": "float32", "shape": [rows, columns]
    }  # fmt: skip
    parts = {"weight": torch.from_numpy(byte_K)[:, None], "weight.quant_map": table}
    if nested:
        scale_B = torch.from_numpy(rng.integers(0, 256, blocks).astype("u1"))
        values = torch.arange(256) / 256 - 0.5
        nested_B = grid(rng, (-(-blocks // 4),))
        state |= {"nested_blocksize": 4, "nested_offset": 0.75, "nested_dtype": "float32"}
        parts |= {
            "weight.absmax": scale_B,
            "weight.nested_absmax": nested_B,
            "weight.nested_quant_map": values,
        }
        scales = (values[scale_B.long()] * nested_B.repeat_interleave(4)[:blocks] + 0.75).tolist()
    else:
        parts["weight.absmax"] = grid(rng, (blocks,))
        scales = parts["weight.absmax"].tolist()
    parts["weight.quant_state.bitsandbytes__nf4"] = torch.frombuffer(
        bytearray(json.dumps(state).encode()), dtype=torch.uint8
    )
    numbers = [float(table[i]) * scales[n // block] for n, i in enumerate(index_N.tolist())]
    return torch.tensor(numbers).reshape(rows, columns), parts


def int8(rng: np.random.Generator, rows: int, columns: int) -> Packed:
    number = torch.from_numpy(rng.integers(-127, 128, (rows, columns)).astype("i1"))
    largest = grid(rng, (rows,))
    weight = number.float() * (largest[:, None] / 127)
    form = torch.zeros((), dtype=torch.uint8)
    return weight, {"weight": number, "SCB": largest, "weight_format": form}


def packed_words(
    rng: np.random.Generator, rows: int, columns: int, *, bits: int = 4, group: int = 16,
    zeros: bool = False, ordered: bool = False,
) -> Packed:  # fmt: skip
    half, groups = 1 << (bits - 1), -(-columns // group)
    number_RC = rng.integers(-half, half, (rows, columns))
    zero_RG = rng.integers(-half, half, (rows, groups)) if zeros else np.zeros((rows, groups), int)
    scale_RG = grid(rng, (rows, groups))
    group_C = np.arange(columns) // group
    if ordered:
        rng.shuffle(group_C)
    parts = {
        "weight_packed": words(number_RC + half, bits),
        "weight_scale": scale_RG.bfloat16(),
        "weight_shape": torch.tensor([rows, columns]),
    }
    if zeros:
        parts["weight_zero_point"] = words((zero_RG + half).T, bits).T.contiguous()
    if ordered:
        parts["weight_g_idx"] = torch.from_numpy(group_C.astype("i4"))
    difference = torch.from_numpy(number_RC - zero_RG[:, group_C]).float()
    return difference * scale_RG[:, group_C], parts


def by_rows(rng: np.random.Generator, rows: int, columns: int, *, floating: bool) -> Packed:
    scale = grid(rng, (rows, 1))
    if floating:
        number = torch.from_numpy(rng.normal(size=(rows, columns)).astype("f4"))
        number = number.to(torch.float8_e4m3fn)
    else:
        number = torch.from_numpy(rng.integers(-128, 128, (rows, columns)).astype("i1"))
    return number.float() * scale, {"weight": number, "weight_scale": scale.bfloat16()}


GROUPS: dict[str, Any] = {"strategy": "group", "group_size": 16}


def _compressed(form: str, bits: int, **weights: Any) -> dict[str, Any]:
    kind = "float" if form.startswith("float") else "int"
    scheme = {"num_bits": bits, "type": kind, "symmetric": True, "strategy": "channel"} | weights
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": scheme}},
    }


FORMS: dict[str, tuple[Callable[[np.random.Generator, int, int], Packed], dict[str, Any]]] = {
    "fp8 in blocks": (fp8, {"quant_method": "fp8", "weight_block_size": [20, 20]}),
    "fp8, one scale": (partial(fp8, block=None), {"quant_method": "fp8"}),
    "gptq": (gptq, {"quant_method": "gptq", "bits": 4, "group_size": 16}),
    "gptq in order of importance": (
        partial(gptq, ordered=True),
        {"quant_method": "gptq", "bits": 4, "group_size": 16, "desc_act": True},
    ),
    "gptq version 2, 8 bits": (
        partial(gptq, bits=8, offset=0),
        {"quant_method": "gptq", "bits": 8, "group_size": 16, "checkpoint_format": "gptq_v2"},
    ),
    "awq": (awq, {"quant_method": "awq", "bits": 4, "group_size": 16, "version": "gemm"}),
    "bitsandbytes 4 bits": (
        partial(nf4, nested=False),
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    ),
    "bitsandbytes 4 bits, nested": (
        nf4,
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True},
    ),
    "bitsandbytes 8 bits": (int8, {"quant_method": "bitsandbytes", "load_in_8bit": True}),
    "compressed words": (packed_words, _compressed("pack-quantized", 4, **GROUPS)),
    "compressed words with zero points": (
        partial(packed_words, zeros=True),
        _compressed("pack-quantized", 4, **GROUPS, symmetric=False),
    ),
    "compressed words in order of importance": (
        partial(packed_words, bits=8, ordered=True),
        _compressed("pack-quantized", 8, **GROUPS, actorder="group"),
    ),
    "compressed int8": (partial(by_rows, floating=False), _compressed("int-quantized", 8)),
    "compressed fp8": (partial(by_rows, floating=True), _compressed("float-quantized", 8)),
}
"""What packs a matrix, and the quantization_config."""


def write_packed(dense: Path, folder: Path, form: str) -> Path:
    """Copy the model in `dense` to `folder`, its layers' matrices replaced by packed ones; returns
    a folder beside it with the same model, unpacked."""
    pack, about = FORMS[form]
    rng = np.random.default_rng(3)
    weights, packed, unpacked = load_file(dense / "model.safetensors"), {}, {}
    for name, tensor in sorted(weights.items()):
        if tensor.dim() == 2 and ".layers." in name:
            unpacked[name], parts = pack(rng, *tensor.shape)
            stem = name.removesuffix("weight")
            packed |= {stem + part: found.contiguous() for part, found in parts.items()}
        else:
            packed[name] = unpacked[name] = tensor
    write(dense, folder, packed, about)
    beside = folder.with_name(folder.name + "-unpacked")
    write(dense, beside, unpacked, None)
    return beside


def write(
    base: Path, folder: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any] | None
) -> None:
    """A copy of the model in `base` with other weights and quantization_config."""
    shutil.copytree(base, folder, dirs_exist_ok=True)
    save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
    file = folder / "config.json"
    change = {} if about is None else {"quantization_config": about}
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
