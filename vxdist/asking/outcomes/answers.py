"""Answers in the model's own words, to be read side by side: nothing is measured of them.

B: text, T: token, W: vocabulary.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vxdist.asking.outcomes import Traits
from vxdist.asking.wording import find_cue, find_prompt, refuse_longer
from vxdist.corpus import EvaluationItem
from vxdist.errors import UserError
from vxstore.schema import ArraySpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from vxdist.asking.prompting import Prompter
    from vxdist.runtime.work import Batch

FIELD = "{dilemma}"
PROMPTS = {"en": "{dilemma}\n\nWhat do you do?", "zh": "{dilemma}\n\n你会怎么做?"}
CUES = {"en": "Answer:", "zh": "答案:"}


@dataclass(kw_only=True)
class AnswersSettings:
    """Answers in the model's own words, the likeliest token at each step."""

    prompts: dict[str, str] = field(default_factory=lambda: dict(PROMPTS))
    """Question by language, with {dilemma}; other braces stay as they are."""
    cues: dict[str, str] = field(default_factory=lambda: dict(CUES))
    """Text that follows the question by language, for models without a chat template."""
    max_new_tokens: int = 64
    """Length at which an answer is cut, in tokens."""
    dilemmas: int = 4
    """Number of dilemmas of each value and language, the first, that are answered."""
    controls: int = 1
    """Number of control draws of each mask, the first, that answer too."""


@dataclass(frozen=True, kw_only=True)
class OpenQuestion:
    """A dilemma and what to do; any text is an answer."""

    dilemma: int
    language: str
    token_ids_T: NDArray[np.int32]
    answers: tuple[tuple[int, ...], ...] = ()

    @property
    def at(self) -> tuple[int]:
        """Index of its answer."""
        return (self.dilemma,)


class Answers:
    """Greedy answers to the first dilemmas of each value."""

    Settings = AnswersSettings
    effect_of = None
    decision_boundary = None
    mass_of = None
    labels: ClassVar[Mapping[str, Sequence[str]]] = {}
    arrays: ClassVar[Mapping[str, ArraySpec]] = {
        "answer": ArraySpec(
            dims=("condition", "dilemma"),
            dtype="string",
            units="1",
            long_name="answer of the model, in its own words",
        )
    }

    def __init__(self, settings: AnswersSettings | None = None) -> None:
        self.settings = settings or AnswersSettings()
        self._tokenizer: Any = None
        self._writing: Any = None  # a `Writing`, from the first pass of a batch to the last

    @property
    def traits(self) -> Traits:
        """One pass for each token of an answer."""
        return Traits(
            passes=self.settings.max_new_tokens, grows=True, most_controls=self.settings.controls
        )

    def check(self) -> None:
        """Raise UserError if a setting is out of range."""
        for name, least in (("max_new_tokens", 1), ("dilemmas", 1), ("controls", 0)):
            found = getattr(self.settings, name)
            if found < least:
                raise UserError(f"evaluate.answers.{name}: {found} must be {least} or more")

    def choose(self, items: Sequence[EvaluationItem]) -> list[EvaluationItem]:
        """The first dilemmas of each value and language."""
        seen: Counter[tuple[str, str]] = Counter()
        chosen = []
        for item in items:
            seen[item.value, item.language] += 1
            if seen[item.value, item.language] <= self.settings.dilemmas:
                chosen.append(item)
        return chosen

    def prompts(self, item: EvaluationItem) -> Sequence[str]:
        """The question about a dilemma."""
        prompt = find_prompt("answers", self.settings.prompts, item.language, [FIELD])
        return [prompt.replace(FIELD, item.dilemma)]

    def ask(
        self, items: Sequence[EvaluationItem], prompter: "Prompter", max_length: int | None
    ) -> Sequence[OpenQuestion]:
        """One question for each dilemma, with room for its answer."""
        self._tokenizer = prompter.tokenizer
        room = self.settings.max_new_tokens
        found = []
        for n, item in enumerate(items):
            ids_T = prompter.encode(
                self.prompts(item)[0],
                item.language,
                quoted=[item.dilemma],
                cue=""
                if prompter.uses_template
                else find_cue("answers", self.settings.cues, item.language),
            )
            what = f"dilemma {item.id}: its question with an answer (evaluate.answers)"
            refuse_longer(what, len(ids_T) + room, max_length)
            found.append(OpenQuestion(dilemma=n, language=item.language, token_ids_T=ids_T))
        return found

    def measure(
        self, model: "PreTrainedModel", batch: "Batch", questions: Sequence[OpenQuestion]
    ) -> Mapping[str, NDArray[Any]]:
        """Nothing until the last token is written; then the answers."""
        from vxdist.asking.writing import Writing

        writing = self._writing or Writing(model, batch, self._tokenizer)
        writing.step(model)
        if batch.filler:
            return {}
        self._writing = writing
        if writing.length < self.settings.max_new_tokens:
            return {}
        self._writing = None
        return {"answer": np.array(writing.texts(), dtype=object)}
