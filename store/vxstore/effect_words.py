"""What is said of the effects of an evaluation: one sentence for its verdict, and how p is written.

The verdict is the attribute of the effect group; earlier versions wrote another one, or none.
"""

import math
from collections.abc import Mapping
from typing import Any

from vxstore.text import clean, listing, plural

LEAST_P, ENOUGH_DRAWS = 0.01, 200
"""A p by the law of t is not believed below the first, unless it is from as many draws."""
EXACT_SOURCES = ("attribution",)
"""Sources of p (`p_source`) that are believed whatever their size."""
AGAIN = "`vxdist evaluate` with the same settings makes them, without model work"
NO_P = (
    f"an earlier vxdist measured these effects: each has a rank among its draws, and no p; {AGAIN}"
)
HEAVY = (
    "p below 0.01 comes from the law of t, which random sets of neurons follow only roughly that "
    f"far out: what rests on it needs more draws ({ENOUGH_DRAWS}), a p among "
    "matched sets (`vxdist attribute`) or another run to be believed"
)
OWN = (
    "The control draws were asked about the dilemmas of their own mask's value only, so that there "
    "is no p of effects on other values' dilemmas, nor of effects beyond those"
)
CAUSAL = "5 causal"
"""The level of a mask that moves its own value's dilemmas more than its matched draws do."""
MOVED = {"choice": "choices", "likelihood": "likelihoods", "harm": "neutral text"}
"""What is moved, by outcome; of others, the outcome's name is said."""


NO_VALUES = "the texts have no values"
UNKNOWN = ("harm not measured", "not tested against other values")
"""Reasons for not being selective that say that it is not known."""
_NOT = {False: "Not selective", True: "Not known to be selective"}


def is_tested(verdict: Mapping[str, Any] | None) -> bool:
    """Whether a verdict is made of p and q; those of earlier versions counted ranks."""
    return verdict is not None and "found" in verdict


def conclude(verdict: Mapping[str, Any] | None, outcome: str = "choice") -> str:
    """The verdict in one sentence, or in the words of the version that made it."""
    if verdict is None:
        return f"{_capital(NO_P)}."
    if not is_tested(verdict):
        return (
            f"{verdict['passed']} of {plural(verdict['cells'], 'cell')} were outside all their "
            f"draws, with an interval that excludes zero; {NO_P}."
        )
    if verdict["untested"]:
        return f"No p was computed: {verdict['untested']}."
    masks, moved = plural(verdict["masks"], "mask"), MOVED.get(outcome, clean(outcome))
    if not verdict["found"]:
        none = _none(verdict["masks"], "moves", "move")
        smallest = show_q(verdict["smallest_q"])
        return f"{none} {moved} more than its matched draws (smallest q {smallest})."
    count = len({of["mask"] for of in verdict["found"]})
    verb = "moves" if count == 1 else "move"
    than = "its" if count == 1 else "their"
    told = ", ".join(map(_found, verdict["found"]))
    return f"{count} of {masks} {verb} {moved} more than {than} matched draws: {told}."


def conclude_doses(verdict: Mapping[str, Any]) -> str:
    """The verdict on the slopes of a dose curve in one sentence."""
    if verdict["untested"]:
        return f"No p was computed: {verdict['untested']}."
    masks, found = plural(verdict["masks"], "mask"), verdict["found"]
    if not found:
        none = _none(verdict["masks"], "follows", "follow")
        smallest = show_q(verdict["smallest_q"])
        return f"{none} the dose more than its draws (smallest q {smallest})."
    count = len({of["mask"] for of in found})
    verb, than = ("follows", "its") if count == 1 else ("follow", "their")
    slopes = ", ".join(
        f"{_cell(of)} (slope {of['shift']:+.2g}, q {_small(of['q'])})" for of in found
    )
    return f"{count} of {masks} {verb} the dose more than {than} draws: {slopes}."


def specific(verdict: Mapping[str, Any] | None) -> str:
    """Which of the masks found are selective, and why the others are not."""
    if verdict is None or not is_tested(verdict) or not verdict["found"]:
        return ""
    if not all("not_selective" in of for of in verdict["found"]):
        return _earlier_specific(verdict)
    reasons: dict[str, list[str]] = {}
    for of in verdict["found"]:
        reasons.setdefault(of["not_selective"], []).append(_cell(of))
    said = [
        f"Selective: {listing(named)}."
        if not reason
        else f"{_NOT[reason in UNKNOWN]}: {listing(named)} ({clean(reason)})."
        for reason, named in reasons.items()
        if reason != NO_VALUES
    ]
    return " ".join(said)


def _earlier_specific(verdict: Mapping[str, Any]) -> str:
    named = [_cell(of) for of in verdict["found"] if of["selective"]]
    if not named:
        return "None of them is shown to move own dilemmas more than other values'."
    return f"Selective (own dilemmas move more than other values'): {listing(named)}."


def calibration(null_rate: object, null_count: object) -> str:
    """How often draws in the masks' place have a p of at most .05; empty if not recorded."""
    if not isinstance(null_rate, int | float) or math.isnan(null_rate):
        return ""
    return (
        f"Control draws put in their mask's place have p <= 0.05 in {null_rate:.1%} of "
        f"{null_count:,} cases (5% expected)."
    )


def rests_on_tails(verdict: Mapping[str, Any] | None, draws: int, source: object) -> bool:
    """Whether a mask is found by a p that is too small to be believed in its size."""
    if verdict is None or not is_tested(verdict):
        return False
    if draws >= ENOUGH_DRAWS or source in EXACT_SOURCES:
        return False
    return any(of["p"] < LEAST_P for of in verdict["found"])


def show_p(p: float, draws: int, source: object = "t") -> str:
    """A p as far as it can be believed; a dash for NaN."""
    if math.isnan(p):
        return "-"
    if p < LEAST_P and draws < ENOUGH_DRAWS and source not in EXACT_SOURCES:
        return f"<{LEAST_P}"
    return show_q(p)


def show_q(q: float | None) -> str:
    """Two decimals, or two figures of what is smaller; a dash if there is none."""
    if q is None or math.isnan(q):
        return "-"
    return f"{q:.2f}" if q >= LEAST_P or q == 0 else f"{q:.1g}"


def _none(masks: int, verb: str, plain: str) -> str:
    return f"The mask does not {plain}" if masks == 1 else f"None of {masks:,} masks {verb}"


def _found(of: Mapping[str, Any]) -> str:
    return f"{_cell(of)} ({of['shift']:+.2g}, q {_small(of['q'])})"


def _cell(of: Mapping[str, Any]) -> str:
    return f"{clean(of['mask'])} {clean(of['language'])}"


def _small(q: float) -> str:
    return f"<{LEAST_P}" if q < LEAST_P else show_q(q)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
