"""What the masks of an evaluation did, cell by cell, as it was measured: nothing is computed here.

M: mask, V: value, G: language.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from vxstore.errors import StoreError
from vxstore.outcome import answer_mass, describe_outcome
from vxstore.query.lookup import (
    default_evaluation,
    get_attrs,
    pick,
    reading,
    require_known,
    strings,
)
from vxstore.read import Store

SETTINGS = ("confidence", "bootstrap_resamples", "seed", "controls")
VERDICT = ("cells", "passed", "passed_own", "placebo", "placebo_own", "beyond_controls")
COUNTS = ("masked_count", "dilemma_count")
NUMBERS = ("mean_shift", "shift_low", "shift_high", "flip_rate", "control_mean", "control_rank")
DIMS = ("mask", "value", "language")


def effects(
    store: Store,
    evaluation: str | None = None,
    *,
    value: str | None = None,
    mask: str | None = None,
    language: str | None = None,
    own: bool = False,
) -> dict[str, Any]:
    """The effects of one evaluation; None is the only one, or `choice`.

    Keys: store, evaluation, model, outcome, intervention, effect_of (the array whose mean change
    is a shift), decision_boundary, units (of shifts), confidence, bootstrap_resamples, seed,
    controls (draws for each mask), answer_mass (mean probability that the intact model gives to
    the answers, by language; None if the outcome measures none), verdict (on all cells; see
    FORMAT.md) and the table `cells`: mask, value (of the dilemmas), language, masked_count
    (neurons), dilemma_count, mean_shift, shift_low, shift_high, flip_rate, control_mean,
    control_rank, passes. What a store of an earlier version does not record is None: the verdict,
    passes, the seed.

    `value`, `mask` and `language` leave only their cells; `own` those of masks on the dilemmas of
    their own value. Raises StoreError if there is no such evaluation, mask, value or language,
    naming the known ones.

    A mask without a neuron has no effect: its numbers are NaN.
    """
    name = default_evaluation(store) if evaluation is None else evaluation
    effect = _open(store, name)
    for dim, wanted in zip(DIMS, (mask, value, language), strict=True):
        if wanted is not None:
            require_known(store, dim, wanted, strings(effect[dim].values))
            effect = effect.sel({dim: [wanted]})
    cells = _cells(effect)
    cells = cells[(cells["mask"] == cells["value"]) | (not own)]
    return {
        "store": store.path,
        "evaluation": name,
        "model": store.attrs.get("model"),
        **describe_outcome(get_attrs(store, f"evaluation/{name}")),
        "units": effect["mean_shift"].attrs.get("units"),
        **{key: effect.attrs.get(key) for key in SETTINGS},
        "answer_mass": _answer_mass(store, name),
        "verdict": _verdict(store, name, effect.attrs),
        "cells": cells.reset_index(drop=True),
    }


def effect_rows(
    store: Store,
    evaluation: str | None = None,
    *,
    values: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The table `cells` of `effects`, for files: labels as categories, `passes` as boolean.

    `values` (of the dilemmas) and `languages` leave only theirs. Raises what `effects` does.
    """
    name = default_evaluation(store) if evaluation is None else evaluation
    effect = _open(store, name)
    for dim, wanted in (("value", values), ("language", languages)):
        known = strings(effect[dim].values)
        effect = effect.sel({dim: pick(store, dim, wanted, known, known)})
    rows = _cells(effect).astype({"passes": "boolean"})
    for dim in DIMS:
        rows[dim] = pd.Categorical(rows[dim], strings(effect[dim].values))
    return rows


def _open(store: Store, name: str) -> xr.Dataset:
    """The effect group, read whole."""
    with reading(store, f"evaluation/{name}/effect"):
        return store.effect(name).load()


def _cells(effect: xr.Dataset) -> pd.DataFrame:
    """One row for each (mask, value, language)."""
    masks, values, languages = (strings(effect[dim].values) for dim in DIMS)
    at_MVG = np.indices((len(masks), len(values), len(languages))).reshape(3, -1)
    columns: dict[str, Any] = {
        dim: np.array(labels, dtype=object)[at]
        for dim, labels, at in zip(DIMS, (masks, values, languages), at_MVG, strict=True)
    }
    for name in (*COUNTS, *NUMBERS):
        array = effect[name].broadcast_like(effect["mean_shift"])
        columns[name] = array.transpose(*DIMS).values.reshape(-1)
    passes = np.full(at_MVG.shape[1], None, dtype=object)
    if "passes" in effect:
        passes[:] = effect["passes"].transpose(*DIMS).values.reshape(-1).tolist()
    # A mask without a neuron leaves the model intact: what was measured of it is no effect.
    empty = columns["masked_count"] == 0
    for name in NUMBERS:
        columns[name] = np.where(empty, np.nan, columns[name])
    passes[empty & np.array([passed is not None for passed in passes])] = False
    return pd.DataFrame({**columns, "passes": passes})


def _answer_mass(store: Store, name: str) -> dict[str, float] | None:
    with reading(store, f"evaluation/{name}"):
        return answer_mass(store.evaluation(name)) or None


def _verdict(store: Store, name: str, attrs: Mapping[str, Any]) -> dict[str, Any] | None:
    verdict = attrs.get("verdict")
    if verdict is None:
        return None
    if not isinstance(verdict, Mapping) or not set(VERDICT) <= set(verdict):
        raise StoreError(f"{store.path} is damaged in evaluation/{name}/effect: its verdict")
    return {key: verdict[key] for key in VERDICT}
