"""`vxdist models`, as a user runs it."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import SEVERAL_BLOCKS
from vxdist.cli import main


def test_the_list_names_every_family(families: list[str], capsys: pytest.CaptureFixture) -> None:
    families = [*families, *SEVERAL_BLOCKS]
    assert main(["models"]) == 0
    words = capsys.readouterr().out.replace(",", " ").split()
    assert set(families) <= set(words)
    assert main(["models", "--format", "json"]) == 0
    layouts = json.loads(capsys.readouterr().out)
    assert {f for layout in layouts for f in layout["families"]} == set(families)


def test_a_model_is_described_from_its_configuration(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copy(model_folder / "config.json", tmp_path)
    assert main(["models", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    for words in (
        "LlamaForCausalLM",
        "48 per layer, 144 in total",
        "output of mlp.act_fn (gated layout)",
        "512 tokens",
    ):
        assert words in shown


def test_experts_are_described(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from transformers import Qwen3MoeConfig

    Qwen3MoeConfig(  # Qwen3-30B-A3B
        hidden_size=2048, num_hidden_layers=48, num_attention_heads=32, num_key_value_heads=4,
        num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768, vocab_size=151936,
    ).save_pretrained(tmp_path)  # fmt: skip
    assert main(["models", str(tmp_path), "--format", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["num_layers"], facts["num_neurons"], facts["num_experts"]) == (48, 98304, 128)
    assert main(["models", str(tmp_path)]) == 0
    assert "128 experts x 768 = 98,304 per layer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere/at/all"], "is not a model"),
        (["--formt", "json"], "unrecognized arguments: --formt"),
    ],
)
def test_mistakes_get_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["models", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
