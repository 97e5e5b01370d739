"""p and q of an effect matrix, in families of cells, and whether p can be believed.

own: a mask on the dilemmas of its own value. specific: the same, less its effect on other values'
dilemmas. other: a mask on the dilemmas of another value. Of texts without values there is one
family, all: a mask on them.

M: mask, V: value, G: language, K: control draw, X: cell.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from vxdist.stats.judge import TWO_SIDED, Judged, judge, judge_draws
from vxdist.stats.moderated import Prior

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

ALL = "all"
NAMES = ("p_value", "q_value", "specific_shift", "p_specific", "q_specific")
LEVEL = 0.05
"""The p whose rate among draws in the masks' place is the null rate."""
P_SOURCE = "t"
"""Where p comes from: the law of t. A small one is not to be believed in its size, for effects of
random sets have heavy tails."""


class Family(TypedDict):
    """One family: its cells, how many have q <= fdr, the smallest q (None without any), and the
    smallest p that the rank among the draws could show (None without draws)."""

    cells: int
    found: int
    smallest_q: float | None
    smallest_rank_p: float | None


@dataclass(frozen=True, kw_only=True)
class Inference:
    """Arrays (M, V, G) and attributes of an effect group."""

    arrays: dict[str, Floats]
    attrs: dict[str, Any]


def infer(
    effect: Mapping[str, NDArray[Any]],
    empty_MG: Bools,
    fdr: float,
    variance_MVG: Floats | None = None,
    *,
    has_values: bool = True,
    alternative: str = TWO_SIDED,
) -> Inference:
    """What can be said of an effect matrix whose masks and values have the same labels in order.

    `empty_MG`: masks without a neuron, which have no effect and are not judged. Without
    `has_values` the texts have none, and V is 1. `alternative` says what p is about. Arrays:
    p_value and q_value (of the family of the cell), specific_shift, p_specific and q_specific (NaN
    but on own values). Attributes: fdr, families, null_rate and null_count, prior_df and prior_sd
    by family, p_source. An infinite prior_df is None. `variance_MVG` is that of the draws' shifts
    where they were not drawn at random; NaN leaves it to the draws.
    """
    shift_MVG = np.where(empty_MG[:, None, :], np.nan, effect["mean_shift"])
    draw_MVGK = effect.get("control_shift", np.zeros((*shift_MVG.shape, 0)))
    cells = _split(shift_MVG.shape, has_values)
    judged = {
        name: judge(shift_MVG[at], draw_MVGK[at], _of(variance_MVG, at), alternative=alternative)
        for name, at in cells.items()
    }
    arrays = {name: np.full(shift_MVG.shape, np.nan) for name in NAMES}
    for family, at in cells.items():
        arrays["p_value"][at], arrays["q_value"][at] = judged[family].p_X, judged[family].q_X
    if has_values:
        specific_X = beyond_others(shift_MVG).ravel()
        specific = judge(specific_X, _flat(beyond_others(draw_MVGK)), alternative=alternative)
        own_MVG = cells["own"]
        arrays["specific_shift"][own_MVG] = specific_X
        arrays["p_specific"][own_MVG], arrays["q_specific"][own_MVG] = specific.p_X, specific.q_X
        judged = {"own": judged["own"], "specific": specific, "other": judged["other"]}
    main = next(iter(cells))
    known_X = ~np.isnan(judged[main].p_X)
    null = judge_draws(draw_MVGK[cells[main]][known_X], alternative)
    least_rank = _least_rank_p(draw_MVGK.shape[-1], alternative)
    return Inference(arrays=arrays, attrs=_describe(judged, null, fdr, least_rank))


def _split(shape: tuple[int, ...], has_values: bool) -> dict[str, Bools]:
    """The cells (M, V, G) of each family that is judged by itself; own values, or all, first."""
    if not has_values:
        return {ALL: np.full(shape, True)}
    diagonal_MV = np.arange(shape[0])[:, None] == np.arange(shape[1])
    own_MVG: Bools = np.broadcast_to(diagonal_MV[..., None], shape)
    return {"own": own_MVG, "other": ~own_MVG}


def _describe(
    judged: Mapping[str, Judged], null: Floats, fdr: float, least_rank_p: float | None
) -> dict[str, Any]:
    """Attributes; `null` are the p of draws in their masks' place, NaN where there is none."""
    null = null[~np.isnan(null)]
    return {
        "fdr": fdr,
        "families": {name: _sum_up(of, fdr, least_rank_p) for name, of in judged.items()},
        "null_rate": float((null <= LEVEL).mean()) if null.size else None,
        "null_count": int(null.size),
        "prior_df": {name: _finite(of.prior.df) for name, of in judged.items()},
        "prior_sd": {name: _sd(of.prior) for name, of in judged.items()},
        "p_source": P_SOURCE,
    }


def beyond_others(shift_MVG: Floats) -> Floats:
    """A mask's shift on its own value's dilemmas, less the mean of its shifts on other values'.

    (M, V, G, ...) to (M, G, ...). Values without dilemmas in a language (NaN) are left out; NaN
    where no other value is left.
    """
    masks = range(len(shift_MVG))
    found = []
    for m in masks:
        others_VG = np.delete(shift_MVG[m], m, axis=0)
        known_VG = ~np.isnan(others_VG)
        count_G = known_VG.sum(axis=0)
        total_G = np.where(known_VG, others_VG, 0).sum(axis=0)
        mean_G = np.divide(total_G, count_G, out=np.full(count_G.shape, np.nan), where=count_G > 0)
        found.append(shift_MVG[m, m] - mean_G)
    return np.stack(found)


def _of(variance_MVG: Floats | None, at_MVG: Bools) -> Floats | None:
    return None if variance_MVG is None else variance_MVG[at_MVG]


def _flat(draw_MGK: Floats) -> Floats:
    """(M, G, K) to (X, K); K may be 0."""
    return draw_MGK.reshape(draw_MGK.shape[0] * draw_MGK.shape[1], draw_MGK.shape[2])


def _least_rank_p(draws: int, alternative: str) -> float | None:
    """The smallest p that the rank among the draws could show; None without draws."""
    if not draws:
        return None
    return (2 if alternative == TWO_SIDED else 1) / (draws + 1)


def _sum_up(of: Judged, fdr: float, least_rank_p: float | None) -> Family:
    q_X = of.q_X[~np.isnan(of.q_X)]
    return Family(
        cells=int(q_X.size),
        found=int((q_X <= fdr).sum()),
        smallest_q=float(q_X.min()) if q_X.size else None,
        smallest_rank_p=least_rank_p,
    )


def _finite(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None


def _sd(prior: Prior) -> float | None:
    return _finite(float(np.sqrt(prior.variance)))
