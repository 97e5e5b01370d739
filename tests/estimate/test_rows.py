"""What evaluate runs of questions that share rows is what is estimated."""

import datetime
from typing import Any

import numpy as np
import pytest

from vxdist.asking.arrange import Arrangement
from vxdist.asking.checks import make_outcomes
from vxdist.asking.prompting import Prompter, Today
from vxdist.asking.questions import ask, find_reader
from vxdist.corpus import load_corpus
from vxdist.estimate.assumptions import Assumptions
from vxdist.estimate.texts import CorpusSize, measure_texts
from vxdist.estimate.work import cut_outcomes
from vxdist.settings import parse


@pytest.mark.parametrize("outcome", ["choice", "likelihood"])
def test_rows_and_own_dilemmas(outcome: str, run_options: list[str]) -> None:
    more = ["--evaluate.outcome", outcome, "--evaluate.controls", "3"]
    config: Any = parse("run", [*run_options, *more, "--evaluate.control_dilemmas", "own"])
    corpus, reader = load_corpus(config.corpus), find_reader(config)
    lengths = measure_texts(
        config, corpus, reader.source, reader.shape, CorpusSize(), Assumptions()
    )
    (load,) = cut_outcomes(config, corpus, lengths)
    prompter = Prompter(
        reader.tokenizer, config.evaluate, Today(date=datetime.date.today(), given=False)
    )
    asked = make_outcomes(config.evaluate)[outcome]
    questions = ask(asked, corpus.evaluation, prompter, reader.source, reader.shape)
    arrangement = Arrangement(
        questions,
        shares=True,
        tokens_per_batch=config.evaluate.tokens_per_batch,
        max_padding=config.evaluate.max_padding,
    )
    every = np.ones(len(corpus.evaluation), dtype=bool)
    tokens = arrangement.count_tokens(every)
    assert tokens < sum(len(question.token_ids_T) for question in questions)
    values = corpus.values
    assert [task.tokens for task in load.tasks[: 1 + len(values)]] == [tokens] * (1 + len(values))
    draws = [task.tokens for task in load.tasks[1 + len(values) :]]
    assert len(draws) == 3 * len(values)
    assert max(draws) < tokens / 2
