"""A corpus with neutral passages, and a small run that is reduced already."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from vxdist.cli import main

PASSAGES = {
    "en": "At the market I found a purse and number {n} of the sellers had lost it that day.",
    "zh": "第{n}天,我在集市上问了卖菜的人,那天的钱包是谁丢的,没有人看见。",
}


@pytest.fixture
def neutral_corpus(
    corpus_folder: Path,
    tmp_path: Path,
    write_lines: Callable[[Path, Iterable[dict[str, str]]], None],
) -> Path:
    """The small corpus, with four neutral passages in each language."""
    folder = tmp_path / "with_neutral"
    shutil.copytree(corpus_folder, folder)
    rows = [
        {"id": f"p{n}-{g}", "pair": f"p{n}", "language": g, "text": text.format(n=n) * (1 + n % 2)}
        for n in range(4)
        for g, text in PASSAGES.items()
    ]
    write_lines(folder / "neutral.jsonl", rows)
    return folder


@pytest.fixture
def reduced(run_options: list[str], neutral_corpus: Path) -> list[str]:
    """Options of a run on it, which is located and reduced."""
    options = [*run_options, "--corpus.path", str(neutral_corpus)]
    for stage in ("locate", "reduce"):
        assert main([stage, *options]) == 0
    return options
