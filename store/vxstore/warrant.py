"""Where an attribution may stand in for control draws, and what is said where it may not.

An attribution predicts the shifts of thousands of matched sets. Whether it predicts well is seen at
the control draws that were really run: the correlation `r` of their predicted and measured shifts,
and the slope of the measured on the predicted ones. Only where both do is `p_attributed` given.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vxstore.text import clean, listing, plural

LEAST_R, SLOPES = 0.8, (0.7, 1.3)
"""Correlation at least, and the range of the slope."""
LEAST_DRAWS = 8
"""Draws below which a correlation warrants nothing."""
RULE = (
    f"over at least {LEAST_DRAWS} control draws that were run, predicted and measured shifts have "
    f"a correlation r of {LEAST_R} or more and a slope from {SLOPES[0]} to {SLOPES[1]}"
)
WORTH = (
    "So many sets can show a p below 0.01, which a few control draws cannot. Their shifts are "
    "predicted to first order; the mask's own is always measured. q and the verdict rest on p, not "
    "on this"
)
"""What p among matched sets is worth."""


def why_not(r: float, slope: float, draws: int, *, are_asked: bool = True) -> str:
    """Why a cell has no p among predicted sets, in a few words; empty if it is warranted.

    `are_asked`: whether the draws were asked about its dilemmas.
    """
    low, high = SLOPES
    if draws and not are_asked:
        return "draws not asked"
    if draws < LEAST_DRAWS:
        return f"{plural(draws, 'draw')}, {LEAST_DRAWS} needed"
    if math.isnan(r):
        return "the draws do not differ"
    if r < LEAST_R:
        return f"r {r:.2f}, {LEAST_R} needed"
    if not low <= slope <= high:
        return f"slope {slope:.2f}, {low} to {high} needed"
    return ""


def describe(warrant: Mapping[str, Any]) -> str:
    """Which attribution predicts how many sets, and in how many cells it may, in one sentence."""
    return (
        f"attribution/{clean(warrant['attribution'])} predicts the shifts of {warrant['sets']:,} "
        f"matched sets for each mask, and is warranted in {warrant['warranted']} of "
        f"{plural(warrant['cells'], 'cell')}"
    )


def why_none(intervention: str, draws: int, attributions: Sequence[str]) -> str:
    """Why effects were measured without an attribution, in one sentence.

    `attributions` are those that the store has now.
    """
    if intervention != "zero":
        why = f"an attribution is of zero ablation, and this intervention is {clean(intervention)}"
    elif not draws:
        why = "there are no control draws that show whether a prediction is good"
    elif not attributions:
        why = "the store has no attribution of these dilemmas (`vxdist attribute` makes one)"
    else:
        why = (
            f"{listing([f'attribution/{clean(name)}' for name in attributions])} had not been made "
            "of all these dilemmas, asked alike, when the effects were measured; `vxdist evaluate` "
            "looks again, without model work"
        )
    return f"No p among matched sets: {why}."
