"""Law 13: a checkpoint that `vxdist apply` writes computes what the hooks compute.

L: layer, N: neuron.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.conftest import QUICK_BLOCKS
from tests.model.packing import write_packed
from vxdist.apply.checkpoint import plan_checkpoint, write_checkpoint
from vxdist.config import ModelConfig
from vxdist.errors import UserError
from vxdist.hooks.ablation import Ablation
from vxdist.hooks.interventions import Affine
from vxdist.model.decoder import find_decoder
from vxdist.model.hook_points import find_hook_points
from vxdist.model.source import find_model
from vxdist.output import Output

TOKENS_BT = torch.randint(3, 512, (3, 11), generator=torch.Generator().manual_seed(1))
LAYERS, NEURONS = 3, 48
CUT = {0: np.array([0, 5, 30, 47]), 2: np.arange(24)}
BIASED = (
    "biogpt bloom codegen ctrl fuyu gpt-sw3 gpt2 gpt_bigcode gpt_neo gpt_neox gptj jais2 "
    "openai-gpt opt persimmon phi starcoder2 xglm"
)
"""Families whose down projection reads the activations alone, and has a bias."""


def affine_of(scale: float = 0.0, shift: float = 0.0) -> Affine:
    rng = np.random.default_rng(3)
    shape = LAYERS, NEURONS
    return Affine(
        scale_LN=(scale * rng.normal(size=shape)).astype(np.float32),
        shift_LN=(shift * rng.normal(size=shape)).astype(np.float32),
    )


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=TOKENS_BT, use_cache=False).logits
    return found


def load(folder: Path, dtype: Any = torch.float32) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, experts_implementation="eager"
    ).eval()


def hooked(folder: Path, affine: Affine, dtype: Any = torch.float32) -> torch.Tensor:
    model = load(folder, dtype)
    ablation = Ablation(find_hook_points(find_decoder(model)), torch.device("cpu"))
    ablation.ablate(CUT, affine)
    return logits(model)


def write(folder: Path, out: Path, affine: Affine, cut: Mapping[int, Any] = CUT) -> list[str]:
    source = find_model(ModelConfig(path=str(folder)))
    planned = plan_checkpoint(source, cut, affine, "made up")
    out.mkdir()
    return write_checkpoint(planned, out, Output(shown=False))[1]


@pytest.fixture(scope="module")
def saved(
    layout_family: str, make_model: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A small model of each family, whose biases are not zero."""
    if layout_family == "dbrx":
        pytest.skip("its experts are kept in a way that is refused")
    folder = tmp_path_factory.mktemp(layout_family) / "model"
    model = make_model(layout_family)
    torch.manual_seed(5)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("scale", [0.0, 0.7], ids=["zero", "dose"])
def test_logits_are_those_of_the_hooks(saved: Path, tmp_path: Path, scale: float) -> None:
    affine = affine_of(scale)
    changed = write(saved, tmp_path / "out", affine)
    found = logits(load(tmp_path / "out"))
    # Relative to the largest: in these models logits reach hundreds.
    tolerance = 1e-5 * float(found.abs().max())
    torch.testing.assert_close(found, hooked(saved, affine), atol=tolerance, rtol=0)
    assert (found - logits(load(saved))).abs().max() > 100 * tolerance
    _same_but(saved, tmp_path / "out", changed)


@pytest.mark.parametrize("name", QUICK_BLOCKS)
def test_logits_are_those_of_the_hooks_in_several_blocks(
    make_model: Callable[[str], Any], tmp_path: Path, name: str
) -> None:
    """Neurons of a dense block and of experts in one layer; the tensors of each block are found."""
    make_model(name).save_pretrained(tmp_path / "model")
    hook_points = find_hook_points(load(tmp_path / "model").get_decoder())
    last = hook_points.exists().sum(1) - 1
    cut = {n: np.array([0, 11, last[n]]) for n in range(3) if last[n] > 0}
    shape = (hook_points.num_layers, hook_points.num_neurons)
    affine = Affine(scale_LN=np.full(shape, 0.3, np.float32), shift_LN=np.zeros(shape, np.float32))
    changed = write(tmp_path / "model", tmp_path / "out", affine, cut)
    assert len(changed) >= 3
    model = load(tmp_path / "model")
    Ablation(find_hook_points(find_decoder(model)), torch.device("cpu")).ablate(cut, affine)
    expected, found = logits(model), logits(load(tmp_path / "out"))
    tolerance = 1e-5 * float(found.abs().max())
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)
    assert (found - logits(load(tmp_path / "model"))).abs().max() > 100 * tolerance
    _same_but(tmp_path / "model", tmp_path / "out", changed)


