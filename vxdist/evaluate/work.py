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

from vxdist.asking.arrange import Arrangement, Batches
from vxdist.asking.identity import digest_questions, refuse_others
from vxdist.asking.outcomes import Outcome, Question, derive, traits_of
from vxdist.asking.sharing import can_share
from vxdist.asking.trial import Trial
from vxdist.errors import UserError
from vxdist.hooks.ablation import Ablation
from vxdist.hooks.interventions import Affine
from vxdist.model.blocks import HookPoints
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
        self._arranged = partial(
            Arrangement, questions, tokens_per_batch=tokens_per_batch, max_padding=max_padding
        )
        self.arrangement = self._arranged(shares=self._traits.shares)
        self._asked_CD = np.zeros((0, 0), dtype=bool)
        self._steps = 0
        self._masked: tuple[int, NDArray[np.bool_]] | None = None
        self._measured: dict[str, NDArray[Any]] = {}

    def settle(self, model: PreTrainedModel) -> bool:
        """Ask questions apart if the model does not allow else; returns whether that is so."""
        if not self.arrangement.shares or can_share(model, self.arrangement):
            return False
        self.arrangement = self._arranged(shares=False)
        return True

    def batches(self, condition: int) -> Batches:
        """Rows of each batch of a condition, in order; a batch comes once for each pass."""
        batches = self.arrangement.batches(self._asked_CD[condition])
        return tuple(batch for batch in batches for _ in range(self._traits.passes))

    def count_tokens(self, condition: int) -> int:
        """Tokens that run under a condition, padding included."""
        asked_D = self._asked_CD[condition]
        return self.arrangement.count_tokens(asked_D) * self._traits.passes

    def unsealed(self) -> list[int]:
        """The conditions that are left. An evaluation goes on as it was begun: all its questions
        are asked apart if some were.

        Raises UserError if the questions are not those that the evaluation was begun with.
        """
        self._recorder = self._open_recorder()
        digest = digest_questions(self.questions)
        refuse_others(self._recorder.questions_digest, digest, "evaluate.name", "evaluation")
        if self.arrangement.shares and not self._recorder.shares_prompts:
            self.arrangement = self._arranged(shares=False)
        self._asked_CD = self._recorder.asked()
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

    def step(self, model: PreTrainedModel, batch: Batch, rows: Sequence[int]) -> None:
        """Measure each question of a batch of these rows."""
        batch.rows = tuple(self.arrangement.rows[r] for r in rows)
        questions = [self.questions[q] for row in batch.rows for q in row.texts]
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

    Tasks and positions number the conditions and rows of all of them: those of evaluation n
    of k are n, n + k, n + 2 k and so on.
    """

    title = "evaluate"
    task_name = "condition"

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        self._all = list(measurements)
        self._ablation: Ablation | None = None
        self._ablated: tuple[int, str] | None = None
        self._batches: dict[int, Batches] = {}

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
        self._batches = {}
        return {
            self._number(n, condition): of.count_tokens(condition)
            for n, of in enumerate(self._all)
            for condition in of.unsealed()
        }

    def batches(self, task: int) -> Sequence[tuple[int, ...]]:
        """Rows of each batch; the same under every condition that asks the same."""
        if task not in self._batches:
            of, condition = self._find(task)
            self._batches[task] = tuple(
                tuple(self._number(of, row) for row in batch)
                for batch in self._all[of].batches(condition)
            )
        return self._batches[task]

    def text(self, position: int) -> tuple[Any, Any]:
        """Token ids of a row; nothing is counted."""
        of, row = self._find(position)
        return self._all[of].arrangement.rows[row].token_ids_W, None

    def attach(self, hook_points: HookPoints, device: torch.device) -> None:
        """Put the hooks on, with no neuron ablated yet."""
        self._ablation = Ablation(hook_points, device)

    def settle(self, model: PreTrainedModel) -> bool:
        """See which evaluations must ask their questions apart."""
        changed = [measurement.settle(model) for measurement in self._all]
        self._batches = {}
        return any(changed)

    def begin(self, model: PreTrainedModel) -> None:
        """Make the trials, with no neuron ablated yet."""
        for measurement in self._all:
            if measurement.trial is not None:
                measurement.trial.run(model)

    def step(self, model: PreTrainedModel, batch: Batch) -> None:
        """Measure each question of the batch."""
        of, condition = self._find(batch.task)
        measurement = self._all[of]
        rows = [self._find(position)[1] for position in batch.positions]
        first = measurement.questions[measurement.arrangement.rows[rows[0]].texts[0]]
        self._ablate(batch, measurement, condition, first.language)
        measurement.step(model, batch, rows)

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
