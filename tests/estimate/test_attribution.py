"""What `vxdist estimate` takes an attribution to read."""

from typing import Any

import pytest

from vxdist.asking.outcomes.likelihood import Likelihood, LikelihoodSettings
from vxdist.config import AttributeConfig, Config
from vxdist.corpus import Corpus
from vxdist.estimate.attribution import _dilemmas
from vxdist.estimate.work import cut_dilemmas

LENGTHS = {"en": [10, 12, 4, 5, 20, 22, 4, 6], "zh": [30, 31, 7, 8]}
"""Both options after the dilemma, and without it: two dilemmas in one language, one in another."""


@pytest.mark.parametrize(
    ("normalise", "tokens"),
    [("per_character", [22, 42, 61]), ("unconditional", [31, 52, 76])],
)
def test_only_questions_that_the_log_odds_depend_on(normalise: Any, tokens: list[int]) -> None:
    config = Config(attribute=AttributeConfig(dilemmas="all", tokens_per_batch=64, max_padding=0.0))
    outcome = Likelihood(LikelihoodSettings(normalise=normalise))
    corpus = Corpus(path="", values=[], languages=[], activation=[], evaluation=[])
    dilemmas = _dilemmas(config, corpus, LENGTHS, outcome)
    assert [sum(of) for of in dilemmas] == tokens
    load = cut_dilemmas(config, outcome, dilemmas)
    assert [task.tokens for task in load.tasks] == tokens
    assert load.logit_places == 31  # of all tokens of the longest, and not of the last one only
