"""Settings of the tests of a score, and the arrays and attributes that hold what they find."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vxdist.config import Config
from vxdist.errors import UserError
from vxstore.schema import ArraySpec

Adjust = Literal["length", "setting"]


@dataclass(frozen=True, kw_only=True)
class Testing:
    """How neurons are tested; the fields of the same names of `reduce` say more."""

    fdr: float = 0.1
    shuffles: int = 200
    halves: int = 10
    adjust: list[Adjust] = field(default_factory=lambda: ["length"])
    seed: int = 0

    @classmethod
    def of(cls, config: Config) -> "Testing":
        """The settings of a configuration."""
        kept = config.reduce
        return cls(
            fdr=kept.fdr,
            shuffles=kept.shuffles,
            halves=kept.halves,
            adjust=list(kept.adjust),
            seed=kept.seed,
        )

    def check(self) -> None:
        """Raise UserError, naming the setting, if one is out of range."""
        if not 0 < self.fdr < 1:
            raise UserError(f"reduce.fdr: found {self.fdr}, expected between 0 and 1")
        for key in ("shuffles", "halves", "seed"):
            if (found := getattr(self, key)) < 0:
                raise UserError(f"reduce.{key}: found {found}, expected at least 0")
        if 0 < self.shuffles < 20:
            raise UserError(
                f"reduce.shuffles: found {self.shuffles}, expected at least 20, or 0 for no null"
            )


BY_VALUE = ("layer", "neuron", "value", "language")
BY_NEURON = ("layer", "neuron", "language")


def _p(long_name: str, dims: tuple[str, ...] = BY_VALUE) -> ArraySpec:
    return ArraySpec(
        dims=dims, dtype="float32", units="1", long_name=long_name, valid_min=0.0, valid_max=1.0
    )


CLAIMS = (
    (1, "differs", "q_value"),
    (2, "stands out", "q_beyond"),
    (3, "exclusive", "q_exclusive"),
    (4, "stance", "q_stance"),
)
"""Level, name and array of each claim: it holds where the array is at most the FDR."""

TESTS: Mapping[str, ArraySpec] = {
    "t_value": ArraySpec(
        dims=BY_VALUE,
        dtype="float32",
        units="1",
        long_name="t of the value against all others, of normal scores of dilemma clusters",
    ),
    "p_value": _p("one-sided p of t_value: more active for the value"),
    "q_value": _p("level 1, differs: Benjamini-Hochberg q of p_value"),
    "auc": _p("probability that a cluster of the value ranks above one of another value"),
    "q_beyond": _p("level 2, stands out: q of the value beyond the spread of the other values"),
    "q_exclusive": _p("level 3, exclusive: q of more active for the value than for every other"),
    "q_stance": _p("level 4, stance: q of a stance difference unlike that of the other values"),
    "t_stance": ArraySpec(
        dims=BY_VALUE,
        dtype="float32",
        units="1",
        long_name="t of the value against all others, of the difference between stances",
    ),
    "stability": _p("share of half-samples of the dilemmas in which the neuron is selected"),
    "q_omnibus": _p("q of any difference between values", BY_NEURON),
    "rival": ArraySpec(
        dims=BY_NEURON,
        dtype="int32",
        units="1",
        long_name="position of the value with the second largest mean score; -1 if not tested",
        valid_min=-1,
    ),
}
"""Arrays that the tests add to a score; NaN where a neuron was not tested."""


def known(number: float) -> float | None:
    """The number, or None, which JSON can hold, for NaN."""
    return None if math.isnan(number) else float(number)


def describe_claims(fdr: float) -> dict[str, Any]:
    """Attributes of a score that say which array makes which claim."""
    claims = [{"level": level, "name": name, "array": array} for level, name, array in CLAIMS]
    return {"claims": claims, "fdr": fdr}
