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
from vxdist.asking.outcomes import Outcome, Question
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


class EvaluateWork:
    """Measures the conditions that are not sealed yet. A batch holds questions of one language,
    since each language has its own mask."""

    title = "evaluate"
    task_name = "condition"

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
        self._outcome, self._questions, self._trial = outcome, questions, trial
        self._open_recorder, self._affine = open_recorder, affine
        self._recorder: ConditionRecorder | None = None
        self._languages = list(languages)
        self._batches = self._pack(tokens_per_batch, max_padding)
        self._work = sum(
            len(batch) * max(len(questions[q].token_ids_T) for q in batch)
            for batch in self._batches
        )
        self._ablation: Ablation | None = None
        self._ablated: tuple[int, str] | None = None
        self._masked_LNG: NDArray[np.bool_] | None = None
        self._measured: dict[str, NDArray[np.float64]] = {}

    def _pack(self, tokens_per_batch: int, max_padding: float) -> tuple[tuple[int, ...], ...]:
        batches: list[tuple[int, ...]] = []
        for language in self._languages:
            asked = [n for n, q in enumerate(self._questions) if q.language == language]
            lengths = [len(self._questions[n].token_ids_T) for n in asked]
            packed = pack(
                lengths,
                tokens_per_batch=tokens_per_batch,
                max_padding=max_padding,
                section="evaluate",
            )
            batches += [tuple(asked[i] for i in batch) for batch in packed]
        return tuple(batches)

    def pending(self) -> Mapping[int, int]:
        """Unsealed conditions, each of the same number of tokens.

        Raises UserError if the questions are not those that the evaluation was begun with.
        """
        self._recorder = self._open_recorder()
        digest = digest_questions(self._questions)
        refuse_others(self._recorder.questions_digest, digest, "evaluate.name", "evaluation")
        self._clear()
        sealed = self._recorder.sealed()
        if sealed[INTACT]:
            self._trial = None
        return {int(c): self._work for c in np.flatnonzero(~sealed)}

    def batches(self, task: int) -> Sequence[tuple[int, ...]]:
        """Questions of each batch; the same under every condition."""
        return self._batches

    def text(self, position: int) -> tuple[Any, Any]:
        """Token ids of a question; nothing is counted."""
        return self._questions[position].token_ids_T, None

    def attach(self, hook_points: HookPoints, device: torch.device) -> None:
        """Put the hooks on, with no neuron ablated yet."""
        self._ablation = Ablation(hook_points, device)

    def begin(self, model: PreTrainedModel) -> None:
        """Make the trial, with no neuron ablated yet."""
        if self._trial is not None:
            self._trial.run(model)

    def step(self, model: PreTrainedModel, batch: Batch) -> None:
        """Measure each question of the batch."""
        questions = [self._questions[position] for position in batch.positions]
        self._ablate(batch.task, questions[0].language)
        measured = self._outcome.measure(model, batch, questions)
        if batch.filler:
            return
        for name, number_B in measured.items():
            for question, number in zip(questions, number_B, strict=True):
                self._measured[name][question.at] = number

    def _ablate(self, condition: int, language: str) -> None:
        """Ablate what the condition ablates in this language."""
        assert self._ablation is not None
        assert self._recorder is not None
        if self._ablated == (condition, language):
            return
        if self._ablated is None or self._ablated[0] != condition:
            masked = self._recorder.array("masked")[condition]
            self._masked_LNG = np.asarray(masked, dtype=bool)
        assert self._masked_LNG is not None
        masked_LN = self._masked_LNG[..., self._languages.index(language)]
        neurons = {n: np.flatnonzero(of_layer_N) for n, of_layer_N in enumerate(masked_LN)}
        mask = self._recorder.mask(condition)
        self._ablation.ablate(neurons, self._affine(mask, language) if mask else None)
        self._ablated = (condition, language)

    def finish(self, task: int) -> Callable[[], None]:
        """Take what was measured; what is returned writes the condition and seals it.

        That raises UserError if a number is not finite.
        """
        measured = self._measured
        self._clear()
        return partial(self._write, task, measured)

    def _clear(self) -> None:
        assert self._recorder is not None
        self._measured = {
            name: np.full(self._recorder.array(name).shape[1:], np.nan)
            for name in self._outcome.arrays
        }

    def _write(self, task: int, measured: Mapping[str, NDArray[np.float64]]) -> None:
        assert self._recorder is not None
        try:
            self._recorder.write(task, measured)
        except ValueError as error:
            raise UserError(f"evaluate: {error}; try model.dtype float32") from error
