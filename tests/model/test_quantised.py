"""Packed (quantised) weights are unpacked as their format defines, whole, or refused in a line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.model.packing import FORMS, write_packed
from vxdist.cli import main
from vxdist.config import ModelConfig
from vxdist.estimate.shape import measure_model
from vxdist.hooks.counter import Counter
from vxdist.hooks.measures import choose
from vxdist.hooks.selftest import check_hook_points
from vxdist.model.hook_points import find_hook_points
from vxdist.model.load import build_without_weights, describe_model, load_model
from vxdist.model.source import find_model
from vxstore.cli.main import main as vxstore
from vxstore.read import open_store
from vxstore.statistics import DEFAULT

TOKENS_BT = torch.arange(40).reshape(2, 20) % 37 + 3
DOWN = "model.layers.1.mlp.down_proj"


def load(folder: Path, dtype: str = "float32") -> Any:
    config = ModelConfig(path=str(folder), dtype=dtype)
    return load_model(find_model(config), config)


def counts(folder: Path, options: list[str], store: Path) -> Any:
    words = ["--model.path", str(folder), "--store", str(store)]
    assert main(["locate", *options, *words]) == 0
    return open_store(str(store))


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_what_their_format_defines(
    form: str, model_folder: Path, tmp_path: Path
) -> None:
    beside = write_packed(model_folder, tmp_path / "packed", form)
    shape = describe_model(find_model(ModelConfig(path=str(tmp_path / "packed"))))
    assert shape.packing is not None
    assert shape.packing.split()[0].rstrip(",") == FORMS[form][1]["quant_method"]
    expected = load(beside).state_dict()
    found = load(tmp_path / "packed")
    assert type(found.model.layers[0].mlp.down_proj) is torch.nn.Linear
    assert not hasattr(found.config, "quantization_config")
    for name, tensor in found.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=2e-7, atol=1e-9, msg=name)
    half = load(tmp_path / "packed", "bfloat16").get_parameter(f"{DOWN}.weight")
    assert torch.equal(half, found.get_parameter(f"{DOWN}.weight").bfloat16())


@pytest.mark.parametrize(
    ("family", "form"),
    [("mixtral", "compressed words"), ("qwen3_moe", "fp8, one scale"), ("phi3", "compressed int8")],
)
def test_experts_are_stacked_and_joined(
    family: str, form: str, make_model: Callable[[str], Any], tmp_path: Path
) -> None:
    """Files keep each expert apart; transformers stacks what was unpacked."""
    make_model(family).save_pretrained(tmp_path / "dense")
    beside = write_packed(tmp_path / "dense", tmp_path / "packed", form)
    describe_model(find_model(ModelConfig(path=str(tmp_path / "packed"))))
    expected = load(beside).state_dict()
    for name, tensor in load(tmp_path / "packed").state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("form", ["fp8 in blocks", "gptq", "compressed words"])
def test_it_is_watched_as_the_unpacked_model(form: str, model_folder: Path, tmp_path: Path) -> None:
    """Laws 5 and 6: it passes the self-test, counts the same to the bit, and is left as it was."""
    beside = write_packed(model_folder, tmp_path / "packed", form)
    found = []
    for folder in (tmp_path / "packed", beside):
        model = load(folder)
        decoder = model.get_decoder()
        plain = decoder(input_ids=TOKENS_BT, use_cache=False).last_hidden_state
        hook_points = find_hook_points(decoder)
        check_hook_points(decoder, hook_points, (1, 2, 3))
        counter = Counter(hook_points, torch.device("cpu"), choose(DEFAULT))
        counter.count(torch.ones(TOKENS_BT.numel(), dtype=torch.bool))
        watched = decoder(input_ids=TOKENS_BT, use_cache=False).last_hidden_state
        counter.remove()
        assert torch.equal(plain, watched)
        found.append((plain, counter.take().statistics["active_count"]))
    assert torch.equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    assert found[0][1].any()


@pytest.mark.long
@pytest.mark.parametrize("form", ["fp8 in blocks", "gptq", "compressed words"])
def test_it_is_counted_as_the_unpacked_model(
    form: str, model_folder: Path, tmp_path: Path, run_options: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Those that unpack to the same bits; the store says how they were packed."""
    beside = write_packed(model_folder, tmp_path / "packed", form)
    packed = counts(tmp_path / "packed", run_options, tmp_path / "a.zarr")
    plain = counts(beside, run_options, tmp_path / "b.zarr")
    for name in ("active_count", "activation_sum"):
        there, here = (of.root()[name].values for of in (packed, plain))
        np.testing.assert_array_equal(there, here)
        assert np.asarray(there).any()
    assert packed.attrs["packing"].startswith(FORMS[form][1]["quant_method"])
    assert "packing" not in plain.attrs
    capsys.readouterr()
    assert vxstore(["info", str(tmp_path / "a.zarr")]) == 0
    assert f"float32, unpacked from {packed.attrs['packing']}" in capsys.readouterr().out


def test_packed_models_are_shown(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "packed"
    write_packed(model_folder, folder, "gptq")
    assert main(["models", str(folder)]) == 0
    assert "unpacked from gptq, 4 bits when it is loaded" in " ".join(
        capsys.readouterr().out.split()
    )
    assert main(["models", str(folder), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["packing"] == "gptq, 4 bits"


def test_its_size_is_that_of_the_unpacked_model(model_folder: Path, tmp_path: Path) -> None:
    """As `vxdist estimate` counts it."""
    beside = write_packed(model_folder, tmp_path / "packed", "gptq")
    sources = [find_model(ModelConfig(path=str(at))) for at in (tmp_path / "packed", beside)]
    packed, plain = (measure_model(build_without_weights(s), describe_model(s)) for s in sources)
    assert packed == plain
