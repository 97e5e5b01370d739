"""What attribute does in the predict loop: one forward and one backward pass for each question.

L: layer, N: neuron, B: text, D: dilemma.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from vxdist.asking.identity import digest_questions, refuse_others
from vxdist.asking.outcomes import Differentiable, Question, attributed_questions
from vxdist.asking.trial import Trial
from vxdist.errors import UserError
from vxdist.hooks.attribution import Attribution, attribute
from vxdist.model.blocks import HookPoints
from vxdist.plan import pack
from vxdist.runtime.work import Batch
from vxstore.attribution import AttributionRecorder

SHARE = 0.5
"""Part of the free memory that activations may fill before layers are computed again."""
OF_HIDDEN, OF_NEURONS = 8, 4
"""Numbers that a layer keeps for its backward pass, of each token: for each of its hidden size and
for each neuron that runs. They are rather more than SmolLM2 keeps (8,300, where these give 10,800);
`vxdist estimate` counts them."""


class AttributeWork:
    """Attributes the dilemmas that are not sealed yet. A task is a dilemma: all its questions, in
    batches of their own, so that what is summed never depends on the other dilemmas."""

    title = "attribute"
    task_name = "dilemma"

    def __init__(
        self,
        outcome: Differentiable,
        questions: Sequence[Question],
        open_recorder: Callable[[], AttributionRecorder],
        shape: tuple[int, ...],
        *,
        checkpointing: bool | Literal["auto"],
        tokens_per_batch: int,
        max_padding: float,
        trial: Trial | None = None,
    ) -> None:
        """`shape` is that of the measured number, (dilemma, ...). `trial` is made before the first
        batch, unless a dilemma is sealed already."""
        self._outcome, self._questions, self._trial = outcome, questions, trial
        self._open_recorder, self._checkpointing = open_recorder, checkpointing
        self._recorder: AttributionRecorder | None = None
        self._of_dilemma = _by_dilemma(questions, shape[0], attributed_questions(outcome))
        self._packing: dict[str, Any] = {
            "tokens_per_batch": tokens_per_batch,
            "max_padding": max_padding,
            "section": "attribute",
        }
        self._batches = [self._pack(of) for of in self._of_dilemma]
        self._number = np.zeros(shape)
        self._attribution: Attribution | None = None

    def _pack(self, asked: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        lengths = [len(self._questions[n].token_ids_T) for n in asked]
        return tuple(tuple(asked[i] for i in batch) for batch in pack(lengths, **self._packing))

    def _tokens(self, batch: Sequence[int]) -> int:
        return len(batch) * max(len(self._questions[n].token_ids_T) for n in batch)

    def pending(self) -> Mapping[int, int]:
        """Unsealed dilemmas, with their tokens.

        Raises UserError if the questions are not those that the attribution was begun with.
        """
        self._recorder = self._open_recorder()
        digest = digest_questions(self._questions)
        refuse_others(self._recorder.questions_digest, digest, "attribute.name", "attribution")
        sealed = self._recorder.sealed()
        if sealed.any():
            self._trial = None
        return {
            int(d): sum(self._tokens(batch) for batch in self._batches[d])
            for d in np.flatnonzero(~sealed)
        }

    def batches(self, task: int) -> Sequence[tuple[int, ...]]:
        """Questions of each batch of a dilemma."""
        return self._batches[task]

    def text(self, position: int) -> tuple[Any, Any]:
        """Token ids of a question; nothing is counted."""
        return self._questions[position].token_ids_T, None

    def attach(self, hook_points: HookPoints, device: torch.device) -> None:
        """Put the hooks on."""
        self._attribution = Attribution(hook_points, device)
        self._checkpointing = self._decide(hook_points, device)

    def settle(self, model: PreTrainedModel) -> bool:
        """The questions decide the batches, whatever the model is."""
        return False

    def begin(self, model: PreTrainedModel) -> None:
        """Make the trial, then have the graph begin at the embeddings."""
        if self._trial is not None:
            self._trial.run(model)
        assert self._attribution is not None
        self._attribution.begin(model, checkpointing=bool(self._checkpointing))

    def _decide(self, hook_points: HookPoints, device: torch.device) -> bool:
        if self._checkpointing != "auto":
            return self._checkpointing
        blocks = hook_points.blocks
        weight = next(blocks[0].output.parameters())
        running = sum(of.num_units * max(1, of.experts_per_token) for of in blocks)
        hidden = weight.numel() // blocks[0].num_neurons
        of_token = OF_HIDDEN * hidden * hook_points.num_layers + OF_NEURONS * running
        tokens = max(self._tokens(batch) for batches in self._batches for batch in batches)
        kept = tokens * of_token * weight.element_size()
        return kept > SHARE * free_memory(device)

    def step(self, model: PreTrainedModel, batch: Batch) -> None:
        """Add up the attributions of each question of the batch, and what is attributed."""
        assert self._attribution is not None
        questions = [self._questions[position] for position in batch.positions]
        number_B = attribute(lambda: self._outcome.log_odds(model, batch, questions))
        if batch.filler:
            self._attribution.take()
            return
        for question, number in zip(questions, number_B.double().cpu().numpy(), strict=True):
            self._number[question.at[: self._number.ndim]] += number

    def finish(self, task: int) -> Callable[[], None]:
        """The mean over the dilemma's numbers; what is returned writes and seals it.

        That raises UserError if a number is not finite.
        """
        assert self._attribution is not None
        total_LN: NDArray[np.float32] = self._attribution.take().numpy()
        mean_LN = (total_LN / self._number[task].size).astype(np.float32)
        return partial(self._write, task, mean_LN, {self._outcome.effect_of: self._number[task]})

    def _write(
        self,
        task: int,
        row_LN: NDArray[np.float32],
        measured: Mapping[str, NDArray[np.float64]],
    ) -> None:
        assert self._recorder is not None
        try:
            self._recorder.write(task, row_LN, measured)
        except ValueError as error:
            raise UserError(f"attribute: {error}; try model.dtype float32 or bfloat16") from error


def _by_dilemma(questions: Sequence[Question], dilemmas: int, most: int) -> list[list[int]]:
    """The first questions of each dilemma, at most so many."""
    found: list[list[int]] = [[] for _ in range(dilemmas)]
    for n, question in enumerate(questions):
        of = found[question.at[0]]
        if len(of) < most:
            of.append(n)
    return found


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # not on every system
        return 1 << 33
