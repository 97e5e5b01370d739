"""Measuring effects again, from what the conditions of an evaluation scored, and comparing.

Intervals, p and what follows from them are statistics, which need more than this package has; q are
computed again from p.

C: condition, D: dilemma, M: mask, V: value, G: language, K: control draw.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxstore.dose import find_dose
from vxstore.outcome import NEUTRAL, averaged, describe_outcome, is_neutral

Floats = NDArray[np.float64]
CELL = ("mask", "value", "language")
TOLERANCE = 1e-9
OTHERWISE = "not what the conditions show"


def broken_effects(
    evaluation: xr.Dataset, effect: xr.Dataset, harm: xr.Dataset | None
) -> Iterator[tuple[str, str]]:
    """Arrays of an evaluation's effects that do not follow from it, and how; `harm` holds the
    effects on neutral passages that are named in them, if they are in the store. Those of versions
    that gave no p are not measured again."""
    if "families" not in effect.attrs:
        return  # of a version that measured otherwise
    expected = _measure(evaluation, effect)
    if evaluation.attrs.get("draws") == "quantiles":  # whose spread is not that of the draws
        for name in ("control_sd", "se_total"):
            expected.pop(name, None)
    if harm is not None:
        expected |= _harm(effect, harm)
    yield from _compare(effect, expected, OTHERWISE)
    yield from _compare(effect, _rank(effect), "not the rank of the mean shift")
    yield from _compare(effect, _q(effect), "not the q of its p")
    yield from _broken_verdict(effect, is_neutral(evaluation.attrs))


def broken_doses(dose: xr.Dataset, members: Mapping[str, xr.Dataset]) -> Iterator[tuple[str, str]]:
    """The same of a dose curve; `members` are those of its evaluations that are as they were."""
    names = [str(name) for name in dose["evaluation"].values]
    empty = dose["mean_shift"].isnull().all("evaluation")
    for name, evaluation in members.items():
        at = dose.isel(evaluation=names.index(name))
        if float(at["dose"]) != find_dose(evaluation.attrs):
            yield "dose", f"not that of {name}"
        shift = xr.DataArray(_measure(evaluation, at)["mean_shift"], dims=CELL).where(~empty.values)
        yield from _compare(at, {"mean_shift": shift.values}, f"not what {name} shows")
    away_X = 1 - dose["dose"].values
    for whole, of in (("slope", "mean_shift"), ("control_slope_mean", "control_mean")):
        shift_XMVG = dose[of].transpose("evaluation", *CELL).values
        slope = np.tensordot(away_X, shift_XMVG, axes=1) / (away_X @ away_X)
        yield from _compare(dose, {whole: slope}, f"not the slope of {of}")
    yield from _compare(dose, _q(dose), "not the q of its p")


def _compare(
    found: xr.Dataset, expected: Mapping[str, NDArray[Any]], what: str
) -> Iterator[tuple[str, str]]:
    """Arrays that are there, and not as expected."""
    for name, array in expected.items():
        if name not in found:
            continue
        dims = (*CELL, "draw") if "draw" in found[name].dims else CELL
        there = found[name].transpose(*(dim for dim in dims if dim in found[name].dims)).values
        slack = TOLERANCE * float(np.abs(array[np.isfinite(array)]).max(initial=0.0))
        if there.shape != array.shape or not np.allclose(
            there, array, rtol=TOLERANCE, atol=max(slack, 1e-12), equal_nan=True
        ):
            yield name, what


def _labels(dataset: xr.Dataset, name: str) -> NDArray[np.str_]:
    return np.array([str(label) for label in dataset[name].values], dtype=np.str_)


def _measure(evaluation: xr.Dataset, effect: xr.Dataset) -> dict[str, NDArray[Any]]:
    """Shifts, flips and ranks of the cells of an effect group, and the neurons of its masks."""
    kind_C, mask_C, value_D, language_D = (
        _labels(evaluation, name) for name in ("kind", "mask", "value", "dilemma_language")
    )
    masks, values, languages = (_labels(effect, dim) for dim in CELL)
    number_CD = averaged(evaluation)
    nll_CD = averaged(evaluation.assign_attrs(effect_of="nll")) if "nll" in evaluation else None
    intact = int(np.flatnonzero(kind_C == "intact")[0])
    boundary = describe_outcome(evaluation.attrs)["decision_boundary"]
    found: dict[str, list[Any]] = {}
    for mask in masks:
        on = np.flatnonzero((kind_C == "mask") & (mask_C == mask))
        at_C = np.concatenate([on, np.flatnonzero((kind_C == "control") & (mask_C == mask))])
        for value in values:
            for language in languages:
                at_D = np.flatnonzero((value_D == value) & (language_D == language))
                before_D, after_CD = number_CD[intact, at_D], number_CD[np.ix_(at_C, at_D)]
                cell = _cell(before_D, after_CD, boundary)
                if nll_CD is not None:
                    cell["nll_shift"] = _mean(nll_CD[on[0], at_D] - nll_CD[intact, at_D])
                for name, number in cell.items():
                    found.setdefault(name, []).append(number)
    shape = (len(masks), len(values), len(languages))
    arrays = {name: np.array(cells).reshape(*shape, -1) for name, cells in found.items()}
    arrays = {n: a if n == "control_shift" else a[..., 0] for n, a in arrays.items()}
    arrays["masked_count"] = _count_masked(evaluation, kind_C, mask_C, masks)
    return arrays


def _cell(before_D: Floats, after_CD: Floats, boundary: float | None) -> dict[str, Any]:
    """One cell; the first condition is the mask, the others are its control draws."""
    shift_CD = np.ascontiguousarray(after_CD - before_D)
    shift_C = np.array([_mean(shift_D) for shift_D in shift_CD])
    draw_K = shift_C[1:]
    flips = (before_D > (boundary or 0)) != (after_CD[0] > (boundary or 0))
    sd = np.nan if draw_K.size < 2 else 0.0 if (draw_K == draw_K[0]).all() else draw_K.std(ddof=1)
    return {
        "mean_shift": shift_C[0],
        "control_shift": draw_K,
        "control_mean": _mean(draw_K),
        "control_sd": sd,
        "se_total": sd * np.sqrt(1 + 1 / draw_K.size) if draw_K.size else np.nan,
        "flip_rate": np.nan if boundary is None else _mean(flips),
        "dilemma_count": before_D.size,
    }


def _mean(numbers: NDArray[Any]) -> float:
    return float(numbers.mean()) if numbers.size else float("nan")


def _count_masked(
    evaluation: xr.Dataset, kind_C: NDArray[np.str_], mask_C: NDArray[np.str_], masks: Any
) -> NDArray[np.int64]:
    """Neurons of each mask, (mask, language); one mask at a time is in memory."""
    at = [int(np.flatnonzero((kind_C == "mask") & (mask_C == mask))[0]) for mask in masks]
    masked = evaluation["masked"].transpose("condition", "language", "layer", "neuron")
    counts = [masked[c].values.reshape(masked.sizes["language"], -1).sum(axis=1) for c in at]
    return np.array(counts, dtype=np.int64).reshape(len(at), masked.sizes["language"])


def _rank(effect: xr.Dataset) -> dict[str, NDArray[Any]]:
    """Share of draws whose shift is below, ties half, from the shifts that are written."""
    if "control_shift" not in effect:
        return {}
    shift_MVG1 = effect["mean_shift"].transpose(*CELL).values[..., None]
    draw_MVGK = effect["control_shift"].transpose(*CELL, "draw").values
    rank_MVG = ((draw_MVGK < shift_MVG1) + (draw_MVGK == shift_MVG1) / 2).mean(axis=-1)
    unknown_MVG = np.isnan(shift_MVG1[..., 0]) | np.isnan(draw_MVGK).any(axis=-1)
    return {"control_rank": np.where(unknown_MVG, np.nan, rank_MVG)}


def _harm(effect: xr.Dataset, harm: xr.Dataset) -> dict[str, NDArray[Any]]:
    """Harm of each mask, (mask, language), from the effects on neutral passages."""
    first = harm.isel(value=0).transpose("mask", "language", ...)
    labels = {dim: _labels(effect, dim) for dim in ("mask", "language")}
    return {
        name: first[of].reindex(labels).values
        for name, of in (("harm_shift", "mean_shift"), ("harm_p", "p_value"))
    }


def _q(effect: xr.Dataset) -> dict[str, NDArray[Any]]:
    """q of each p, in its family: masks on their own value's dilemmas, on others', or all."""
    found = {}
    values = _labels(effect, "value").tolist()
    own_MV = _labels(effect, "mask")[:, None] == _labels(effect, "value")
    for p, q in (("p_value", "q_value"), ("p_specific", "q_specific")):
        if p not in effect or q not in effect:
            continue
        p_MVG = effect[p].transpose(*CELL).values
        own_MVG = np.broadcast_to(own_MV[..., None], p_MVG.shape)
        q_MVG = np.full(p_MVG.shape, np.nan)
        for at in [own_MVG, ~own_MVG] if values != [NEUTRAL] else [np.full(p_MVG.shape, True)]:
            q_MVG[at] = _benjamini_hochberg(p_MVG[at])
        found[q] = q_MVG
    return found


def _benjamini_hochberg(p_X: Floats) -> Floats:
    """q of each p (Benjamini and Hochberg 1995); NaN is no test."""
    order_K = np.argsort(p_X, kind="stable")[: np.count_nonzero(~np.isnan(p_X))]
    q_K = p_X[order_K] * order_K.size / np.arange(1, order_K.size + 1)
    q_X = np.full(p_X.shape, np.nan)
    q_X[order_K] = np.minimum(np.minimum.accumulate(q_K[::-1])[::-1], 1)
    return q_X


def _broken_verdict(effect: xr.Dataset, neutral: bool) -> Iterator[tuple[str, str]]:
    """Numbers of the verdict, which is an attribute, that are not those of the arrays."""
    for found in effect.attrs.get("verdict", {}).get("found", []):
        value = NEUTRAL if neutral else found["mask"]
        cell = effect.sel(mask=found["mask"], value=value, language=found["language"])
        for key, name in (("shift", "mean_shift"), ("p", "p_value"), ("q", "q_value")):
            if not np.isclose(float(cell[name]), found[key], rtol=TOLERANCE):
                yield name, f"not that of the verdict on {found['mask']} ({found['language']})"
