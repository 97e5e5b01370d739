"""What the masks of an evaluation did, cell by cell, as it was measured: nothing is computed here.

M: mask, V: value, G: language.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from vxstore.effect_words import conclude, is_tested
from vxstore.errors import StoreError
from vxstore.outcome import (
    NEUTRAL,
    answer_mass,
    asks_own,
    describe_outcome,
    intervention_settings,
    is_neutral,
)
from vxstore.query.lookup import (
    default_evaluation,
    get_attrs,
    pick,
    reading,
    require_effect,
    require_known,
    strings,
)
from vxstore.read import Store
from vxstore.warrant import why_none

SETTINGS = ("confidence", "fdr", "bootstrap_resamples", "seed", "controls")
TESTS = ("p_source", "null_rate", "null_count", "prior_df", "prior_sd", "families")
WARRANT = {"attribution": str, "sets": int, "cells": int, "warranted": int}
VERDICT = ("masks", "cells", "fdr", "smallest_q", "found", "untested")
EARLIER_VERDICT = ("cells", "passed", "passed_own", "placebo", "placebo_own", "beyond_controls")
FOUND = ("mask", "language", "shift", "p", "q", "q_specific", "selective")
COUNTS = ("masked_count", "dilemma_count")
NUMBERS = (
    "mean_shift", "shift_low", "shift_high", "flip_rate", "flip_low", "flip_high", "control_mean",
    "control_sd", "control_rank", "se_total", "p_value", "q_value", "specific_shift", "p_specific",
    "q_specific", "harm_shift", "harm_p", "nll_shift", "p_attributed", "warrant_r", "warrant_slope",
)  # fmt: skip
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

    Keys: store, evaluation, model, outcome, intervention, intervention_settings (a dictionary),
    effect_of (the array whose mean change is a shift), decision_boundary, split (None, or `neutral`
    if it is of neutral passages), harm_of (the evaluation that measured the harm of its masks; None
    if there is none), units (of shifts), confidence, fdr, controls (draws for each mask), p_source
    (where p comes from), null_rate (share of p of at most .05 among the null_count p of draws in
    their masks' place), prior_df and prior_sd (by family), families, warrant (of p_attributed:
    which attribution predicts how many sets, and in how many cells it may), unwarranted (why none
    predicts any, in words; None if one does, or none could), answer_mass (mean probability that the
    intact model gives to the answers, by language; None if the outcome measures none), verdict (see
    FORMAT.md), sentence (the verdict in words) and the table `cells`: mask, value (of the
    dilemmas), language, masked_count (neurons), dilemma_count, the arrays that `NUMBERS` names, and
    passes. bootstrap_resamples, seed and passes are those of earlier versions. What a store does
    not record is None, or NaN in the table.

    `value`, `mask` and `language` leave only their cells; `own` those of masks on the dilemmas of
    their own value. Raises StoreError if there is no such evaluation, mask, value or language,
    naming the known ones.

    A mask without a neuron has no effect: its numbers are NaN.
    """
    name = default_evaluation(store) if evaluation is None else evaluation
    effect = _open(store, name)
    has_values = not is_neutral(get_attrs(store, f"evaluation/{name}"))
    for dim, wanted in zip(DIMS, (mask, value, language), strict=True):
        if wanted is not None:
            require_known(store, dim, wanted, strings(effect[dim].values))
            effect = effect.sel({dim: [wanted]})
    cells = _cells(effect)
    cells = cells[(cells["mask"] == cells["value"]) | (not (own and has_values))]
    return {**_about(store, name, effect), "cells": cells.reset_index(drop=True)}


def _about(store: Store, name: str, effect: xr.Dataset) -> dict[str, Any]:
    """All of an answer but its cells."""
    attrs = get_attrs(store, f"evaluation/{name}")
    described = describe_outcome(attrs)
    verdict = _verdict(store, name, effect.attrs)
    return {
        "store": store.path,
        "evaluation": name,
        "model": store.attrs.get("model"),
        **described,
        "split": NEUTRAL if is_neutral(attrs) else None,
        "harm_of": effect.attrs.get("harm_of"),
        "control_dilemmas": "own" if asks_own(attrs) else "all",
        "intervention_settings": intervention_settings(attrs),
        "units": effect["mean_shift"].attrs.get("units"),
        **{key: effect.attrs.get(key) for key in (*SETTINGS, *TESTS)},
        "warrant": _warrant(store, name, effect.attrs),
        "unwarranted": _unwarranted(store, attrs, effect.attrs),
        "answer_mass": _answer_mass(store, name),
        "verdict": verdict,
        "sentence": conclude(verdict, str(described["outcome"])),
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
    require_effect(store, name)
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
        columns[name] = np.full(at_MVG.shape[1], np.nan)
        if name in effect:
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
    """The verdict in either shape; None if there is none. Raises StoreError if it is no verdict."""
    verdict = attrs.get("verdict")
    if verdict is None:
        return None
    keys = (
        VERDICT if is_tested(verdict if isinstance(verdict, Mapping) else {}) else EARLIER_VERDICT
    )
    if not isinstance(verdict, Mapping) or not set(keys) <= set(verdict) or not _is_list(verdict):
        raise StoreError(f"{store.path} is damaged in evaluation/{name}/effect: its verdict")
    return {key: verdict[key] for key in keys}


def _is_list(verdict: Mapping[str, Any]) -> bool:
    """Whether what was found, if that is recorded, is a list of cells."""
    found = verdict.get("found", [])
    return isinstance(found, list) and all(
        isinstance(of, Mapping) and set(FOUND) <= set(of) for of in found
    )


def _warrant(store: Store, name: str, attrs: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an attribution predicts; None without one. Raises StoreError if it is damaged."""
    warrant = attrs.get("warrant")
    if warrant is None:
        return None
    of = warrant if isinstance(warrant, Mapping) else {}
    if not all(type(of.get(key)) is kind for key, kind in WARRANT.items()):
        raise StoreError(f"{store.path} is damaged in evaluation/{name}/effect: its warrant")
    return {key: of[key] for key in WARRANT}


def _unwarranted(
    store: Store, attrs: Mapping[str, Any], of_effect: Mapping[str, Any]
) -> str | None:
    """Why effects that have a p have none among matched sets; None if they have."""
    verdict = of_effect.get("verdict")
    if of_effect.get("warrant") is not None or is_neutral(attrs):
        return None
    if not isinstance(verdict, Mapping) or not is_tested(verdict):
        return None
    intervention = str(describe_outcome(attrs)["intervention"])
    draws = int(of_effect.get("controls") or 0)
    return why_none(intervention, draws, store.names("attribution"))
