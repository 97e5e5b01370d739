"""docs/apply.md: its examples run, and all ways to ablate a mask give the same logits."""

import linecache
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import vxdist
from vxdist.cli import main

PAGE = (Path(__file__).parents[1] / "docs" / "apply.md").read_text(encoding="utf-8")
SECTIONS = {
    part.partition("\n")[0].strip("# "): re.findall(r"```(\w+)\n(.*?)```", part, re.DOTALL)
    for part in re.split(r"^(?=##)", PAGE, flags=re.MULTILINE)
}
Run = Callable[[str], dict[str, Any]]


def execute(code: str, section: str, names: dict[str, Any]) -> None:
    """Run code as if it stood in a file: nnsight reads the source of its blocks."""
    file = f"docs/apply.md, {section}"
    linecache.cache[file] = len(code), None, code.splitlines(keepends=True), file
    exec(compile(code, file, "exec"), names)


@pytest.fixture(scope="module")
def prepared(
    model_folder: Path, corpus_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A folder in which the page's commands work, and a value that has neurons in English."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(model_folder, folder / "Qwen" / "Qwen2.5-0.5B-Instruct")
    config = vxdist.load_config(
        None,
        {
            "model.path": str(folder / "Qwen" / "Qwen2.5-0.5B-Instruct"),
            "corpus.path": str(corpus_folder),
            "store": str(folder / "runs" / "qwen.zarr"),
            "reduce.selector": "vape",
            "reduce.name": "contrast",  # of so few dilemmas no neuron would have a claim
            "reduce.vape.top_fraction": 0.1,
            "reduce.vape.filter_quantile": 0.5,
            "reduce.vape.activation_quantile": 0.5,
        },
    )
    vxdist.locate(config)
    selected = vxdist.reduce(config).selected.sel(language="en").any(("layer", "neuron"))
    return folder, str(selected.value.values[selected.values][0])


@pytest.fixture
def run(prepared: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the Python of a section, after all that it builds on; its names."""
    folder, value = prepared
    monkeypatch.chdir(folder)
    if not Path("runs/qwen-justice").exists():
        (_, command), *_ = SECTIONS["A checkpoint"]
        assert main(shlex.split(command.replace("justice", value, 1))[1:]) == 0
    sections = ["transformers", "lm-evaluation-harness", "A model in memory"]

    def run(last: str) -> dict[str, Any]:
        names: dict[str, Any] = {}
        for section in dict.fromkeys([*sections, last]):
            for kind, code in SECTIONS[section]:
                if kind == "python":
                    # The seed, of which the tasks are, has dilemmas about justice.
                    named = "justice" if section == "lm-evaluation-harness" else value
                    execute(code.replace('"justice"', repr(named)), section, names)
        return names

    return run


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)


def test_the_checkpoint_and_the_block_agree(run: Run) -> None:
    names = run("A model in memory")
    with torch.no_grad():
        close(names["model"](**names["prompt"]).logits, names["logits"])
        intact = names["base"](**names["prompt"]).logits
    assert (intact - names["logits"]).abs().max() > 1e-2


@pytest.mark.long
def test_nnsight(run: Run) -> None:
    pytest.importorskip("nnsight")
    names = run("nnsight")
    close(names["by_nnsight"], names["logits"])


@pytest.mark.long
def test_transformer_lens(run: Run) -> None:
    pytest.importorskip("transformer_lens")
    pytest.importorskip("nnsight")  # the mask is read in the section on it
    names: dict[str, Any] = run("nnsight")
    ((_, code),) = SECTIONS["TransformerLens"]
    execute(code, "TransformerLens", names)
    close(names["by_lens"], names["logits"])


@pytest.mark.long
def test_lm_eval(run: Run) -> None:
    pytest.importorskip("lm_eval")
    run("lm-evaluation-harness")
    ((command,),) = [
        [code for kind, code in SECTIONS["lm-evaluation-harness"] if kind == "sh"],
    ]
    words = shlex.split(command)
    assert words[0] == "lm_eval"
    done = subprocess.run(
        [sys.executable, "-m", "lm_eval", *words[1:], "--device", "cpu"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"dilemmas_justice *\|.*\|acc +\|", done.stdout)


def test_options_of_the_page_are_those_of_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["apply", "--help"])
    shown = capsys.readouterr().out
    for option in re.findall(r"^\| `(--[a-z]+)", PAGE, re.MULTILINE):
        assert option in shown or option == "--config"
    assert main(["--help"]) == 0
    assert re.search(r"^  apply +write a checkpoint", capsys.readouterr().out, re.MULTILINE)
