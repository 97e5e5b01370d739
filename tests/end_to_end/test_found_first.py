"""A mistake in any section is found before a model is loaded, and before torch is imported."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vxdist.cli import main

ROOT = Path(__file__).parents[2]
ASK = """
import json, sys
from vxdist.cli import main
commands = json.load(sys.stdin)
codes = [main(command) for command in commands]
imported = sorted({"torch", "transformers"} & set(sys.modules))
print(json.dumps({"codes": codes, "imported": imported}))
"""
MISTAKES = [
    (["--evaluate.values", "[powr]"], "evaluate.values: 'powr' is not in the corpus"),
    (["--evaluate.controls", "-1"], "evaluate.controls: -1 must be 0 or more"),
    (["--evaluate.seed", "-1"], "evaluate.seed: -1 must be 0 or more"),
    (["--evaluate.confidence", "1"], "evaluate.confidence: 1.0 must be between 0 and 1"),
    (["--evaluate.fdr", "0"], "evaluate.fdr: 0.0 must be between 0 and 1"),
    (["--evaluate.bootstrap_resamples", "9"], "is no longer a setting: intervals are Student's"),
    (["--evaluate.max_padding", "1"], "evaluate.max_padding: 1.0 must be at least 0 and less"),
    (["--evaluate.outcome", "mood"], "evaluate.outcome: found 'mood', expected one of"),
    (["--evaluate.name", "a/b"], "evaluate.name: 'a/b' must be a plain name"),
    (["--evaluate.masks", "none.mask.json"], "evaluate.masks: there is no file none.mask.json"),
    (["--reduce.vape.top_fraction", "2"], "reduce.vape.top_fraction: found 2.0, expected"),
    (["--reduce.selector", "best"], "reduce.selector: found 'best', expected one of"),
    (["--report.top_neurons", "0"], "report.top_neurons: found 0, expected at least 1"),
    (["--locate.tokens_per_batch", "0"], "locate.tokens_per_batch: 0 must be at least 1"),
    (["--locate.parts_per_group", "0"], "locate.parts_per_group: 0 must be at least 1, or null"),
    (["--locate.statistics", "[mood]"], "locate.statistics: found 'mood', expected names among"),
    (["--trainer.threads", "0"], "trainer.threads: 0 must be at least 1"),
    (["--trainer.offload", "cpu"], "trainer.offload: cpu needs sharded weights"),
    (["--corpus.path", "none"], "corpus.path: none is not a directory"),
    (["--model.path", "none.gguf"], "model.path: there is no file none.gguf"),
    (["--model.path", "package:nothing/x.gguf"], "the Python package 'nothing' is not installed"),
]
OF_RUN = [
    (["--corpus.values", "[thrift]"], "corpus.values: thrift is the only value, and reduce"),
    (["--evaluate.scores", "other"], "evaluate.scores: this run makes the score vape, and"),
    (["--report.evaluation", "other"], "report.evaluation: this run makes the evaluation choice"),
]
"""What only a run of all stages is refused for: locate alone does not need it."""


def ask(commands: list[list[str]]) -> tuple[dict[str, Any], list[str]]:
    """Exit codes and heavy imports of a process that runs these commands; what it said."""
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1]), done.stderr.strip().splitlines()


@pytest.mark.parametrize("command", ["run", "locate"])
def test_before_torch_is_imported(command: str, run_options: list[str], tmp_path: Path) -> None:
    mistakes = MISTAKES + (OF_RUN if command == "run" else [])
    found, lines = ask([[command, *run_options, *options] for options, _ in mistakes])
    assert found == {"codes": [2] * len(mistakes), "imported": []}
    assert len(lines) == len(mistakes)
    for line, (_, expected) in zip(lines, mistakes, strict=True):
        assert expected in line
    assert list(tmp_path.iterdir()) == []


def test_evaluate_without_its_store_or_score(run_options: list[str], tmp_path: Path) -> None:
    """What evaluate alone is refused for needs no torch either."""
    found, lines = ask([["evaluate", *run_options]])
    assert found == {"codes": [2], "imported": []}
    assert "no store at" in lines[0]
    assert main(["locate", *run_options]) == 0
    found, lines = ask(
        [["evaluate", *run_options], ["evaluate", *run_options, "--evaluate.seed=-1"]]
    )
    assert found == {"codes": [2, 2], "imported": []}
    assert "has no finished score; run `vxdist reduce`" in lines[0]
    assert "evaluate.seed" in lines[1]


@pytest.fixture
def german(corpus_folder: Path, tmp_path: Path) -> Path:
    """The small corpus, its English called German, for which there is no prompt."""
    folder = tmp_path / "german"
    shutil.copytree(corpus_folder, folder)
    for file in folder.iterdir():
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace('"language": "en"', '"language": "de"'), encoding="utf-8")
    return folder


def test_a_language_without_a_prompt(
    run_options: list[str], german: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run is refused; locate alone warns, unless nothing of evaluate was set."""
    options = [*run_options, "--corpus.path", str(german)]
    expected = "evaluate.choice.prompts: none for language 'de'"
    assert main(["run", *options]) == 2
    assert f"error: {expected}" in capsys.readouterr().err
    assert not (tmp_path / "run.zarr").exists()

    assert main(["locate", *options]) == 0
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"warning: a later stage will be refused: {expected}")
    plain = [*options[: options.index("--reduce.vape.top_fraction")], "--store"]
    assert main(["locate", *plain, str(tmp_path / "plain.zarr")]) == 0
    assert capsys.readouterr().err == ""


def test_questions_that_cannot_be_asked(
    run_options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are built with the tokenizer, and no model is loaded for it."""
    monkeypatch.setattr("vxdist.runtime.loop.load_model", None)
    for options, expected in (
        (["--evaluate.choice.cues", "{en: 'Answer:'}"], "cues: none for language 'zh'"),
        (["--evaluate.tokens_per_batch", "9"], "evaluate.tokens_per_batch: 9 is less than the"),
    ):
        assert main(["run", *run_options, *options]) == 2
        assert expected in capsys.readouterr().err
    assert not (tmp_path / "run.zarr").exists()
