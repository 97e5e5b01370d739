"""A corpus with neutral passages, and small runs on it."""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vxdist.cli import main

OUTCOMES = ("choice", "likelihood", "harm", "answers")
PASSAGES = {
    "en": "At the market I found a purse and number {n} of the sellers had lost it that day.",
    "zh": "第{n}天,我在集市上问了卖菜的人,那天的钱包是谁丢的,没有人看见。",
}
SETTINGS = {
    "--locate.parts_per_group": "2",
    "--locate.tokens_per_batch": "256",
    "--reduce.selector": "vape",
    "--reduce.vape.top_fraction": "0.1",
    "--reduce.vape.filter_quantile": "0.5",
    "--reduce.vape.activation_quantile": "0.5",
    "--evaluate.controls": "4",
    "--evaluate.tokens_per_batch": "256",
    "--evaluate.least_mass": "0",
    "--evaluate.answers.max_new_tokens": "4",
    "--evaluate.answers.dilemmas": "2",
    "--trainer.threads": "1",
}
WriteLines = Callable[[Path, Iterable[dict[str, str]]], None]


@dataclass(frozen=True, kw_only=True)
class SmallRun:
    """Options of a run, without its store, and a store of it."""

    options: list[str]
    store: Path

    def copied(self, folder: Path) -> "SmallRun":
        """The same with a copy of the store, which may be changed."""
        store = folder / "run.zarr"
        shutil.copytree(self.store, store)
        return SmallRun(options=self.options, store=store)

    def evaluate(self, *more: str) -> int:
        """The exit code of `vxdist evaluate` with further options."""
        return main(["evaluate", *self.options, "--store", str(self.store), *more])


def write_passages(folder: Path, languages: Iterable[str] = PASSAGES) -> None:
    """Four neutral passages in each language."""
    import json

    rows = [
        {"id": f"p{n}-{g}", "pair": f"p{n}", "language": g,
         "text": PASSAGES[g].format(n=n) * (1 + n % 2)}
        for n in range(4)
        for g in languages
    ]  # fmt: skip
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (folder / "neutral.jsonl").write_text("".join(lines), encoding="utf-8")


@pytest.fixture(scope="session")
def neutral_corpus(corpus_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small corpus, with neutral passages."""
    folder = tmp_path_factory.mktemp("neutral") / "corpus"
    shutil.copytree(corpus_folder, folder)
    write_passages(folder)
    return folder


@pytest.fixture(scope="session")
def reduced(
    model_folder: Path, neutral_corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> SmallRun:
    """A run that is located and reduced."""
    store = tmp_path_factory.mktemp("reduced") / "run.zarr"
    named = {"--model.path": str(model_folder), "--corpus.path": str(neutral_corpus), **SETTINGS}
    options = [word for pair in named.items() for word in pair]
    for stage in ("locate", "reduce"):
        assert main([stage, *options, "--store", str(store)]) == 0
    return SmallRun(options=options, store=store)


@pytest.fixture(scope="session")
def evaluated(reduced: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """The same with the evaluations of all outcomes, from one run."""
    found = reduced.copied(tmp_path_factory.mktemp("evaluated"))
    assert found.evaluate("--evaluate.outcome", ",".join(OUTCOMES)) == 0
    return found


@pytest.fixture
def ablated_model(model_folder: Path) -> Callable[[Any, int, str], Any]:
    """A plain model without the neurons that a condition of an evaluation ablates in a language."""
    from transformers import AutoModelForCausalLM

    def make(evaluation: Any, condition: int, language: str) -> Any:
        model = AutoModelForCausalLM.from_pretrained(model_folder).eval()
        off_LN = evaluation.masked.sel(language=language).values[condition]
        for layer, off_N in zip(model.model.layers, off_LN, strict=True):
            layer.mlp.down_proj.weight.data[:, off_N] = 0
        return model.requires_grad_(False)

    return make
