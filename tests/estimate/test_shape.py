"""Parameters from the configuration alone are those of the published weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vxdist.config import ModelConfig
from vxdist.estimate.shape import Size, measure_model
from vxdist.model.language import build
from vxdist.model.load import build_without_weights, describe_model
from vxdist.model.source import find_config

ROOT = Path(__file__).parents[2]


def measure(folder: Path) -> Size:
    source = find_config(ModelConfig(path=str(folder)))
    return measure_model(build_without_weights(source), describe_model(source))


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        # Half the total_size of model.safetensors.index.json, which is in bfloat16.
        ("Qwen2.5-7B-Instruct", 15_231_233_024 // 2),
        ("Llama-3.1-70B-Instruct", 141_107_412_992 // 2),
        ("Qwen2.5-72B-Instruct", 145_412_407_296 // 2),
    ],
)
def test_published_models_have_their_published_size(model: str, parameters: int) -> None:
    size = measure(ROOT / "docs" / "models" / model)
    assert size.parameters == parameters
    embedding_and_head = 2 * size.vocabulary * size.hidden
    assert size.active == size.decoder == parameters - embedding_and_head


def test_every_family_is_counted_as_a_real_model_is(
    make_model: Callable[[str], Any], family: str, tmp_path: Path
) -> None:
    model = build(make_model(family).config, own_code=False)  # without towers
    model.config.save_pretrained(tmp_path)
    size = measure(tmp_path)
    assert size.parameters == sum(p.numel() for p in model.parameters())
    assert 0 < size.active <= size.decoder < size.parameters
    assert size.largest_in_layer <= size.layer < size.decoder


@pytest.mark.parametrize(("family", "layers"), [("mixtral", 3), ("deepseek_v3", 2)])
def test_only_the_experts_of_a_token_are_active(
    make_model: Callable[[str], Any], family: str, layers: int, tmp_path: Path
) -> None:
    """Of 4 experts of 12 units 2 per token; the first layer of DeepSeek-V3 is dense."""
    make_model(family).config.save_pretrained(tmp_path)
    size = measure(tmp_path)
    expert = 3 * 12 * 32  # gate, up and down
    assert size.decoder - size.active == layers * 2 * expert
    assert size.experts_fraction == 0.5
