"""The verdict on an evaluation: which masks do more than their matched draws.

M: mask, V: value, G: language.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from vxdist.stats.moderated import LEAST_DRAWS

TOO_FEW = (
    f"{{draws}} of the at least {LEAST_DRAWS} control draws of each mask that a p needs "
    "(evaluate.controls; 16 are usual)"
)
ALIKE = "the control draws of every mask shift the dilemmas alike, or there are no dilemmas"


class Found(TypedDict):
    """A mask that moves its own value's dilemmas in a language more than its draws do."""

    mask: str
    language: str
    shift: float
    p: float
    q: float
    q_specific: float | None
    selective: bool


class Verdict(TypedDict):
    """Of `masks` masks, in `cells` cells (mask and language) that could be judged, those found at
    `fdr`, the strongest first. `untested` says why there is none, else it is empty."""

    masks: int
    cells: int
    fdr: float
    smallest_q: float | None
    found: list[Found]
    untested: str


def conclude(
    effect: Mapping[str, NDArray[Any]],
    families: Mapping[str, Any],
    masks: Sequence[str],
    languages: Sequence[str],
    *,
    draws: int,
    fdr: float,
) -> Verdict:
    """The verdict on arrays (M, V, G) and families that `infer` found."""
    own = families["own"]
    found = []
    for m, mask in enumerate(masks):
        for g, language in enumerate(languages):
            names = ("mean_shift", "p_value", "q_value", "q_specific", "specific_shift")
            shift, p, q, specific, beyond = (float(effect[name][m, m, g]) for name in names)
            if q <= fdr:
                found.append(
                    Found(
                        mask=mask,
                        language=language,
                        shift=shift,
                        p=p,
                        q=q,
                        q_specific=None if np.isnan(specific) else specific,
                        selective=shift * beyond > 0 and is_selective(q, specific, fdr),
                    )
                )
    untested = ALIKE if draws >= LEAST_DRAWS else TOO_FEW.format(draws=draws)
    return Verdict(
        masks=len(masks),
        cells=own["cells"],
        fdr=fdr,
        smallest_q=own["smallest_q"],
        found=sorted(found, key=lambda of: (of["q"], -abs(of["shift"]))),
        untested="" if own["cells"] else untested,
    )


def is_selective(q: float, q_specific: float, fdr: float) -> bool:
    """Whether a mask moves its own value's dilemmas, and those otherwise than other values'; NaN,
    not judged, is not. Both p are two-sided: whether it moves them further is in the shifts."""
    return q <= fdr and q_specific <= fdr
