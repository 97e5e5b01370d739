"""Harm: what an ablation does to text in which no value is at stake.

Every batch runs twice, intact and ablated, so that their predictions can be compared token by
token. B: text, T: token, W: vocabulary.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vxdist.asking.outcomes import Traits
from vxdist.asking.wording import refuse_longer
from vxdist.corpus import NeutralItem
from vxdist.errors import UserError
from vxstore.schema import ArraySpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from vxdist.asking.prompting import Prompter
    from vxdist.runtime.work import Batch


@dataclass(kw_only=True)
class HarmSettings:
    """Divergence from the intact model on neutral passages."""

    passages: int | None = None
    """Number of passages of each language, the first; null takes all."""


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A neutral passage as plain text, as locate reads stories."""

    passage: int
    language: str
    token_ids_T: NDArray[np.int32]
    answers: tuple[tuple[int, ...], ...] = ()

    @property
    def at(self) -> tuple[int]:
        """Index of its numbers."""
        return (self.passage,)


class Harm:
    """KL(intact || ablated) of the next token, and its negative log-likelihood, a token."""

    Settings = HarmSettings
    traits = Traits(split="neutral", passes=2, intact_passes=1, logits="all", alternative="greater")
    effect_of = "kl"
    decision_boundary = None
    mass_of = None
    labels: ClassVar[Mapping[str, Sequence[str]]] = {}
    arrays: ClassVar[Mapping[str, ArraySpec]] = {
        "kl": ArraySpec(
            dims=("condition", "dilemma"),
            dtype="float64",
            units="nats per token",
            long_name="divergence of the ablated model's next token from the intact model's",
        ),
        "nll": ArraySpec(
            dims=("condition", "dilemma"),
            dtype="float64",
            units="nats per token",
            long_name="negative log-likelihood of the passage, whose exponential is the perplexity",
        ),
    }

    def __init__(self, settings: HarmSettings | None = None) -> None:
        self.settings = settings or HarmSettings()
        self._intact_BTW: Any = None  # logits of the first pass, kept until the second

    def check(self) -> None:
        """Raise UserError if a setting is out of range."""
        found = self.settings.passages
        if found is not None and found < 1:
            raise UserError(f"evaluate.harm.passages: {found} must be 1 or more, or null")

    def choose(self, items: Sequence[NeutralItem]) -> list[NeutralItem]:
        """The first passages of each language."""
        most, seen = self.settings.passages, Counter[str]()
        chosen = []
        for item in items:
            seen[item.language] += 1
            if most is None or seen[item.language] <= most:
                chosen.append(item)
        return chosen

    def prompts(self, item: NeutralItem) -> Sequence[str]:
        """The passage."""
        return [item.text]

    def ask(
        self, items: Sequence[NeutralItem], prompter: "Prompter", max_length: int | None
    ) -> Sequence[Passage]:
        """Each passage; control tokens that it spells are text."""
        found = []
        for n, item in enumerate(items):
            encoded = prompter.tokenizer(
                item.text, add_special_tokens=True, split_special_tokens=True
            )
            ids = encoded["input_ids"]
            if len(ids) < 2:
                raise UserError(
                    f"passage {item.id}: it has {len(ids)} tokens, and nothing in it can be "
                    "predicted; lengthen or remove it"
                )
            refuse_longer(f"passage {item.id}: it", len(ids), max_length)
            ids_T = np.asarray(ids, dtype=np.int32)
            found.append(Passage(passage=n, language=item.language, token_ids_T=ids_T))
        return found

    def measure(
        self, model: "PreTrainedModel", batch: "Batch", questions: Sequence[Passage]
    ) -> Mapping[str, NDArray[np.float64]]:
        """Nothing of the first pass, which is intact; both numbers of the second."""
        from vxdist.asking.logits import all_logits, compare

        logits_BTW = all_logits(model, batch)
        if batch.filler:
            return {}
        if self._intact_BTW is None:
            self._intact_BTW = logits_BTW
            return {}
        kl_B, nll_B = compare(self._intact_BTW, logits_BTW, batch)
        self._intact_BTW = None
        return {"kl": kl_B, "nll": nll_B}
