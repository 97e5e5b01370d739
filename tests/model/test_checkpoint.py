"""Law 9: every tensor that a model computes with came from its checkpoint."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from vxdist.cli import main
from vxdist.config import ModelConfig
from vxdist.errors import UserError
from vxdist.model.load import describe_model, load_model
from vxdist.model.source import find_config, find_model

Weights = dict[str, torch.Tensor]
GATE, DOWN = "model.layers.1.mlp.gate_proj.weight", "model.layers.1.mlp.down_proj.weight"


def without(name: str) -> Callable[[Weights], Weights]:
    return lambda weights: {key: tensor for key, tensor in weights.items() if key != name}


def renamed(old: str, new: str) -> Callable[[Weights], Weights]:
    return lambda weights: {key.replace(old, new): tensor for key, tensor in weights.items()}


def with_tensor(name: str, tensor: torch.Tensor) -> Callable[[Weights], Weights]:
    return lambda weights: weights | {name: tensor}


FAULTS: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "missing": (without(GATE), f"1 tensor that the checkpoint does not have: {GATE};"),
    "prefix": (
        renamed("model.layers.2.", "base_model.model.layers.2."),
        "9 tensors that the checkpoint does not have: model.layers.2.input_layernorm.weight, "
        "model.layers.2.mlp.down_proj.weight, model.layers.2.mlp.gate_proj.weight and 6 others "
        "(it has base_model.model.layers.2.input_layernorm.weight",
    ),
    "renamed": (renamed("model.layers", "transformer.blocks"), "27 tensors that the checkpoint"),
    "no embeddings": (without("model.embed_tokens.weight"), "model.embed_tokens.weight"),
    "shape": (
        lambda weights: weights | {DOWN: weights[DOWN][:, :7].contiguous()},
        f"1 tensor of another shape than the model's: {DOWN} ([32, 7], expected [32, 48])",
    ),
    "integers": (
        lambda weights: weights | {GATE: weights[GATE].to(torch.int8)},
        f"{GATE} (I8, expected floating-point numbers)",
    ),
    "adapter": (
        with_tensor(GATE.replace("weight", "lora_A.weight"), torch.ones(2, 2)),
        "1 tensor that the model would leave out: model.layers.1.mlp.gate_proj.lora_A.weight; "
        "merge",
    ),
    "scale": (
        with_tensor(GATE.replace("weight", "weight_scale_inv"), torch.ones(1, 1)),
        "would leave out: model.layers.1.mlp.gate_proj.weight_scale_inv",
    ),
    "bias": (
        with_tensor("model.layers.0.self_attn.q_proj.bias", torch.ones(32)),
        "would leave out: model.layers.0.self_attn.q_proj.bias",
    ),
}
"""What is wrong with a checkpoint, and what the refusal says."""


@pytest.fixture(params=["one file", "shards"])
def broken(
    request: pytest.FixtureRequest, model_folder: Path, tmp_path: Path
) -> Callable[[Callable[[Weights], Weights]], Path]:
    """Makes a copy of the small model with other weights, in one file or in two."""

    def make(change: Callable[[Weights], Weights]) -> Path:
        folder = tmp_path / "broken"
        shutil.copytree(model_folder, folder)
        weights = change(load_file(folder / "model.safetensors"))
        if request.param == "one file":
            save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
            return folder
        (folder / "model.safetensors").unlink()
        names, placed = sorted(weights), {}
        for n in range(2):
            file = f"model-0000{n + 1}-of-00002.safetensors"
            save_file({k: weights[k] for k in names[n::2]}, folder / file, {"format": "pt"})
            placed |= dict.fromkeys(names[n::2], file)
        index = {"metadata": {}, "weight_map": placed}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return folder

    return make


@pytest.mark.parametrize("fault", FAULTS)
def test_a_checkpoint_that_is_not_whole_is_refused_by_name(
    fault: str, broken: Callable[..., Path]
) -> None:
    change, message = FAULTS[fault]
    folder = broken(change)
    with pytest.raises(UserError) as refusal:
        describe_model(find_model(ModelConfig(path=str(folder))))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("fault", ["missing", "prefix", "no embeddings", "shape", "adapter"])
def test_and_again_when_it_is_loaded(fault: str, broken: Callable[..., Path]) -> None:
    """Nothing relies on the headers alone."""
    folder = broken(FAULTS[fault][0])
    config = ModelConfig(path=str(folder))
    with pytest.raises(UserError, match=r"^model\.path: .*") as refusal:
        load_model(find_model(config), config)
    assert "\n" not in str(refusal.value)


def test_a_whole_checkpoint_is_not_refused(broken: Callable[..., Path]) -> None:
    folder = broken(lambda weights: weights)
    config = ModelConfig(path=str(folder))
    assert describe_model(find_model(config)).num_layers == 3
    load_model(find_model(config), config)


def test_what_another_task_needs_is_only_named(
    broken: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = broken(with_tensor("v_head.summary.weight", torch.ones(1, 32)))
    describe_model(find_model(ModelConfig(path=str(folder))))
    assert "1 tensor that the model does not use: v_head.summary.weight" in capsys.readouterr().err


def test_a_head_that_is_not_tied_must_be_there(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    weights = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    tied, untied = without("lm_head.weight")(weights), dict(weights)
    untied.setdefault("lm_head.weight", weights["model.embed_tokens.weight"].clone())
    for tie, held, whole in (
        (True, tied, True), (False, tied, False), (False, untied, True), (True, untied, True)
    ):  # fmt: skip
        save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": tie}))
        source = find_model(ModelConfig(path=str(folder)))
        if whole:
            describe_model(source)
            load_model(source, ModelConfig(path=str(folder)))
        else:
            with pytest.raises(UserError, match=r"does not have: lm_head\.weight"):
                describe_model(source)


def test_every_family_is_whole_as_it_is_saved(
    family: str, make_model: Callable[[str], Any], tmp_path: Path
) -> None:
    """transformers renames, splits and stacks tensors between files and model."""
    make_model(family).save_pretrained(tmp_path)
    source = find_model(ModelConfig(path=str(tmp_path)))
    describe_model(source)
    weights = load_file(tmp_path / "model.safetensors")
    lost = next(
        name for name in sorted(weights) if re.search("moe|experts|mlp|fc1|ffn|feed_f", name)
    )
    save_file(without(lost)(weights), tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"does not have|of another shape|do not fit together"):
        describe_model(source)


def test_the_index_alone_tells(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As for a model on the Hub whose weights are not here."""
    names = list(load_file(model_folder / "model.safetensors"))
    shutil.copy(model_folder / "config.json", tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    for held, code in ((names, 0), ([name for name in names if name != GATE], 2)):
        placed = dict.fromkeys(held, "model-00001-of-00001.safetensors")
        index.write_text(json.dumps({"metadata": {}, "weight_map": placed}))
        assert main(["models", str(tmp_path)]) == code
    printed = capsys.readouterr()
    assert "complete by the index" in printed.out
    assert f"does not have: {GATE}" in printed.err
    index.write_text('{"weight_map": {"a": "../../etc/a.safetensors"}}')
    with pytest.raises(UserError, match="names a file outside its folder"):
        describe_model(find_config(ModelConfig(path=str(tmp_path))))
    index.write_text("[]")
    with pytest.raises(UserError, match="is not an index of weights"):
        describe_model(find_config(ModelConfig(path=str(tmp_path))))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda whole: whole[: len(whole) // 2], "is cut off: its header promises"),
        (lambda _: b"", "is not a whole safetensors file"),
        (lambda _: b"\xff" * 64, "is not a whole safetensors file"),
        (lambda whole: whole[:8] + b"[" + whole[9:], "is not a whole safetensors file"),
        (lambda whole: whole + b"more", "is cut off: its header promises"),
    ],
)
def test_files_that_are_damaged(
    content: Callable[[bytes], bytes], message: str, model_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    file = folder / "model.safetensors"
    file.write_bytes(content(file.read_bytes()))
    with pytest.raises(UserError) as refusal:
        describe_model(find_model(ModelConfig(path=str(folder))))
    assert message in str(refusal.value)


def test_a_shard_that_is_missing(broken: Callable[..., Path]) -> None:
    folder = broken(lambda weights: weights)
    for file in list(folder.glob("*-of-*.safetensors"))[:1]:
        file.unlink()
        with pytest.raises(UserError, match=rf"{file.name} is missing"):
            describe_model(find_model(ModelConfig(path=str(folder))))


@pytest.mark.parametrize("alone", [False, True])
def test_adapters_are_refused(alone: bool, model_folder: Path, tmp_path: Path) -> None:
    """transformers applies one beside a model if peft is installed, and else not."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "org/base"}
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    if alone:
        (folder / "config.json").unlink()
    found = "is an adapter" if alone else "holds an adapter"
    with pytest.raises(UserError, match=rf"{found} \(adapter_config.json\).*merge_and_unload") as e:
        find_model(ModelConfig(path=str(folder)))
    assert alone == ("its base model is org/base" in str(e.value))


@pytest.mark.parametrize("strategy", ["single", "ddp", "zero3"])
def test_no_store_is_made_of_a_broken_model(
    strategy: str, broken: Callable[..., Path], run_options: list[str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = broken(FAULTS["missing"][0])
    words = ["--model.path", str(folder), "--trainer.strategy", strategy]
    assert main(["locate", *run_options, *words]) == 2
    assert f"does not have: {GATE}" in capsys.readouterr().err
    assert not (tmp_path / "run.zarr").exists()


UNCHECKED = """
import sys
from vxdist.cli import main
from vxdist.model import load

load.check_whole = lambda *_: "not looked at"
sys.exit(main(["locate", *sys.argv[1:]]))
"""


def test_a_model_loaded_in_shards_is_whole_too(
    model_folder: Path, tmp_path: Path, run_options: list[str]
) -> None:
    """Under zero3 transformers fills the shards by another way."""
    pytest.importorskip("deepspeed")
    folder = tmp_path / "broken"
    shutil.copytree(model_folder, folder)
    weights = without(GATE)(load_file(folder / "model.safetensors"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    words = ["--model.path", str(folder), "--trainer.strategy", "zero3"]
    # In a process of its own, as DeepSpeed leaves a process group behind.
    command = [sys.executable, "-c", UNCHECKED, *run_options, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 2, done.stderr
    assert f"does not have: {GATE}" in done.stderr
