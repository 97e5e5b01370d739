"""A tokenizer may have more tokens than the model, as long as no text has them."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from vxdist.cli import main


@pytest.fixture
def padded_folder(model_folder: Path, tmp_path: Path) -> Path:
    """The small model, with tokens that were added to its tokenizer alone."""
    from transformers import AutoTokenizer

    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<added {n}>" for n in range(150)])
    tokenizer.add_special_tokens({"pad_token": "<my_pad>"})
    assert len(tokenizer) > 512
    tokenizer.save_pretrained(folder)
    return folder


def test_an_added_pad_token_is_no_fault(padded_folder: Path, run_options: list[str]) -> None:
    assert main(["run", *run_options, "--model.path", str(padded_folder)]) == 0


@pytest.mark.parametrize("split", ["activation", "evaluation"])
def test_a_text_with_a_token_that_has_no_embedding(
    split: str, padded_folder: Path, corpus_folder: Path, run_options: list[str], tmp_path: Path,
    write_lines: Callable[[Path, Iterable[dict[str, Any]]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    corpus = tmp_path / "corpus"
    shutil.copytree(corpus_folder, corpus)
    file = corpus / f"{split}.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rows[3]["dilemma"] += " <added 149>"
    write_lines(file, rows)
    words = ["--model.path", str(padded_folder), "--corpus.path", str(corpus)]
    assert main(["run", *run_options, *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert rows[3]["id"] in error
    assert "'<added 149>'" in error
    assert "embeds only 512" in error
