"""Packed weights of a stranger: damaged files are read or refused in a line, and fill no memory."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.hostile import fuzz
from tests.model.packing import FORMS, write, write_packed
from vxdist.config import ModelConfig
from vxdist.errors import UserError
from vxdist.model.load import describe_model, load_model
from vxdist.model.source import find_model

QUICK = ("gptq",)
DOWN = "model.layers.1.mlp.down_proj"
STATE = "weight.quant_state.bitsandbytes__nf4"


def read(file: Path) -> str:
    """Describe and load the model of the file's folder."""
    config = ModelConfig(path=str(file.parent))
    source = find_model(config)
    describe_model(source)
    load_model(source, config)
    return ""


@pytest.mark.parametrize(
    "form",
    [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.long]) for name in FORMS],
)
def test_mutated_files(form: str, model_folder: Path, tmp_path: Path, soak: int) -> None:
    write_packed(model_folder, tmp_path / "whole", form)
    for name, mutations in (
        ("config.json", (fuzz.mutate_json, mutate_packing)),
        ("model.safetensors", (fuzz.mutate_header, fuzz.mutate)),
    ):
        content = (tmp_path / "whole" / name).read_bytes()
        files = fuzz.make_files(
            tmp_path / name, content, fuzz.count(soak), seed=soak, name=name, mutations=mutations
        )
        for file in files:
            for other in (tmp_path / "whole").iterdir():
                if other.name != name:
                    os.link(other, file.parent / other.name)
        found = fuzz.judge(files, read)
        assert [told for kind, told in found if kind == fuzz.FAILED] == []
        assert fuzz.REFUSED in {kind for kind, _ in found}


def mutate_packing(content: bytes, rng: Any) -> bytes:
    """Only quantization_config is mutated."""
    config = json.loads(content)
    mutated = fuzz.mutate_json(json.dumps(config["quantization_config"]).encode(), rng)
    return json.dumps(config | {"quantization_config": json.loads(mutated)}).encode()


@pytest.mark.parametrize(
    "change",
    [
        {"blocksize": 1 << 40},
        {"nested_blocksize": 1 << 40},
        {"nested_blocksize": 0},
        {"shape": [1 << 40, 1 << 40]},
        {"shape": [32]},
        {"shape": "wide"},
        {"shape": [32, 48.5]},
        {"nested_offset": "none"},
        {"padding": "x" * 5000},
    ],
)
def test_settings_of_giants(change: Mapping[str, Any], model_folder: Path, tmp_path: Path) -> None:
    """Of bitsandbytes, which keeps the settings of a weight as bytes of a tensor."""
    write_packed(model_folder, tmp_path / "packed", "bitsandbytes 4 bits, nested")
    tensors = load_file(tmp_path / "packed" / "model.safetensors")
    state = json.loads(bytes(tensors[f"{DOWN}.{STATE}"].tolist())) | change
    tensors[f"{DOWN}.{STATE}"] = torch.frombuffer(
        bytearray(json.dumps(state).encode()), dtype=torch.uint8
    )
    write(tmp_path / "packed", tmp_path / "other", tensors, None)
    with pytest.raises(UserError) as refusal:
        read(tmp_path / "other" / "config.json")
    assert "\n" not in str(refusal.value)
