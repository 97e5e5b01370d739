"""Outcomes: what is measured of the model on each dilemma, intact and ablated.

To add one, write a module with its class and its settings, and a line in the table.

B: text of a batch, T: token.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vxdist.corpus import EvaluationItem, NeutralItem
from vxstore.schema import ArraySpec

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from vxdist.asking.prompting import Prompter
    from vxdist.runtime.work import Batch

OUTCOMES = {
    "choice": "vxdist.asking.outcomes.choice:Choice",
    "likelihood": "vxdist.asking.outcomes.likelihood:Likelihood",
    "harm": "vxdist.asking.outcomes.harm:Harm",
    "answers": "vxdist.asking.outcomes.answers:Answers",
}
Item = EvaluationItem | NeutralItem


@dataclass(frozen=True, kw_only=True)
class Traits:
    """How an outcome differs from one forward pass about every dilemma, under every condition."""

    split: Literal["evaluation", "neutral"] = "evaluation"
    """What it asks about: the dilemmas, or the neutral passages."""
    passes: int = 1
    """Forward passes of each batch: `measure` is called once for each, in turn, with the same
    batch, and returns numbers at the last."""
    intact_passes: int = 0
    """How many of them, the first ones, run without any ablation."""
    most_controls: int | None = None
    """Control draws for each mask are no more than this; None is as many as the settings say."""
    grows: bool = False
    """Whether passes after the first read one more token of each text, and not the text again."""
    shares: bool = False
    """Whether `measure` is for rows that hold several questions too, as functions of
    `vxdist.asking.logits` are (see `Batch.rows`); else each row is one question."""
    logits: Literal["last", "all"] = "last"
    """Where in a text the next token is predicted, at most."""
    questions: int | None = None
    """Questions about each dilemma; None is one for each label of the dimensions behind it."""
    alternative: Literal["two-sided", "greater"] = "two-sided"
    """Which effects its p is about: any, or only those above the control draws."""


def traits_of(outcome: Any) -> Traits:
    """The traits of an outcome, or of its class; the default ones if it declares none."""
    found: Traits = getattr(outcome, "traits", None) or Traits()
    return found


def questions_per_dilemma(outcome: Any) -> int:
    """Number of questions that an outcome asks about each dilemma."""
    return traits_of(outcome).questions or math.prod(map(len, outcome.labels.values()))


def is_tested(outcome: Any) -> bool:
    """Whether an outcome has effects on the dilemmas of values."""
    return traits_of(outcome).split == "evaluation" and outcome.effect_of is not None


def attributed_questions(outcome: Any) -> int:
    """Number of questions about each dilemma, the first ones, that its log-odds depend on: all,
    unless the outcome says otherwise."""
    return getattr(outcome, "attributed_questions", None) or questions_per_dilemma(outcome)


def choose_items(outcome: Any, items: Sequence[Item]) -> list[Item]:
    """Those of the items that an outcome asks about."""
    return list(outcome.choose(items)) if hasattr(outcome, "choose") else list(items)


def derive(outcome: Any, measured: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """All arrays of a condition, those that an outcome computes from the others among them."""
    return {**measured, **(outcome.derive(measured) if hasattr(outcome, "derive") else {})}


class Question(Protocol):
    """One text that the model reads, and where its numbers belong."""

    @property
    def language(self) -> str:
        """Language of the dilemma; a batch holds questions of one language."""

    @property
    def token_ids_T(self) -> NDArray[np.int32]:
        """The text as the model reads it."""

    @property
    def at(self) -> tuple[int, ...]:
        """Index of its numbers in the outcome's arrays, behind the condition: (dilemma, ...)."""

    @property
    def answers(self) -> tuple[tuple[int, ...], ...]:
        """For each option, the tokens that mean it as the next token; empty if it is answered
        otherwise."""


class Outcome(Protocol):
    """Asks questions about dilemmas, and turns what the model computes into numbers.

    It may also have `traits` (see `Traits`), `check()`, which raises UserError if a setting is out
    of range, `choose(items)`, which returns those that it asks about, and `derive(arrays)`, which
    returns further arrays of a condition, computed from what `measure` gave.
    """

    settings: Any
    """An instance of the class's dataclass `Settings`; None if it has none."""

    @property
    def arrays(self) -> Mapping[str, ArraySpec]:
        """Arrays that it fills, of dimensions condition, dilemma and perhaps more: numbers, or
        texts (dtype string)."""

    @property
    def labels(self) -> Mapping[str, Sequence[str]]:
        """Labels of the dimensions behind dilemma."""

    @property
    def effect_of(self) -> str | None:
        """The array whose change is the effect, averaged over the dimensions behind dilemma; None
        if it measures no effect."""

    @property
    def decision_boundary(self) -> float | None:
        """The number at which the model's decision flips; None if the outcome is no decision."""

    @property
    def mass_of(self) -> str | None:
        """The array that holds the probability of all `answers`, of which a trial sees to it that
        there is enough; None if the questions have no such answers."""

    def prompts(self, item: Any) -> Sequence[str]:
        """The texts of a dilemma's questions, without the chat template.

        Raises UserError if the settings have none for its language.
        """

    def ask(
        self, items: Sequence[Any], prompter: "Prompter", max_length: int | None
    ) -> Sequence[Question]:
        """All questions about `items`, in their order.

        `prompter.encode` makes the prompt of a question in words; `prompter.tokenizer` is for all
        else. Raises UserError if the tokenizer or a setting does not suit, or a question is longer
        than `max_length` tokens.
        """

    def measure(
        self, model: "PreTrainedModel", batch: "Batch", questions: Sequence[Question]
    ) -> Mapping[str, NDArray[Any]]:
        """One number of each array for each of the batch's questions, (B,), from a forward pass.

        NaN where a question says nothing of an array. A filler batch must run like any other; what
        is returned of it is not used.
        """


class Differentiable(Outcome, Protocol):
    """An outcome that `attribute` can attribute to neurons: one with log-odds.

    It may also have `attributed_questions` (see the function of this name).
    """

    @property
    def effect_of(self) -> str:
        """The array of the log-odds."""

    def log_odds(
        self, model: "PreTrainedModel", batch: "Batch", questions: Sequence[Question]
    ) -> "torch.Tensor":
        """What each of the batch's questions adds to its number in `effect_of`, (B,), in float32 at
        least and with its graph, if gradients are on.

        A number has the index `at` of its questions, as far as it has dimensions: those of
        questions that differ in further ones add up.
        """
