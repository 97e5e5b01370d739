"""Dilemmas per second of evaluate and of the naive recipe, in turn, for each outcome.

    python benchmarks/evaluate.py --config configs/demo.yaml --evaluate.values [justice]

`evaluate` is the whole stage with the intact model: batches of rows in which questions that begin
alike share what they can, Lightning, the model with its hooks, writing and sealing. `naive` is the
usual way to ask: each prompt by itself, in file order, a fixed number per padded batch, with
logits at every token. What both measure must agree. Prints JSON.
"""

import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from vxdist.api import run_stages
from vxdist.asking.outcomes import Question
from vxdist.evaluate import stage
from vxdist.evaluate.work import INTACT, EvaluateWork, Measurement
from vxdist.output import Output
from vxdist.runtime.work import Batch, make_batch
from vxdist.settings import parse
from vxstore.read import open_store

OUTCOMES = {"choice": "log_odds", "likelihood": "log_likelihood"}
"""What is compared, with the array that both recipes measure."""
AT_ONCE = 8
"""Prompts per batch of the naive recipe."""


class Naive:
    """The naive recipe, for the questions of one outcome. B: text, T: token, W: vocabulary."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self.questions = questions
        self.number = np.full(len(questions), np.nan)
        self.seconds = 0.0
        self._next = 0

    def run(self, model: PreTrainedModel, end: int) -> None:
        """Ask the questions up to number `end`, but for those asked before."""
        while self._next < end:
            asked = range(self._next, min(self._next + AT_ONCE, len(self.questions)))
            began = time.perf_counter()
            self.number[asked.start : asked.stop] = self._measure(model, asked)
            self.seconds += time.perf_counter() - began
            self._next = asked.stop

    def _measure(self, model: PreTrainedModel, asked: range) -> NDArray[np.float64]:
        questions = [self.questions[n] for n in asked]
        batch = make_batch(0, (), [(question.token_ids_T, None) for question in questions])
        logits_BTW = model(
            input_ids=batch.token_ids_BT,
            attention_mask=batch.attention_mask_BT,
            use_cache=False,
        ).logits
        log_p_BTW = logits_BTW.float().log_softmax(-1)
        return np.array([_read(q, log_p_BTW[b]) for b, q in enumerate(questions)])


def _read(question: Any, log_p_TW: torch.Tensor) -> float:
    """The number of a question."""
    ids_T = torch.as_tensor(question.token_ids_T, dtype=torch.int64)
    if question.answers:
        first, second = (
            log_p_TW[len(ids_T) - 1, list(tokens)].logsumexp(-1) for tokens in question.answers
        )
        return float(first - second) * (1 - 2 * question.order)
    answer_T = ids_T[question.first :]
    before_TW = log_p_TW[question.first - 1 : len(ids_T) - 1]
    return float(before_TW.gather(-1, answer_T[:, None]).double().sum())


class Compared(EvaluateWork):
    """Evaluate, with a proportional number of the naive recipe's batches after each of its own."""

    last: "Compared"
    """The one that the stage made."""

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        super().__init__(measurements)
        (self.measurement,) = measurements
        self.naive = Naive(self.measurement.questions)
        self.began = self.ended = 0.0
        self.ran = 0
        Compared.last = self

    def step(self, model: PreTrainedModel, batch: Batch) -> None:
        """One batch, then some of the naive recipe's."""
        if not self.began:
            super().step(model, dataclasses.replace(batch, filler=True))  # warm up
            self.began = time.perf_counter()
        super().step(model, batch)
        self.ran += 1
        if batch.task == INTACT:
            done = self.ran * len(self.naive.questions) // len(self.measurement.batches(INTACT))
            self.naive.run(model, done)
            self.ended = time.perf_counter()


def compare(outcome: str, arguments: Sequence[str], store: str) -> dict[str, Any]:
    """Time one outcome. The mask, which an evaluation must have, is not timed."""
    name = f"bench-{outcome}"
    settings = ["--evaluate.outcome", outcome, "--evaluate.name", name, "--evaluate.controls", "0"]
    stage.EvaluateWork = Compared  # type: ignore[misc]
    run_stages(parse("evaluate", [*arguments, *settings]), ["evaluate"], Output(shown=False))
    work = Compared.last
    seconds = work.ended - work.began - work.naive.seconds
    stored = open_store(store).evaluation(name)[OUTCOMES[outcome]].values[INTACT]
    asked = [n for n, q in enumerate(work.naive.questions) if getattr(q, "after_dilemma", True)]
    errors = [work.naive.number[n] - stored[work.naive.questions[n].at] for n in asked]
    dilemmas = len({question.at[0] for question in work.naive.questions})
    rows = work.measurement.arrangement.rows
    return {
        "questions": len(work.naive.questions),
        "dilemmas": dilemmas,
        "question_tokens": sum(len(q.token_ids_T) for q in work.naive.questions),
        "row_tokens": sum(map(len, rows)),
        "evaluate_dilemmas_per_second": round(dilemmas / seconds, 3),
        "naive_dilemmas_per_second": round(dilemmas / work.naive.seconds, 3),
        "evaluate_over_naive": round(work.naive.seconds / seconds, 3),
        "largest_difference": float(np.abs(errors).max()),
    }


def prepare(arguments: Sequence[str], store: str) -> None:
    """A small record with scores, of which only the mask is used."""
    few = ["--corpus.stories_per_group", "2", "--reduce.selector", "vape", "--reduce.shuffles", "0"]
    run_stages(
        parse("reduce", [*arguments, *few, "--store", store]),
        ["locate", "reduce"],
        Output(shown=False),
    )


def main() -> None:
    """Run and print."""
    arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "bench.zarr")
        prepare(arguments, store)
        outcomes = {
            outcome: compare(outcome, [*arguments, "--store", store], store) for outcome in OUTCOMES
        }
    result = {
        "command": " ".join(sys.argv),
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "outcomes": outcomes,
        "evaluate_over_naive": {
            name: outcome["evaluate_over_naive"] for name, outcome in outcomes.items()
        },
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
