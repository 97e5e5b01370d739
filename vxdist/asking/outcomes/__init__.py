"""Outcomes: what is measured of the model on each dilemma, intact and ablated.

To add one, write a module with its class and its settings, and a line in the table.

B: text of a batch, T: token.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from vxdist.corpus import EvaluationItem
from vxstore.schema import ArraySpec

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from vxdist.asking.prompting import Prompter
    from vxdist.runtime.work import Batch

OUTCOMES = {
    "choice": "vxdist.asking.outcomes.choice:Choice",
}


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
    """Asks questions about dilemmas, and turns what the model computes into numbers."""

    settings: Any
    """An instance of the class's dataclass `Settings`; None if it has none."""
    arrays: ClassVar[Mapping[str, ArraySpec]]
    """Arrays that it fills, of dimensions condition, dilemma and perhaps more."""
    labels: ClassVar[Mapping[str, Sequence[str]]]
    """Labels of the dimensions behind dilemma."""
    effect_of: ClassVar[str]
    """The array whose change is the effect, averaged over the dimensions behind dilemma."""
    decision_boundary: ClassVar[float | None]
    """The number at which the model's decision flips; None if the outcome is no decision."""

    mass_of: ClassVar[str | None]
    """The array that holds the probability of all `answers`, of which a trial sees to it that there
    is enough; None if the questions have no such answers."""

    def prompts(self, item: EvaluationItem) -> Sequence[str]:
        """The texts of a dilemma's questions, without the chat template.

        Raises UserError if the settings have none for its language.
        """

    def ask(
        self, items: Sequence[EvaluationItem], prompter: "Prompter", max_length: int | None
    ) -> Sequence[Question]:
        """All questions about `items`, in their order.

        `prompter.encode` makes the prompt of a question in words; `prompter.tokenizer` is for all
        else. Raises UserError if the tokenizer or a setting does not suit, or a question is longer
        than `max_length` tokens.
        """

    def measure(
        self, model: "PreTrainedModel", batch: "Batch", questions: Sequence[Question]
    ) -> Mapping[str, NDArray[np.float64]]:
        """One number of each array for each of the batch's questions, (B,), from a forward pass.

        A filler batch must run like any other; what is returned of it is not used.
        """


class Differentiable(Outcome, Protocol):
    """An outcome that `attribute` can attribute to neurons: one with log-odds."""

    def log_odds(
        self, model: "PreTrainedModel", batch: "Batch", questions: Sequence[Question]
    ) -> "torch.Tensor":
        """What `effect_of` holds, for each of the batch's questions, (B,), in float32 at least and
        with its graph, if gradients are on."""
