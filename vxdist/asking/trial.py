"""A trial of some questions on the intact model, before the hours: does it answer them at all?

B: text of a batch, W: vocabulary.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from vxdist.asking.logits import last_logits
from vxdist.asking.outcomes import Item, Outcome, Question
from vxdist.asking.prompting import Prompter
from vxdist.errors import UserError
from vxdist.plan import pack
from vxdist.ranks import is_first_rank
from vxdist.runtime.work import make_batch
from vxstore.outcome import ENOUGH_MASS, NEUTRAL

NUMBER = 16
"""Questions of a trial."""
PREFERRED = 3
"""Tokens that are named instead."""
END = 40
"""Characters of a prompt's end that are shown."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Questions to try, the settings, and what shows them to people."""

    questions: Sequence[Question]
    prompter: Prompter
    least_mass: float
    tokens_per_batch: int
    max_padding: float

    def run(self, model: PreTrainedModel) -> None:
        """Ask the questions; every rank asks the same ones, in step.

        Raises UserError if the mean probability of the answers is below `least_mass`; prints a
        warning if it is below half in some language, for effects are told by language.
        """
        mass_B, probability_BW = self._measure(model)
        language_B = np.array([question.language for question in self.questions])
        means = {g: float(mass_B[language_B == g].mean()) for g in dict.fromkeys(language_B)}
        language = min(means, key=lambda g: means[g])
        if means[language] >= ENOUGH_MASS:
            return
        of_language = torch.as_tensor(language_B == language)
        found = self._describe(means, language, probability_BW[of_language].mean(0))
        if mass_B.mean() < self.least_mass:
            raise UserError(
                f"evaluate.least_mass: {found}; {self._advise()}, or give a lower least_mass"
            )
        if is_first_rank():
            print(f"warning: {found}; {self._advise()}", file=sys.stderr, flush=True)

    def _measure(self, model: PreTrainedModel) -> tuple[np.ndarray, torch.Tensor]:
        """Probability of the answers (B,), and of each next token (B, W), on the CPU.

        Raises UserError if one is not finite.
        """
        lengths = [len(question.token_ids_T) for question in self.questions]
        mass_B = np.zeros(len(lengths))
        rows: dict[int, torch.Tensor] = {}
        device = next(model.parameters()).device
        packed = pack(lengths, tokens_per_batch=self.tokens_per_batch, max_padding=self.max_padding)
        for positions in packed:
            texts = [(self.questions[n].token_ids_T, None) for n in positions]
            batch = make_batch(0, positions, texts).to(device)
            probability_BW = last_logits(model, batch).softmax(-1).cpu()
            for n, probability_W in zip(positions, probability_BW, strict=True):
                answers = [token for of in self.questions[n].answers for token in of]
                mass_B[n] = float(probability_W[answers].sum())
                rows[n] = probability_W
        if not np.isfinite(mass_B).all():
            raise UserError(
                "evaluate: in a trial the intact model's probabilities are not finite (NaN or "
                "infinite); try model.dtype float32, or check the weights"
            )
        return mass_B, torch.stack([rows[n] for n in range(len(lengths))])

    def _describe(
        self, means: Mapping[str, float], language: str, probability_W: torch.Tensor
    ) -> str:
        """What the intact model does instead, in one line."""
        decode = self.prompter.show
        most = probability_W.topk(PREFERRED)
        likeliest = ", ".join(
            f"{decode(np.array([int(token)]))!r} {float(p):.0%}"
            for token, p in zip(most.indices, most.values, strict=True)
        )
        mass = ", ".join(f"{mean:.1%} in {g}" for g, mean in means.items())
        question = next(q for q in self.questions if q.language == language)
        end = decode(question.token_ids_T)[-END:]
        return (
            f"in a trial of {len(self.questions)} questions the intact model gave the answers "
            f"{mass} of its probability; in {language} its likeliest next tokens are {likeliest}, "
            f"and the prompt ends with {end!r}"
        )

    def _advise(self) -> str:
        """The settings that may have the model answer, in one line."""
        return f"set one of {', '.join(self.prompter.remedies())}; or ask otherwise in the prompts"


def make_trial(
    outcome: Outcome,
    questions: Sequence[Question],
    items: Sequence[Item],
    prompter: Prompter,
    least_mass: float,
    *,
    tokens_per_batch: int,
    max_padding: float,
) -> Trial | None:
    """The trial of some of the questions about `items`; None if the outcome has no answer mass."""
    if outcome.mass_of is None:
        return None
    values = [getattr(item, "value", NEUTRAL) for item in items]
    return Trial(
        questions=pick_questions(questions, values),
        prompter=prompter,
        least_mass=least_mass,
        tokens_per_batch=tokens_per_batch,
        max_padding=max_padding,
    )


def pick_questions(questions: Sequence[Question], values: Sequence[str]) -> list[Question]:
    """Some questions that have answers, spread over values, languages and orders.

    `values` are those of the dilemmas. The same questions are always picked.
    """
    strata: dict[tuple[str, str, tuple[int, ...]], list[Question]] = {}
    for question in questions:
        if question.answers:
            key = (question.language, values[question.at[0]], question.at[1:])
            strata.setdefault(key, []).append(question)
    by_language: dict[str, list[list[Question]]] = {}
    rng = np.random.default_rng(0)
    keys = list(strata)
    for at in rng.permutation(len(keys)):
        by_language.setdefault(keys[at][0], []).append(strata[keys[at]])
    orders = [_in_turn(of_language) for _, of_language in sorted(by_language.items())]
    return _in_turn(orders)[:NUMBER]


def _in_turn(lists: Sequence[Sequence[Question]]) -> list[Question]:
    """The first of each list, then the second of each, and so on."""
    longest = max(map(len, lists), default=0)
    return [of[n] for n in range(longest) for of in lists if n < len(of)]
