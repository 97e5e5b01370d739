"""What an attribution in the store predicts for the masks of an evaluation and for matched sets.

M: mask, V: value, G: language, K: control draw, R: matched set, L: layer, N: neuron, C: condition.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxdist.errors import UserError
from vxdist.evaluate.identity import ABSENT, Run
from vxdist.hooks.recorded import read_activity
from vxdist.stats.attributed import Fit, attributed_p, fit, predict, predict_sets
from vxdist.stats.matched_sets import draw_sets
from vxdist.stats.matching import LanguageNeurons
from vxstore.attribution import BY_VALUE
from vxstore.outcome import NEUTRAL
from vxstore.read import Store

Floats = NDArray[np.float64]
SAME = ("outcome", "asking", "evaluation_digest")
"""Attributes that an attribution and an evaluation have in common, if they are of the same
questions."""
NOT_ASKED = {"name", "values"}
"""Settings that both have, and that are not of how they ask."""
NULL_SEED = 1
"""Apart from the control draws', whose seeds begin with the evaluation's own."""


def find_attribution(
    store: Store, attrs: Any, dilemmas: Sequence[tuple[str, str, str]]
) -> str | None:
    """Name of an attribution of these dilemmas (id, value, language), asked as an evaluation with
    attributes `attrs` asks them; None if the store has none, or the evaluation does not zero."""
    attrs = {**ABSENT, **attrs}
    if attrs["intervention"] != "zero":
        return None
    asked: dict[tuple[str, str], set[str]] = {}
    for dilemma, value, language in dilemmas:
        asked.setdefault((value, language), set()).add(dilemma)
    for name in store.names("attribution"):
        of = store.attribution(name)
        alike = all(of.attrs.get(key) == attrs.get(key) for key in SAME) and _asks(of.attrs, attrs)
        if alike and all(_holds(of, cell, wanted) for cell, wanted in asked.items()):
            return name
    return None


def _asks(of: Mapping[str, Any], attrs: Mapping[str, Any]) -> bool:
    """Whether both have the same settings of the outcome, such as the words of its questions.

    Those that an earlier version did not write are not compared.
    """
    own, others = of.get("settings", {}), attrs.get("settings", {})
    return all(others[key] == own[key] for key in own.keys() & others.keys() - NOT_ASKED)


def _holds(of: xr.Dataset, cell: tuple[str, str], wanted: set[str]) -> bool:
    """Whether an attribution can give the mean over just these dilemmas of a cell."""
    there = {str(of["dilemma"].values[d]) for d in _at(of, cell)}
    return wanted <= there if "attribution" in of else wanted == there


def _at(of: xr.Dataset, cell: tuple[str, str]) -> NDArray[np.intp]:
    value, language = cell
    is_cell = (of["dilemma_value"] == value) & (of["dilemma_language"] == language)
    return np.flatnonzero(is_cell.values)


def mean_shifts(
    of: xr.Dataset, dilemmas: Sequence[str], values: Sequence[str], language: str
) -> list[Floats]:
    """By layer, the mean first-order shift of each neuron over the dilemmas of each value, (neuron,
    value); 0 where there are none."""
    wanted = set(dilemmas)
    ids = [str(name) for name in of["dilemma"].values]
    rows = [[d for d in _at(of, (value, language)) if ids[d] in wanted] for value in values]
    count_V = np.array([max(1, len(row)) for row in rows])
    found = []
    for layer in range(of.sizes["layer"]):
        block = of.isel(layer=slice(layer, layer + 1))
        if "attribution" in of:
            row_DN = block["attribution"].values[:, 0].astype(np.float64)
            total_NV = np.stack([row_DN[row].sum(axis=0) for row in rows], axis=-1)
        else:
            total = block["attribution_sum"].sel(value=list(values), language=language)
            total_NV = total.transpose(*BY_VALUE[:3]).values[0]
        found.append(total_NV / count_V)
    return found


def read_neurons(this: Run) -> list[LanguageNeurons]:
    """The neurons that control draws are matched among, in each language."""
    return [
        LanguageNeurons(
            selected_LNV=this.selected.sel(language=g).transpose("layer", "neuron", "value").values,
            activity_LN=read_activity(this.store, g),
        )
        for g in this.languages
    ]


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """First-order shifts of the control draws (M, V, G, K) and of matched sets (M, V, G, R)."""

    name: str
    draw_MVGK: Floats
    set_MVGR: Floats


def make_predictions(this: Run, evaluation: xr.Dataset, controls: int) -> Predictions | None:
    """Predictions for an evaluation with as many draws; None if the store has no attribution of its
    questions, or there are no draws to judge them by.

    `evaluation` is that of the run, or another one of the same selection and languages.
    """
    dilemmas = list_dilemmas(evaluation)
    name = find_attribution(this.store, evaluation.attrs, dilemmas)
    if name is None or not controls:
        return None
    of, ids = this.store.attribution(name), [dilemma for dilemma, _, _ in dilemmas]
    settings = {key: getattr(this.settings, key) for key in ("seed", "control_pool")}
    settings |= evaluation.attrs.get("settings", {})
    kind_C, mask_C = (np.array([str(x) for x in evaluation[n].values]) for n in ("kind", "mask"))
    values = [str(mask_C[c]) for c in np.flatnonzero(kind_C == "mask")]
    draws, sets = [], []
    for g, (language, neurons) in enumerate(zip(this.languages, read_neurons(this), strict=True)):
        shift_LNV = mean_shifts(of, ids, values, language)
        masked_CLN = evaluation["masked"].isel(language=g)
        for m, mask in enumerate(values):
            at_C = np.flatnonzero((kind_C == "control") & (mask_C == mask))
            draws.append([predict(shift_LNV, masked_CLN[c].values) for c in at_C])
            target_LN = masked_CLN[int(np.flatnonzero((kind_C == "mask") & (mask_C == mask))[0])]
            rng = np.random.default_rng([settings["seed"], NULL_SEED, m, g])
            pool = settings["control_pool"]
            sets.append(predict_sets(shift_LNV, neurons, target_LN.values, pool=pool, rng=rng))
    shape = (len(this.languages), len(values))
    draw_MVGK, set_MVGR = (
        np.array(found).reshape(*shape, -1, len(values)).transpose(1, 3, 0, 2)
        for found in (draws, sets)
    )
    return Predictions(name=name, draw_MVGK=draw_MVGK, set_MVGR=set_MVGR)


def judge_attributed(
    arrays: dict[str, NDArray[Any]], predictions: Predictions, seed: int
) -> tuple[dict[str, Floats], dict[str, Any], Floats]:
    """Arrays p_attributed, warrant_r and warrant_slope (M, V, G), the attribute `warrant`, and the
    variance (M, V, G) of the measured shifts of matched sets, NaN without a warrant."""
    shift_MVG, draw_MVGK = arrays["mean_shift"], arrays["control_shift"]
    found = {
        name: np.full(shift_MVG.shape, np.nan)
        for name in ("p_attributed", "warrant_r", "warrant_slope")
    }
    variance_MVG = np.full(shift_MVG.shape, np.nan)
    is_judged_MVG = ~np.isnan(shift_MVG) & (arrays["masked_count"] > 0)[:, None]
    for cell in zip(*np.nonzero(is_judged_MVG), strict=True):
        of: Fit = fit(draw_MVGK[cell], predictions.draw_MVGK[cell])
        found["warrant_r"][cell], found["warrant_slope"][cell] = of.r, of.beta
        if of.warranted:
            rng = np.random.default_rng([seed, NULL_SEED, *cell])
            set_R = predictions.set_MVGR[cell]
            found["p_attributed"][cell] = attributed_p(float(shift_MVG[cell]), of, set_R, rng)
            variance_MVG[cell] = of.variance(set_R)
    warrant = {
        "attribution": predictions.name,
        "sets": predictions.set_MVGR.shape[-1],
        "cells": int(np.count_nonzero(is_judged_MVG)),
        "warranted": int(np.count_nonzero(~np.isnan(found["p_attributed"]))),
    }
    return found, warrant, variance_MVG


def spread_of(arrays: dict[str, NDArray[Any]], variance_MVG: Floats) -> dict[str, Floats]:
    """control_sd and se_total of draws at quantiles: their own spread is not that of chance."""
    draws = arrays["control_shift"].shape[-1]
    sd_MVG = np.where(np.isnan(variance_MVG), arrays["control_sd"], np.sqrt(variance_MVG))
    return {"control_sd": sd_MVG, "se_total": sd_MVG * np.sqrt(1 + 1 / draws)}


def draw_at_quantiles(this: Run, attrs: Any, masked_CLNG: NDArray[np.bool_]) -> None:
    """Replace the control draws in the masks of all conditions (intact, masks, controls by mask) by
    matched sets at the quantiles (k - 1/2)/K of the predicted shift on the mask's own value.

    Raises UserError if the store has no attribution of the questions.
    """
    controls = this.controls
    asked = [(item.id, getattr(item, "value", NEUTRAL), item.language) for item in this.items]
    name = find_attribution(this.store, attrs, asked)
    if name is None:
        raise UserError(
            f"evaluate.draws: quantiles needs an attribution of these dilemmas, asked alike, and "
            f"{this.store.path} has none; run `vxdist attribute` with attribute.outcome "
            f"{this.kind} and attribute.dilemmas {this.settings.dilemmas}, or use random"
        )
    of, ids = this.store.attribution(name), [item.id for item in this.items]
    for g, (language, neurons) in enumerate(zip(this.languages, read_neurons(this), strict=True)):
        shift_LNV = mean_shifts(of, ids, this.values, language)
        for m in range(len(this.values)):
            target_LN, first = masked_CLNG[1 + m, ..., g], 1 + len(this.values) + m * controls
            rng = np.random.default_rng([this.settings.seed, NULL_SEED + 1, m, g])
            chosen = _at_quantiles(
                [of_NV[:, m] for of_NV in shift_LNV], neurons, target_LN, this, rng
            )
            for k, layers in enumerate(chosen):
                masked_CLNG[first + k, ..., g] = False
                for layer, drawn in layers.items():
                    masked_CLNG[first + k, layer, drawn, g] = True


def _at_quantiles(
    shift_LN: Sequence[Floats],
    neurons: LanguageNeurons,
    target_LN: NDArray[np.bool_],
    this: Run,
    rng: np.random.Generator,
    sets: int = 10_000,
) -> list[dict[int, NDArray[np.int32]]]:
    """The neurons of each draw, by layer."""
    pool, draws = this.settings.control_pool, this.controls
    drawn = dict(draw_sets(neurons, target_LN, pool=pool, sets=sets, rng=rng))
    total_R = np.zeros(sets)
    for layer, drawn_RM in drawn.items():
        total_R += shift_LN[layer][drawn_RM].sum(axis=-1)
    order_R = np.argsort(total_R, kind="stable")
    at_K = ((np.arange(draws) + 0.5) / draws * sets).astype(int)
    return [{layer: of[r] for layer, of in drawn.items()} for r in order_R[at_K]]


def list_dilemmas(evaluation: xr.Dataset) -> list[tuple[str, str, str]]:
    """The dilemmas of an evaluation: id, value and language."""
    names = ("dilemma", "value", "dilemma_language")
    ids, values, languages = ([str(x) for x in evaluation[name].values] for name in names)
    return list(zip(ids, values, languages, strict=True))
