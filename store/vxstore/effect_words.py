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
    f"far out: what rests on it needs more draws ({ENOUGH_DRAWS}) or another run to be believed"
)
CAUSAL = "5 causal"
"""The level of a mask that moves its own value's dilemmas more than its matched draws do."""
MOVED = {"choice": "choices"}
"""What is moved, by outcome; of others, the outcome's name is said."""


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
        smallest = show_q(verdict["smallest_q"])
        return f"None of {masks} moves {moved} more than its matched draws (smallest q {smallest})."
    count = len({of["mask"] for of in verdict["found"]})
    verb = "moves" if count == 1 else "move"
    than = "its" if count == 1 else "their"
    told = ", ".join(map(_found, verdict["found"]))
    return f"{count} of {masks} {verb} {moved} more than {than} matched draws: {told}."


def specific(verdict: Mapping[str, Any] | None) -> str:
    """Which of the masks found move their own value's dilemmas more than other values'."""
    if verdict is None or not is_tested(verdict) or not verdict["found"]:
        return ""
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


def _found(of: Mapping[str, Any]) -> str:
    return f"{_cell(of)} ({of['shift']:+.2g}, q {_small(of['q'])})"


def _cell(of: Mapping[str, Any]) -> str:
    return f"{clean(of['mask'])} {clean(of['language'])}"


def _small(q: float) -> str:
    return f"<{LEAST_P}" if q < LEAST_P else show_q(q)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
