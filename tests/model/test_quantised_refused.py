"""Packed weights that are not whole, or not as vxdist knows, are refused in a line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.model.packing import FORMS, write, write_packed
from vxdist.config import ModelConfig
from vxdist.errors import UserError
from vxdist.model.load import describe_model, load_model
from vxdist.model.source import find_config, find_model

DOWN = "model.layers.1.mlp.down_proj"
Whole = Callable[[str], Path]


@pytest.fixture(scope="module")
def whole(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Makes a packed model, each form once."""
    made: dict[str, Path] = {}

    def make(form: str) -> Path:
        if form not in made:
            made[form] = tmp_path_factory.mktemp("packed") / "model"
            write_packed(model_folder, made[form], form)
        return made[form]

    return make


@pytest.mark.parametrize(
    ("form", "part"),
    [
        ("fp8 in blocks", "weight_scale_inv"),
        ("fp8 in blocks", "weight"),
        ("fp8, one scale", "weight_scale"),
        ("gptq", "qzeros"),
        ("gptq", "scales"),
        ("gptq", "qweight"),
        ("awq", "qzeros"),
        ("bitsandbytes 4 bits", "weight.absmax"),
        ("bitsandbytes 4 bits", "weight.quant_state.bitsandbytes__nf4"),
        ("bitsandbytes 4 bits, nested", "weight.nested_absmax"),
        ("bitsandbytes 8 bits", "SCB"),
        ("compressed words", "weight_scale"),
        ("compressed words", "weight_shape"),
        ("compressed words", "weight_packed"),
        ("compressed int8", "weight_scale"),
    ],
)
def test_a_part_that_is_missing_is_named(
    form: str, part: str, whole: Whole, tmp_path: Path
) -> None:
    tensors = load_file(whole(form) / "model.safetensors")
    del tensors[f"{DOWN}.{part}"]
    write(whole(form), tmp_path / "broken", tensors, None)
    refused = refusals(tmp_path / "broken")
    # Without its whole numbers, what is missing is the weight.
    name = f"{DOWN}.weight" if part == "qweight" else f"{DOWN}.{part}"
    if "nested" in part:
        assert f"{DOWN}.weight.absmax ([" in refused
        assert "nested_absmax and nested_quant_map beside it" in refused
    else:
        assert f"1 tensor that the checkpoint does not have: {name}" in refused


@pytest.mark.parametrize(
    ("form", "part"),
    [
        ("fp8 in blocks", "weight_scale_inv"),
        ("gptq", "scales"),
        ("gptq", "qzeros"),
        ("gptq", "g_idx"),
        ("awq", "scales"),
        ("bitsandbytes 4 bits", "weight.absmax"),
        ("bitsandbytes 4 bits", "weight"),
        ("bitsandbytes 8 bits", "SCB"),
        ("compressed words", "weight_scale"),
        ("compressed words", "weight_packed"),
        ("compressed words with zero points", "weight_zero_point"),
    ],
)
def test_a_part_of_another_shape_is_named(
    form: str, part: str, whole: Whole, tmp_path: Path
) -> None:
    tensors = load_file(whole(form) / "model.safetensors")
    name = f"{DOWN}.{part}"
    tensors[name] = tensors[name][:-1].contiguous()
    write(whole(form), tmp_path / "broken", tensors, None)
    assert f"1 tensor of another shape than the model's: {name} ([" in refusals(tmp_path / "broken")


def test_a_packed_weight_of_another_model(whole: Whole, tmp_path: Path) -> None:
    """Parts that fit each other, of another shape than the model's."""
    tensors = load_file(whole("gptq") / "model.safetensors")
    gate = "model.layers.1.mlp.gate_proj"
    for part in ("qweight", "qzeros", "scales", "g_idx"):
        tensors[f"{gate}.{part}"] = tensors[f"{DOWN}.{part}"].clone()
    write(whole("gptq"), tmp_path / "broken", tensors, None)
    assert f"{gate}.weight ([32, 48], expected [48, 32])" in refusals(tmp_path / "broken")


