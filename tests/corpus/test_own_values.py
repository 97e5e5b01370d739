"""docs/corpus.md: its files and commands are those that exist."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

import vxstore
from vxdist.cli import main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "corpus.md"
EXAMPLE = ROOT / "docs" / "examples" / "schwartz"


@pytest.fixture(scope="module")
def page() -> str:
    """The text of the page."""
    return PAGE.read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """Code blocks of the page."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def test_the_items_shown_are_those_of_the_files(page: str) -> None:
    story, dilemma, *_ = (json.loads(block) for block in blocks(page, "json"))
    for shown, name in ((story, "activation.jsonl"), (dilemma, "evaluation.jsonl")):
        lines = (EXAMPLE / name).read_text(encoding="utf-8").splitlines()
        assert shown in [json.loads(line) for line in lines]


def test_the_settings_shown_are_those_of_the_file(page: str) -> None:
    (shown,) = (yaml.safe_load(block) for block in blocks(page, "yaml"))
    settings = yaml.safe_load((EXAMPLE / "run.yaml").read_text(encoding="utf-8"))
    assert settings["evaluate"].items() >= shown["evaluate"].items()


def test_links_resolve(page: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", page):
        assert (PAGE.parent / link).exists(), link


def test_the_commands_run(
    page: str,
    long_model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    check, run = (shlex.split(block) for block in blocks(page, "sh"))
    assert main(check[1:]) == 0
    assert "found: 0 errors" in capsys.readouterr().out
    store = str(tmp_path / "s.zarr")
    small = ["--model.path", str(long_model_folder), "--store", store]
    small += ["--evaluate.least_mass", "0"]  # its weights are random
    few = ("top_fraction", "0.2"), ("filter_quantile", "0.1"), ("activation_quantile", "0.1")
    small += [word for name, x in few for word in (f"--reduce.vape.{name}", x)]  # and neurons few
    assert main([*run[1:], *small]) == 0
    opened = vxstore.open(store)
    root = opened.root()
    assert root["value"].values.tolist() == [
        "self_direction", "stimulation", "hedonism", "achievement", "power", "security",
        "conformity", "tradition", "benevolence", "universalism",
    ]  # fmt: skip
    assert root["language"].values.tolist() == ["en", "de"]
    assert opened.evaluation("choice").sizes["dilemma"] == 6
    assert np.isfinite(opened.effect("choice")["p_value"].values).any()
