"""What evaluate does in the predict loop: measure every question under every condition.

L: layer, N: neuron, G: language, T: token.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from vxdist.asking.identity import digest_questions, refuse_others
from vxdist.asking.outcomes import Outcome, Question, derive, traits_of
from vxdist.asking.trial import Trial
from vxdist.errors import UserError
from vxdist.hooks.ablation import Ablation
from vxdist.hooks.interventions import Affine
from vxdist.model.hook_points import HookPoints
from vxdist.plan import pack
from vxdist.runtime.work import Batch
from vxstore.evaluation import ConditionRecorder

INTACT = 0
"""The condition of the intact model."""
AffineOf = Callable[[str, str], Affine]
"""The intervention's map for the mask of a value, on texts in a language."""


class Measurement:
    """The conditions of one evaluation. A batch holds questions of one language, since each
    language has its own mask; it comes once for each pass of the outcome."""

    def __init__(
        self,
        outcome: Outcome,
        questions: Sequence[Question],
        open_recorder: Callable[[], ConditionRecorder],
        affine: AffineOf,
        languages: Sequence[str],
        *,
        tokens_per_batch: int,
        max_padding: float,
        trial: Trial | None = None,
    ) -> None:
        """`trial` is made before the first batch, unless the intact model is measured already."""
        self.questions, self.trial = questions, trial
        self._outcome, self._traits = outcome, traits_of(outcome)
        self._open_recorder, self._affine = open_recorder, affine
        self._recorder: ConditionRecorder | None = None
        self._languages = list(languages)
        batches = self._pack(tokens_per_batch, max_padding)
        self.batches = tuple(batch for batch in batches for _ in range(self._traits.passes))
        self.tokens = sum(
            len(batch) * max(len(questions[q].token_ids_T) for q in batch) for batch in self.batches
        )
        self._steps = 0
        self._masked: tuple[int, NDArray[np.bool_]] | None = None
        self._measured: dict[str, NDArray[Any]] = {}

    def _pack(self, tokens_per_batch: int, max_padding: float) -> tuple[tuple[int, ...], ...]:
        batches: list[tuple[int, ...]] = []
        for language in self._languages:
            asked = [n for n, q in enumerate(self.questions) if q.language == language]
            lengths = [len(self.questions[n].token_ids_T) for n in asked]
            packed = pack(
                lengths,
                tokens_per_batch=tokens_per_batch,
                max_padding=max_padding,
                section="evaluate",
            )
            batches += [tuple(asked[i] for i in batch) for batch in packed]
        return tuple(batches)

    def unsealed(self) -> list[int]:
        """The conditions that are left.

        Raises UserError if the questions are not those that the evaluation was begun with.
        """
        self._recorder = self._open_recorder()
        digest = digest_questions(self.questions)
        refuse_others(self._recorder.questions_digest, digest, "evaluate.name", "evaluation")
        self._clear()
        sealed = self._recorder.sealed()
        if sealed[INTACT]:
            self.trial = None
        return [int(c) for c in np.flatnonzero(~sealed)]

    def ablates(self, batch: Batch) -> bool:
        """Whether this pass of a batch is one under the condition's ablation."""
        return batch.filler or self._steps % self._traits.passes >= self._traits.intact_passes

    def mask(self, condition: int, language: str) -> tuple[dict[int, Any], Affine | None]:
        """The neurons that a condition ablates in a language, by layer, and their map."""
        assert self._recorder is not None
        if self._masked is None or self._masked[0] != condition:
            masked = self._recorder.array("masked")[condition]
            self._masked = condition, np.asarray(masked, dtype=bool)
        masked_LN = self._masked[1][..., self._languages.index(language)]
        neurons = {n: np.flatnonzero(of_layer_N) for n, of_layer_N in enumerate(masked_LN)}
        mask = self._recorder.mask(condition)
        return neurons, self._affine(mask, language) if mask else None

    def step(self, model: PreTrainedModel, batch: Batch, questions: Sequence[Question]) -> None:
        """Measure each question of the batch."""
        measured = self._outcome.measure(model, batch, questions)
        if batch.filler:
            return
        self._steps += 1
        for name, number_B in measured.items():
            for question, number in zip(questions, number_B, strict=True):
                if not _is_nothing(number):
                    self._measured[name][question.at] = number

    def finish(self, condition: int) -> Callable[[], None]:
        """Take what was measured; what is returned writes the condition and seals it.

        That raises UserError if a number is not finite.
        """
        measured, self._steps = self._measured, 0
        self._clear()
        return partial(self._write, condition, measured)

    def _clear(self) -> None:
        assert self._recorder is not None
        self._measured = {}
        for name, spec in self._outcome.arrays.items():
            shape = self._recorder.array(name).shape[1:]
            is_text = spec.dtype == "string"
            self._measured[name] = np.full(shape, None) if is_text else np.full(shape, np.nan)

    def _write(self, condition: int, measured: Mapping[str, NDArray[Any]]) -> None:
        assert self._recorder is not None
        try:
            self._recorder.write(condition, derive(self._outcome, measured))
        except ValueError as error:
            raise UserError(f"evaluate: {error}; try model.dtype float32") from error