def refusals(folder: Path) -> str:
    """What `vxdist models` says; loading refuses it in a line too."""
    lines = []
    config = ModelConfig(path=str(folder))
    source = find_model(config)
    for use in (lambda: describe_model(source), lambda: load_model(source, config)):
        with pytest.raises(UserError) as refusal:
            use()
        assert "\n" not in str(refusal.value)
        lines.append(str(refusal.value))
    return lines[0]


@pytest.mark.parametrize(
    ("packing", "told"),
    [
        ({"quant_method": "hqq", "nbits": 4}, "(hqq), which vxdist cannot unpack; vxdist unpacks"),
        ({"quant_method": "torchao"}, "awq, bitsandbytes, compressed-tensors, fp8, gptq and mxfp4"),
        ({"bits": 4}, "(a method that config.json does not name)"),
        ({"quant_method": "gptq", "bits": 3}, "(gptq: 3 bits, checkpoint_format gptq)"),
        ({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "marlin"),
        ({"quant_method": "gptq"}, "(gptq: KeyError('bits'))"),
        ({"quant_method": "awq", "version": "gemv"}, "(awq: 4 bits, version gemv)"),
        ({"quant_method": "fp8", "weight_block_size": [0, 128]}, "weight_block_size [0, 128]"),
        (
            {
                "quant_method": "compressed-tensors",
                "format": "nvfp4-pack-quantized",
                "config_groups": {"a": {"weights": {"num_bits": 4}}},
            },
            "format nvfp4-pack-quantized, 4 bits",
        ),
        ({"quant_method": "compressed-tensors", "config_groups": {}}, "format none"),
    ],
)
def test_other_ways_to_pack_are_refused(
    packing: dict[str, Any], told: str, model_folder: Path, tmp_path: Path
) -> None:
    tensors = load_file(model_folder / "model.safetensors")
    write(model_folder, tmp_path / "packed", tensors, packing)
    refused = refusals(tmp_path / "packed")
    assert told in refused
    assert "use the unpacked model" in refused


@pytest.mark.parametrize("form", FORMS)
def test_a_model_whose_weights_are_not_packed(
    form: str, model_folder: Path, tmp_path: Path
) -> None:
    tensors = load_file(model_folder / "model.safetensors")
    write(model_folder, tmp_path / "plain", tensors, FORMS[form][1])
    assert "but no tensor is; download it again" in refusals(tmp_path / "plain")


def test_the_index_alone_names_the_parts(whole: Whole, tmp_path: Path) -> None:
    """As for a model on the Hub whose weights are not here."""
    folder = whole("gptq")
    names = [*load_file(folder / "model.safetensors")]
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    index = tmp_path / "model.safetensors.index.json"
    source = find_config(ModelConfig(path=str(tmp_path)))
    for lost, told in ((None, ""), ("scales", f"{DOWN}.scales"), ("qweight", f"{DOWN}.weight")):
        held = dict.fromkeys((n for n in names if n != f"{DOWN}.{lost}"), "a-00001.safetensors")
        index.write_text(json.dumps({"metadata": {}, "weight_map": held}))
        if lost is None:
            assert describe_model(source).weights.startswith("complete by the index")
        else:
            with pytest.raises(UserError, match=f"does not have: {told}"):
                describe_model(source)


def test_what_no_file_of_the_format_holds(whole: Whole, tmp_path: Path) -> None:
    """Found only when the weight is unpacked."""
    for form, part, told in (
        ("gptq", "g_idx", "g_idx names groups that are not among the"),
        ("bitsandbytes 8 bits", "weight_format", "not in the order of rows"),
    ):
        tensors = load_file(whole(form) / "model.safetensors")
        tensors[f"{DOWN}.{part}"] += 7
        write(whole(form), tmp_path / form, tensors, None)
        config = ModelConfig(path=str(tmp_path / form))
        source = find_model(config)
        with pytest.raises(UserError, match=told):
            load_model(source, config)