@pytest.mark.parametrize("name", ["dbrx"])
def test_experts_that_are_kept_otherwise_are_refused(
    make_model: Callable[[str], Any], tmp_path: Path, name: str
) -> None:
    make_model(name).save_pretrained(tmp_path / "model")
    shape = (3, 24 + 48)
    affine = Affine(scale_LN=np.zeros(shape, np.float32), shift_LN=np.zeros(shape, np.float32))
    with pytest.raises(UserError, match="which vxdist does not know how to change"):
        write(tmp_path / "model", tmp_path / "out", affine, {0: np.array([0, 30])})


def _same_but(before: Path, after: Path, changed: list[str]) -> None:
    """Every tensor is there, of the same dtype, and the same to the bit but for `changed`."""
    assert (after / "config.json").read_bytes() == (before / "config.json").read_bytes()
    old, new = load_file(before / "model.safetensors"), load_file(after / "model.safetensors")
    assert list(old) == list(new)
    differ = {n for n in old if not torch.equal(_bytes(old[n]), _bytes(new[n]))}
    assert differ == set(changed)
    assert {n: t.dtype for n, t in old.items()} == {n: t.dtype for n, t in new.items()}


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def test_a_shift_goes_into_the_bias_or_is_refused(
    saved: Path, tmp_path: Path, layout_family: str
) -> None:
    affine = affine_of(shift=0.5)
    if layout_family not in BIASED.split():
        with pytest.raises(
            UserError, match=r"cannot be folded .*; ablate with --intervention zero"
        ):
            write(saved, tmp_path / "out", affine)
        return
    write(saved, tmp_path / "out", affine)
    found = logits(load(tmp_path / "out"))
    tolerance = 1e-5 * float(found.abs().max())
    torch.testing.assert_close(found, hooked(saved, affine), atol=tolerance, rtol=0)
    write(saved, tmp_path / "zero", affine_of())
    assert (found - logits(load(tmp_path / "zero"))).abs().max() > 100 * tolerance


