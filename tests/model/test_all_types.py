"""Every model type that transformers knows is described or refused in one line."""

from pathlib import Path

import pytest
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from vxdist.cli import main
from vxdist.config import ModelConfig
from vxdist.errors import UserError
from vxdist.model.load import describe_model
from vxdist.model.source import find_config

WITH_IMAGES = ("qwen2_5_vl", "llava")
TYPES = sorted({*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *WITH_IMAGES})
LEAST_DESCRIBED = 130
"""How many of them vxdist supports at least, by the layout of their default configuration."""


def test_every_type_is_described_or_refused_in_one_line(tmp_path: Path) -> None:
    described, refused = [], {}
    for name in TYPES:
        folder = tmp_path / name
        try:
            CONFIG_MAPPING[name]().save_pretrained(folder)
        except Exception:
            continue  # its own defaults do not go together
        try:
            describe_model(find_config(ModelConfig(path=str(folder))))
            described.append(name)
        except UserError as error:
            refused[name] = str(error)
    assert len(described) >= LEAST_DESCRIBED
    assert len(described) + len(refused) > 150
    for name, message in refused.items():
        assert message.startswith("model.path: "), name
        assert "\n" not in message, name
        assert len(message) < 700, name
    assert set(WITH_IMAGES) <= set(described)
    assert "longcat_flash" not in described, "its layers have two blocks each"


@pytest.mark.parametrize(
    "name",
    [
        "gemma4_text",
        *(pytest.param(n, marks=pytest.mark.long) for n in ("gemma3n_text", "qwen3_5_text")),
    ],
)
def test_models_whose_layers_differ_are_estimated(name: str, tmp_path: Path) -> None:
    """Heads of another size in some layers; distributions that are made of nothing."""
    CONFIG_MAPPING[name]().save_pretrained(tmp_path)
    words = ["--corpus.stories_per_group", "4", "--corpus.dilemmas_per_value", "2"]
    assert main(["estimate", "--model.path", str(tmp_path), *words]) == 0
