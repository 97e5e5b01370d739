"""What the tests of a score and its null check found, by language, as the store records it.

The attributes `tests` and `null` are another program's, or another version's: what is missing or
has another type reads as not recorded.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vxstore.claims import Claim
from vxstore.query.lookup import Score
from vxstore.text import clean

Facts = Mapping[str, Any]
LARGEST = 1e300
UNKNOWN = (
    "the score was made by an earlier vxdist, or by other software; "
    "`vxdist reduce --reduce.name NAME` makes one that is tested"
)


@dataclass(frozen=True, kw_only=True)
class LevelFacts:
    """One claim in one language: what was found, and what shuffled labels find by the same rule.

    Counts are of assignments (a neuron and a value), but for `neurons`; NaN where nothing is
    recorded. `absent` says why it could not be tested; `calibrated` is None without a null.
    """

    claim: Claim
    assignments: float
    neurons: float
    absent: str
    shuffled_mean: float
    shuffled_most: float
    any_rate: float
    any_rate_se: float
    calibrated: bool | None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The tests of one language, or of all languages pooled.

    `untested` is the reason, or empty. `tests`, `null` and what is below them are as recorded.
    """

    language: str
    untested: str
    fdr: float
    adjusted: tuple[str, ...]
    levels: tuple[LevelFacts, ...]
    tests: Facts
    null: Facts

    @property
    def shuffles(self) -> int:
        """How many times the labels were shuffled; 0 if no null was computed."""
        found = number(self.null, "shuffles")
        return 0 if math.isnan(found) else int(found)

    @property
    def topic(self) -> Facts:
        """Settings in the place of values; empty if that could not be done."""
        return mapping(self.null.get("topic"))

    @property
    def vape(self) -> Facts:
        """VAPE's list under shuffles; empty of another selector."""
        return mapping(self.null.get("vape"))

    @property
    def stability(self) -> Facts:
        """Agreement of the selections of two halves of the dilemmas."""
        return mapping(self.null.get("stability"))

    @property
    def length(self) -> tuple[float, float]:
        """F and p of the lengths of stories between values; NaN if not recorded."""
        of = mapping(self.tests.get("length"))
        found = [
            number(self.null, f"length_{key}") if math.isnan(number(of, key)) else number(of, key)
            for key in ("F", "p")
        ]
        return found[0], found[1]

    def histogram(self, name: str) -> Facts:
        """`edges`, `observed` and `shuffled` of `t` or `entropy`; empty if not recorded."""
        return mapping(mapping(self.null.get("histograms")).get(name))

    def by_value(self, name: str) -> dict[str, float]:
        """A number for each value, such as `z_sd` or `clusters`; empty if not recorded."""
        return {str(v): number(self.tests.get(name), v) for v in mapping(self.tests.get(name))}


def read_evidence(score: Score) -> list[Evidence]:
    """The evidence of each language of a score. Raises StoreError if its claims are unlawful."""
    attrs, claims = score.data.attrs, score.claims
    adjusted = mapping(attrs.get("testing")).get("adjust")
    found = []
    for language in score.languages:
        tests = mapping(mapping(attrs.get("tests")).get(language))
        null = mapping(mapping(attrs.get("null")).get(language))
        untested = _why_untested(score, tests)
        levels = () if untested else (_level(claim, tests, null) for claim in claims.claims)
        found.append(
            Evidence(
                language=language,
                untested=untested,
                fdr=claims.fdr,
                adjusted=tuple(map(str, adjusted)) if isinstance(adjusted, list) else (),
                levels=tuple(levels),
                tests=tests,
                null=null,
            )
        )
    return found


@dataclass(frozen=True, kw_only=True)
class PairFacts:
    """What two languages share: neurons selected for equal values (`selected`), those that VAPE
    lists (`vape`), and assignments of level 1 in both (`shared`) or bound to one (`bound`)."""

    pair: str
    selected: Facts
    vape: Facts
    shared: float
    bound: Mapping[str, float]


def read_pairs(score: Score) -> list[PairFacts]:
    """What is recorded of each pair of languages of a score."""
    pairs = mapping(score.data.attrs.get("languages"))
    return [
        PairFacts(
            pair=clean(pair),
            selected=mapping(mapping(of).get("selected")),
            vape=mapping(mapping(of).get("vape")),
            shared=number(of, "shared"),
            bound={clean(g): number(mapping(of).get("bound"), g) for g in _bound(of)},
        )
        for pair, of in pairs.items()
    ]


def _bound(of: Any) -> Facts:
    return mapping(mapping(of).get("bound"))


def _why_untested(score: Score, tests: Facts) -> str:
    if reason := tests.get("untested"):
        return clean(reason)
    if score.claims.claims:
        return "" if tests else "nothing of its tests is recorded"
    return UNKNOWN


def _level(claim: Claim, tests: Facts, null: Facts) -> LevelFacts:
    key = str(claim.level)
    found = mapping(mapping(tests.get("found")).get(key))
    of_null = mapping(mapping(null.get("levels")).get(key))
    if not of_null and claim.level == 1:
        of_null = null
    calibrated = of_null.get("calibrated")
    return LevelFacts(
        claim=claim,
        assignments=number(found, "assignments"),
        neurons=number(found, "neurons"),
        absent=clean(mapping(tests.get("absent")).get(claim.array) or ""),
        shuffled_mean=number(of_null, "mean_selected"),
        shuffled_most=number(of_null, "most_selected"),
        any_rate=number(of_null, "any_rate"),
        any_rate_se=number(of_null, "any_rate_se"),
        calibrated=calibrated if isinstance(calibrated, bool) else None,
    )


def mapping(item: Any) -> Facts:
    """`item` if it is an object; else an empty one."""
    return item if isinstance(item, Mapping) else {}


def number(facts: Any, key: str) -> float:
    """A finite number of an object; NaN if it has none of that name."""
    found = mapping(facts).get(key)
    if isinstance(found, bool) or not isinstance(found, int | float) or abs(found) > LARGEST:
        return math.nan
    return float(found)
