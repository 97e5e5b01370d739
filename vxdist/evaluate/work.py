"""What evaluate does in the predict loop: score every question under every condition."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from vxdist.errors import UserError
from vxdist.evaluate.prompts import Question
from vxdist.hooks.ablation import Ablation
from vxdist.model.hook_points import HookPoints
from vxdist.plan import pack
from vxdist.runtime.work import Batch
from vxstore.evaluation import ConditionRecorder


class EvaluateWork:
    """Scores the conditions that are not sealed yet. A batch holds questions of one language,
    since each language has its own mask."""

    title = "evaluate"

    def __init__(
        self,
        questions: Sequence[Question],
        open_recorder: Callable[[], ConditionRecorder],
        letters: tuple[tuple[int, ...], tuple[int, ...]],
        languages: Sequence[str],
        *,
        tokens_per_batch: int,
        max_padding: float,
    ) -> None:
        self._questions = questions
        self._open_recorder = open_recorder
        self._recorder: ConditionRecorder | None = None
        self._letters = letters
        self._languages = list(languages)
        self._batches = self._pack(tokens_per_batch, max_padding)
        self._work = sum(
            len(batch) * max(len(questions[q].token_ids_T) for q in batch)
            for batch in self._batches
        )
        self._mask: Ablation | None = None
        self._switched: tuple[int, str] | None = None
        self._off_LNG: NDArray[np.bool_] | None = None
        shape = (len(questions) // 2, 2)
        self._log_odds_DO = np.full(shape, np.nan)
        self._option_mass_DO = np.full(shape, np.nan)

    def _pack(self, tokens_per_batch: int, max_padding: float) -> tuple[tuple[int, ...], ...]:
        batches: list[tuple[int, ...]] = []
        for language in self._languages:
            of = [n for n, q in enumerate(self._questions) if q.language == language]
            lengths = [len(self._questions[n].token_ids_T) for n in of]
            packed = pack(lengths, tokens_per_batch=tokens_per_batch, max_padding=max_padding)
            batches += [tuple(of[i] for i in batch) for batch in packed]
        return tuple(batches)

    def pending(self) -> Mapping[int, int]:
        """Unsealed conditions, each of the same number of tokens."""
        self._recorder = self._open_recorder()
        sealed = self._recorder.sealed()
        return {int(c): self._work for c in np.flatnonzero(~sealed)}

    def batches(self, task: int) -> Sequence[tuple[int, ...]]:
        """Questions of each batch; the same under every condition."""
        return self._batches

    def text(self, position: int) -> tuple[Any, Any]:
        """Token ids of a question; nothing is counted."""
        return self._questions[position].token_ids_T, None

    def attach(self, hook_points: HookPoints, device: torch.device) -> None:
        """Put the mask on, with nothing switched off yet."""
        self._mask = Ablation(hook_points, device)

    def step(self, model: PreTrainedModel, batch: Batch) -> None:
        """Log-odds of the aligned option for each question of the batch."""
        self._switch(batch.task, self._questions[batch.positions[0]].language)
        last_B = batch.attention_mask_BT.sum(1) - 1
        kept_K, where_B = torch.unique(last_B, return_inverse=True)
        logits_BKW = model(
            input_ids=batch.token_ids_BT,
            attention_mask=batch.attention_mask_BT,
            logits_to_keep=kept_K,
            use_cache=False,
        ).logits
        logits_BW = logits_BKW[torch.arange(len(where_B), device=where_B.device), where_B].float()
        if batch.filler:
            return
        log_mass_B2 = torch.stack(
            [logits_BW[:, list(tokens)].logsumexp(-1) for tokens in self._letters], dim=-1
        ) - logits_BW.logsumexp(-1, keepdim=True)
        log_odds_B = (log_mass_B2[:, 0] - log_mass_B2[:, 1]).double().cpu().numpy()
        mass_B = log_mass_B2.exp().sum(-1).double().cpu().numpy()
        for row, position in enumerate(batch.positions):
            question = self._questions[position]
            cell = question.dilemma, question.order
            # In order 1 the aligned option is B.
            self._log_odds_DO[cell] = log_odds_B[row] * (1 - 2 * question.order)
            self._option_mass_DO[cell] = mass_B[row]

    def _switch(self, condition: int, language: str) -> None:
        """Switch off what the condition wants off in this language."""
        assert self._mask is not None
        assert self._recorder is not None
        if self._switched == (condition, language):
            return
        if self._switched is None or self._switched[0] != condition:
            self._off_LNG = np.asarray(self._recorder.array("masked")[condition], dtype=bool)
        assert self._off_LNG is not None
        off_LN = self._off_LNG[..., self._languages.index(language)]
        self._mask.ablate({n: np.flatnonzero(off_N) for n, off_N in enumerate(off_LN)})
        self._switched = (condition, language)

    def finish(self, task: int) -> Callable[[], None]:
        """Take the scores; what is returned writes the condition and seals it.

        That raises UserError if a log-odds is not finite.
        """
        scores = self._log_odds_DO.copy(), self._option_mass_DO.copy()
        self._log_odds_DO[:] = np.nan
        self._option_mass_DO[:] = np.nan
        return partial(self._write, task, *scores)

    def _write(
        self, task: int, log_odds_DO: NDArray[np.float64], option_mass_DO: NDArray[np.float64]
    ) -> None:
        assert self._recorder is not None
        try:
            self._recorder.write(task, log_odds_DO, option_mass_DO)
        except ValueError as error:
            raise UserError(f"evaluate: {error}; try model.dtype float32") from error