def test_without_vxdist(model_folder: Path, tmp_path: Path) -> None:
    """A process that cannot import vxdist loads the checkpoint and computes the hooks' logits."""
    write(model_folder, tmp_path / "out", affine_of())
    torch.save(TOKENS_BT, tmp_path / "tokens.pt")
    script = (
        "import sys, torch\n"
        "for name in ('vxdist', 'vxstore'): sys.modules[name] = None\n"
        "from transformers import AutoModelForCausalLM\n"
        "model = AutoModelForCausalLM.from_pretrained('out', dtype=torch.float32)\n"
        "tokens = torch.load('tokens.pt')\n"
        "with torch.inference_mode():\n"
        "    torch.save(model(input_ids=tokens, use_cache=False).logits, 'logits.pt')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PATH": "", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "logits.pt")
    torch.testing.assert_close(found, hooked(model_folder, affine_of()), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_dtypes_stay(model_folder: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    load(model_folder, dtype).save_pretrained(tmp_path / "half")
    changed = write(tmp_path / "half", tmp_path / "out", affine_of())
    _same_but(tmp_path / "half", tmp_path / "out", changed)
    assert len(changed) == 2
    # Zeros are exact in any dtype.
    assert torch.equal(
        logits(load(tmp_path / "out", dtype)), hooked(tmp_path / "half", affine_of(), dtype)
    )


@pytest.mark.parametrize("name", ["llama", "mixtral"])
def test_files_stay_as_the_base_model_has_them(
    make_model: Callable[[str], Any], tmp_path: Path, name: str
) -> None:
    make_model(name).save_pretrained(tmp_path / "model", max_shard_size="40KB")
    files = sorted(file.name for file in (tmp_path / "model").glob("*.safetensors"))
    assert len(files) > 2
    changed = write(tmp_path / "model", tmp_path / "out", affine_of())
    assert sorted(file.name for file in (tmp_path / "out").glob("*.safetensors")) == files
    index = "model.safetensors.index.json"
    assert (tmp_path / "out" / index).read_bytes() == (tmp_path / "model" / index).read_bytes()
    placed = json.loads((tmp_path / "out" / index).read_text())["weight_map"]
    touched = {placed[tensor] for tensor in changed}
    for file in files:
        same = (tmp_path / "out" / file).read_bytes() == (tmp_path / "model" / file).read_bytes()
        assert same is (file not in touched)
    torch.testing.assert_close(
        logits(load(tmp_path / "out")), hooked(tmp_path / "model", affine_of()), atol=1e-3, rtol=0
    )


def test_experts_in_one_tensor(make_model: Callable[[str], Any], tmp_path: Path) -> None:
    """A checkpoint may keep all experts of a layer in one tensor, as the model does."""
    model = make_model("mixtral")
    model.save_pretrained(tmp_path / "model")
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    assert state["model.layers.0.mlp.experts.down_proj"].dim() == 3
    save_file(state, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    changed = write(tmp_path / "model", tmp_path / "out", affine_of(0.7))
    assert changed == [f"model.layers.{n}.mlp.experts.down_proj" for n in (0, 2)]
    _same_but(tmp_path / "model", tmp_path / "out", changed)
    torch.testing.assert_close(
        logits(load(tmp_path / "out")),
        hooked(tmp_path / "model", affine_of(0.7)),
        atol=1e-3,
        rtol=1e-5,
    )


def test_a_column_that_is_not_finite_is_set_to_zero(model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    state, name = load_file(file), "model.layers.0.mlp.down_proj.weight"
    state[name][:, 5] = float("nan")
    state[name][:, 0] = -1.0
    save_file(state, file, metadata={"format": "pt"})
    write(tmp_path / "model", tmp_path / "out", affine_of())
    column_D2 = load_file(tmp_path / "out" / "model.safetensors")[name][:, [0, 5]]
    assert (column_D2 == 0).all()
    assert not torch.signbit(column_D2).any()


def test_what_cannot_be_folded_is_refused(
    make_model: Callable[[str], Any],
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_packed(model_folder, tmp_path / "packed", "fp8 in blocks")
    with pytest.raises(UserError, match=r"has packed \(quantised\) weights"):
        write(tmp_path / "packed", tmp_path / "out", affine_of())

    make_model("llama").save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    lost = sorted((tmp_path / "shards").glob("*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(UserError, match=f"{lost.name} is missing; download the model again"):
        write(tmp_path / "shards", tmp_path / "out", affine_of())

    from vxdist.apply import checkpoint

    def build_shared(source: Any) -> Any:
        model = make_model("llama")
        model.model.layers[1].mlp.down_proj.weight = model.model.layers[0].mlp.down_proj.weight
        return model

    monkeypatch.setattr(checkpoint, "build_without_weights", build_shared)
    monkeypatch.setattr(checkpoint, "check_whole", lambda *_: "")
    with pytest.raises(UserError, match=r"has one tensor for model.layers.0.* and model.layers.1"):
        write(model_folder, tmp_path / "out", affine_of())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["aria_text", "gpt_oss", "lfm2", "lfm2_moe", "minimax_m3_vl_text"])
def test_logits_are_those_of_the_hooks_where_vxdist_runs_the_block(
    make_model: Callable[[str], Any], tmp_path: Path, name: str
) -> None:
    """gpt-oss keeps the matrices of its experts the other way round."""
    make_model(name).save_pretrained(tmp_path / "model")
    hook_points = find_hook_points(load(tmp_path / "model").get_decoder())
    cut = {n: np.flatnonzero(row)[::3] for n, row in enumerate(hook_points.exists())}
    shape = (hook_points.num_layers, hook_points.num_neurons)
    affine = Affine(scale_LN=np.full(shape, 0.3, np.float32), shift_LN=np.zeros(shape, np.float32))
    changed = write(tmp_path / "model", tmp_path / "out", affine, cut)
    model = load(tmp_path / "model")
    Ablation(find_hook_points(model.get_decoder()), torch.device("cpu")).ablate(cut, affine)
    expected, found = logits(model), logits(load(tmp_path / "out"))
    tolerance = 1e-5 * float(found.abs().max())
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)
    assert (found - logits(load(tmp_path / "model"))).abs().max() > 100 * tolerance
    _same_but(tmp_path / "model", tmp_path / "out", changed)
    shifted = Affine(scale_LN=affine.scale_LN, shift_LN=affine.scale_LN)
    with pytest.raises(UserError, match="cannot be folded"):
        write(tmp_path / "model", tmp_path / "shifted", shifted, cut)