def _is_nothing(number: Any) -> bool:
    """Whether it is NaN: a question that says nothing of an array."""
    return isinstance(number, float) and np.isnan(number)


class EvaluateWork:
    """Measures what is left of some evaluations, a condition at a time, with one model.

    Tasks and positions number the conditions and questions of all of them: those of evaluation n
    of k are n, n + k, n + 2 k and so on.
    """

    title = "evaluate"
    task_name = "condition"

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        self._all = list(measurements)
        self._ablation: Ablation | None = None
        self._ablated: tuple[int, str] | None = None
        batches = [of.batches for of in self._all]
        self._batches = [
            tuple(tuple(self._number(n, q) for q in batch) for batch in of)
            for n, of in enumerate(batches)
        ]

    def _number(self, of: int, item: int) -> int:
        return item * len(self._all) + of

    def _find(self, number: int) -> tuple[int, int]:
        """Which evaluation a task or position belongs to, and its number there."""
        item, of = divmod(number, len(self._all))
        return of, item

    def pending(self) -> Mapping[int, int]:
        """Unsealed conditions, with their numbers of tokens.

        Raises UserError if the questions are not those that an evaluation was begun with.
        """
        return {
            self._number(n, condition): of.tokens
            for n, of in enumerate(self._all)
            for condition in of.unsealed()
        }

    def batches(self, task: int) -> Sequence[tuple[int, ...]]:
        """Questions of each batch; the same under every condition of an evaluation."""
        return self._batches[self._find(task)[0]]

    def text(self, position: int) -> tuple[Any, Any]:
        """Token ids of a question; nothing is counted."""
        of, question = self._find(position)
        return self._all[of].questions[question].token_ids_T, None

    def attach(self, hook_points: HookPoints, device: torch.device) -> None:
        """Put the hooks on, with no neuron ablated yet."""
        self._ablation = Ablation(hook_points, device)

    def begin(self, model: PreTrainedModel) -> None:
        """Make the trials, with no neuron ablated yet."""
        for measurement in self._all:
            if measurement.trial is not None:
                measurement.trial.run(model)

    def step(self, model: PreTrainedModel, batch: Batch) -> None:
        """Measure each question of the batch."""
        of, condition = self._find(batch.task)
        measurement = self._all[of]
        questions = [measurement.questions[self._find(p)[1]] for p in batch.positions]
        self._ablate(batch, measurement, condition, questions[0].language)
        measurement.step(model, batch, questions)

    def _ablate(
        self, batch: Batch, measurement: Measurement, condition: int, language: str
    ) -> None:
        """Ablate what the condition ablates in this language, or nothing in an intact pass."""
        assert self._ablation is not None
        if not measurement.ablates(batch):
            self._ablation.ablate({})
            self._ablated = None
        elif self._ablated != (batch.task, language):
            self._ablation.ablate(*measurement.mask(condition, language))
            self._ablated = (batch.task, language)

    def finish(self, task: int) -> Callable[[], None]:
        """Take what was measured; what is returned writes the condition and seals it."""
        of, condition = self._find(task)
        return self._all[of].finish(condition)
