"""The verdict on an evaluation: which masks do more than their matched draws.

M: mask, V: value, G: language.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from vxdist.stats.families import ALL
from vxdist.stats.moderated import LEAST_DRAWS

Floats = NDArray[np.float64]
VALUES = "the texts have no values"
TOO_FEW = (
    f"{{draws}} of the at least {LEAST_DRAWS} control draws of each mask that a p needs "
    "(evaluate.controls; 16 are usual)"
)
ALIKE = "the control draws of every mask shift the dilemmas alike, or there are no dilemmas"


@dataclass(frozen=True, kw_only=True)
class Harm:
    """What masks do to neutral text: the shift of each, its one-sided p against its draws, and its
    rank among them; NaN where there is none."""

    masks: list[str]
    languages: list[str]
    shift_MG: Floats
    p_MG: Floats
    rank_MG: Floats


class Found(TypedDict):
    """A mask that moves its own value's dilemmas in a language (or, where texts have no values, all
    of them) more than its draws do. `not_selective` says why it is not `selective`, else it is
    empty."""

    mask: str
    language: str
    shift: float
    p: float
    q: float
    q_specific: float | None
    selective: bool
    not_selective: str


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
    harm: Harm | None = None,
) -> Verdict:
    """The verdict on arrays (M, V, G) and families that `infer` found; `harm` is that of the same
    masks and languages."""
    main = families.get("own", families.get(ALL))
    assert main is not None
    has_values = "own" in families
    found = []
    for m, mask in enumerate(masks):
        for g, language in enumerate(languages):
            at = (m, m if has_values else 0, g)
            names = ("mean_shift", "p_value", "q_value", "q_specific", "specific_shift")
            shift, p, q, specific, beyond = (float(effect[name][at]) for name in names)
            if not q <= fdr:
                continue
            reason = VALUES
            if has_values:
                of_harm, further = _harm_of(harm, m, g), shift * beyond > 0
                reason = not_selective(q, specific, fdr, of_harm, further=further)
            found.append(
                Found(
                    mask=mask,
                    language=language,
                    shift=shift,
                    p=p,
                    q=q,
                    q_specific=None if np.isnan(specific) else specific,
                    selective=not reason,
                    not_selective=reason,
                )
            )
    untested = ALIKE if draws >= LEAST_DRAWS else TOO_FEW.format(draws=draws)
    return Verdict(
        masks=len(masks),
        cells=main["cells"],
        fdr=fdr,
        smallest_q=main["smallest_q"],
        found=sorted(found, key=lambda of: (of["q"], -abs(of["shift"]))),
        untested="" if main["cells"] else untested,
    )


def _harm_of(harm: Harm | None, m: int, g: int) -> tuple[float, float] | None:
    return None if harm is None else (float(harm.p_MG[m, g]), float(harm.rank_MG[m, g]))


def not_selective(
    q: float,
    q_specific: float,
    fdr: float,
    harm: tuple[float, float] | None,
    *,
    further: bool,
) -> str:
    """Why a mask is not selective; empty if it is.

    It is if it moves its own value's dilemmas (q), those otherwise than other values' (q_specific,
    whose p is two-sided) and `further`, and does no more harm than its draws. `harm` is the
    one-sided p of that, and where there is none the rank among the draws decides, which is 1 above
    all; None if it was not measured. NaN is not judged.
    """
    p, rank = harm or (np.nan, np.nan)
    reasons = {
        "its own dilemmas do not move more than under its matched draws": not q <= fdr,
        "not tested against other values": np.isnan(q_specific),
        "its own dilemmas do not move more than other values'": not q_specific <= fdr,
        "its own dilemmas move less far than other values'": not further,
        "harm not measured": np.isnan(p) and np.isnan(rank),
        "it harms neutral text more than its matched draws do": p <= fdr
        or (np.isnan(p) and rank == 1),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")
