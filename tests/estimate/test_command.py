"""`vxdist estimate`: what it prints, what it advises, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vxdist.cli import main

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "docs" / "models"
MACHINE = ["--gpus", "16", "--gpu-memory", "80GB"]
Ask = Callable[..., Any]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """The estimate of a model in docs/models, as JSON."""

    def run(config: str, model: str, *options: str) -> Any:
        words = ["estimate", "--config", str(ROOT / "configs" / config)]
        words += ["--model.path", str(MODELS / model), "--format", "json", *options]
        assert main(words) == 0
        return json.loads(capsys.readouterr().out)

    return run


def test_seventy_billion_need_shards(ask: Ask) -> None:
    found = ask("llama3.1-70b.yaml", "Llama-3.1-70B-Instruct", "--gpus", "16", "--gpu-memory",
               "80GB")  # fmt: skip
    assert (found["strategy"], found["fits"]) == ("zero3", True)
    assert not found["memory"]["ddp"]["fits"]
    assert found["machine"]["nodes"] == 2


def test_a_run_that_does_not_fit_gets_advice_that_does(ask: Ask) -> None:
    small = ["--gpus", "2", "--gpu-memory", "16GB"]
    found = ask("qwen2.5-7b.yaml", "Qwen2.5-7B-Instruct", *small)
    assert not found["fits"]
    assert any("trainer.strategy: zero3 fits" in line for line in found["advice"])
    # The advice works.
    again = ask("qwen2.5-7b.yaml", "Qwen2.5-7B-Instruct", *small, "--trainer.strategy", "zero3")
    assert again["fits"]


def test_fewest_nodes_that_fit(ask: Ask) -> None:
    tight = ["--gpus", "8", "--gpu-memory", "24GB"]
    (advised, *_) = ask("qwen2.5-72b.yaml", "Qwen2.5-72B-Instruct", *tight)["advice"]
    assert "needs at least 2 nodes of 8 GPUs (16 in total)" in advised
    found = ask("qwen2.5-72b.yaml", "Qwen2.5-72B-Instruct", "--gpus", "16", "--gpu-memory", "24GB")
    assert found["fits"]


def test_idle_devices_and_a_small_disk_are_reported(ask: Ask) -> None:
    found = ask("llama3.1-70b.yaml", "Llama-3.1-70B-Instruct", "--gpus", "16", "--gpu-memory",
               "80GB", "--locate.parts_per_group", "1", "--corpus.values", "[freedom]",
               "--disk", "1MB")  # fmt: skip
    advice = "\n".join(found["advice"])
    assert "leave 12 of 16 devices idle" in advice
    assert "is more than 1.00 MB" in advice


def test_the_earlier_name_of_the_command_still_works(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--config", str(ROOT / "configs" / "llama3.1-70b.yaml")]
    options += ["--model.path", str(MODELS / "Llama-3.1-70B-Instruct")]
    outputs = []
    for command in ("plan", "estimate"):
        assert main([command, *options, *MACHINE]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--gpus", "16", "--nodes", "3", "--gpu-memory", "80GB"], "--gpus: 16 cannot be divided"),
        (["--gpus", "8"], "--gpu-memory"),
        (["--gpus", "8", "--gpu-memory", "80"], "expected a size such as 80GB"),
        (["--gpu", "8"], "did you mean --gpus?"),
        (["--gpus", "8", "--gpu-memory", "80GB", "--model.path", "nowhere/at/all"], "nowhere"),
        # The checks of the stages themselves.
        ([*MACHINE, "--evaluate.values", "[freedom,freedom]"], "at least one value, each once"),
        ([*MACHINE, "--evaluate.controls", "-1"], "evaluate.controls: -1 must be 0 or more"),
        ([*MACHINE, "--locate.parts_per_group", "0"], "0 must be at least 1, or null for one"),
        ([*MACHINE, "--trainer.shard_group", "3"], "3 must be 2 or more and divide the 8 ranks"),
    ],
)
def test_refused_in_one_line(
    options: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ["--config", str(ROOT / "configs" / "llama3.1-70b.yaml")]
    model = ["--model.path", str(MODELS / "Llama-3.1-70B-Instruct")]
    assert main(["estimate", *config, *model, *options]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert named in error
    assert "\n" not in error
