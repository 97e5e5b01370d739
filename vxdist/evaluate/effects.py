"""The effects of an evaluation, measured from what its conditions scored; no model is needed."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxdist.config import EvaluateConfig
from vxdist.evaluate.attributed import Predictions, judge_attributed, spread_of
from vxdist.evaluate.harm import align, find_harm
from vxdist.stats.effects import Measured, effect_matrix
from vxdist.stats.families import infer
from vxdist.stats.judge import TWO_SIDED
from vxdist.stats.verdict import Harm, conclude
from vxstore.effect_arrays import ATTRIBUTED_EFFECT, EFFECT, HARM
from vxstore.errors import StoreError
from vxstore.groups import write_group
from vxstore.outcome import averaged, describe_outcome, is_neutral
from vxstore.read import Store, open_store

SETTINGS = ("confidence", "fdr", "controls")
"""Settings that the effects depend on, beside those of the evaluation; attributes of the group."""
SHIFTS = (
    "mean_shift", "shift_low", "shift_high", "control_mean", "control_sd", "se_total",
    "specific_shift", "control_shift",
)  # fmt: skip
"""Arrays in the units of what the outcome measures."""


def is_measured(
    store: Store, name: str, settings: EvaluateConfig, attribution: str | None = None
) -> bool:
    """Whether the effects are in the store, complete, and measured with these settings and this
    attribution, and what is concluded from them knows of the harm that the store holds.

    Those of a version that gave no p are not complete.
    """
    try:
        attrs = store.effect(name).attrs
    except StoreError:
        return False
    if attrs.get("warrant", {}).get("attribution") != attribution:
        return False
    found = _find_harm(store, store.evaluation(name).attrs)
    return (
        "families" in attrs
        and all(attrs.get(s) == getattr(settings, s) for s in SETTINGS)
        and attrs.get("harm_of") == (None if found is None else found[0])
    )


def measured_with(store: Store, name: str) -> EvaluateConfig:
    """The settings that the effects in the store were measured with."""
    attrs, default = store.effect(name).attrs, EvaluateConfig()
    return EvaluateConfig(**{s: attrs.get(s, getattr(default, s)) for s in SETTINGS})


def write_effects(
    path: str, name: str, settings: EvaluateConfig, predictions: Predictions | None = None
) -> None:
    """Measure the effects of the evaluation `name`, and write them to evaluation/NAME/effect."""
    store = open_store(path)
    evaluation = store.unfinished_evaluation(name)
    found = _find_harm(store, evaluation.attrs)
    arrays, attrs = measure(
        evaluation,
        confidence=settings.confidence,
        fdr=settings.fdr,
        harm=None if found is None else found[1],
        predictions=predictions,
    )
    masks, languages = find_labels(evaluation)
    coordinates: dict[str, list[str] | range] = {
        "mask": masks,
        "value": find_values(evaluation),
        "language": languages,
    }
    if settings.controls:
        coordinates["draw"] = range(settings.controls)
    outcome = describe_outcome(evaluation.attrs)
    units = evaluation[outcome["effect_of"]].attrs.get("units", EFFECT["mean_shift"].units)
    specs = {
        array: dataclasses.replace(spec, units=units) if array in SHIFTS else spec
        for array, spec in {**EFFECT, **ATTRIBUTED_EFFECT, **HARM}.items()
    }
    attrs |= {setting: getattr(settings, setting) for setting in SETTINGS}
    if found is not None:
        attrs["harm_of"] = found[0]
    write_group(path, f"evaluation/{name}/effect", specs, arrays, coordinates, attrs)


def _find_harm(store: Store, attrs: Mapping[str, Any]) -> tuple[str, Harm] | None:
    return None if is_neutral(attrs) else find_harm(store, attrs)


def measure(
    evaluation: xr.Dataset,
    *,
    confidence: float,
    fdr: float,
    harm: Harm | None = None,
    predictions: Predictions | None = None,
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays of the effect group (those of `schema.EFFECT`, and of `schema.HARM` if the harm of the
    masks is known, or measured here), and what is concluded from them.

    Masks are those of the evaluation's masks, in order, and so are values, unless it is of neutral
    passages. control_shift is absent if there are no control draws. With `predictions` there are
    also the arrays and the attribute of `judge_attributed`.
    """
    masks, languages = find_labels(evaluation)
    values = find_values(evaluation)
    measured = read_measured(evaluation)
    arrays = effect_matrix(measured, masks, languages, confidence=confidence, values=values)
    arrays["masked_count"] = _count_masked(evaluation)
    further, attributed, variance = _attribute(evaluation, arrays, predictions)
    arrays |= further
    found = infer(
        arrays,
        arrays["masked_count"] == 0,
        fdr,
        variance,
        has_values=not is_neutral(evaluation.attrs),
        alternative=str(evaluation.attrs.get("alternative", TWO_SIDED)),
    )
    arrays |= found.arrays
    arrays |= _perplexity(evaluation, masks, values, languages)
    if harm is not None:
        harm = align(harm, masks, languages)
        arrays |= {"harm_shift": harm.shift_MG, "harm_p": harm.p_MG}
    draws = arrays["control_shift"].shape[-1] if "control_shift" in arrays else 0
    verdict = conclude(
        arrays, found.attrs["families"], masks, languages, draws=draws, fdr=fdr, harm=harm
    )
    return arrays, {**found.attrs, **attributed, "verdict": verdict}


def _count_masked(evaluation: xr.Dataset) -> NDArray[np.int64]:
    """Neurons that each mask ablates, (mask, language)."""
    at = np.flatnonzero(evaluation["kind"].values == "mask")
    masked = [evaluation["masked"].isel(condition=c).sum(("layer", "neuron")).values for c in at]
    return np.stack(masked).astype(np.int64)


def _attribute(
    evaluation: xr.Dataset, arrays: dict[str, NDArray[Any]], predictions: Predictions | None
) -> tuple[dict[str, NDArray[Any]], dict[str, Any], NDArray[np.float64] | None]:
    """Arrays and attributes that predictions add, and the variance of the shifts of matched sets,
    if the control draws, which are at its quantiles, do not show it; nothing without any."""
    if predictions is None:
        return {}, {}, None
    seed = int(evaluation.attrs.get("settings", {}).get("seed", 0))
    found, warrant, variance = judge_attributed(arrays, predictions, seed=seed)
    if evaluation.attrs.get("draws") != "quantiles":
        return found, {"warrant": warrant}, None
    return found | spread_of(arrays, variance), {"warrant": warrant}, variance


def _perplexity(
    evaluation: xr.Dataset, masks: list[str], values: list[str], languages: list[str]
) -> dict[str, NDArray[Any]]:
    """Mean change of the negative log-likelihood of a token, if it was measured."""
    if "nll" not in evaluation or not is_neutral(evaluation.attrs):
        return {}
    other = evaluation.assign_attrs(effect_of="nll")
    matrix = effect_matrix(read_measured(other), masks, languages, confidence=0.95, values=values)
    return {"nll_shift": matrix["mean_shift"]}


def read_measured(evaluation: xr.Dataset) -> Measured:
    """What the outcome of an evaluation measured, averaged to one number for each dilemma."""
    kind_C, mask_C, value_D, language_D = (
        np.array(_texts(evaluation, name), dtype=np.str_)
        for name in ("kind", "mask", "value", "dilemma_language")
    )
    return Measured(
        number_CD=averaged(evaluation),
        kind_C=kind_C,
        mask_C=mask_C,
        value_D=value_D,
        language_D=language_D,
        boundary=describe_outcome(evaluation.attrs)["decision_boundary"],
    )


def find_labels(evaluation: xr.Dataset) -> tuple[list[str], list[str]]:
    """The masks of an evaluation, and the languages of its dilemmas, in order."""
    pairs = zip(_texts(evaluation, "kind"), _texts(evaluation, "mask"), strict=True)
    return [mask for kind, mask in pairs if kind == "mask"], _texts(evaluation, "language")


def find_values(evaluation: xr.Dataset) -> list[str]:
    """The values whose dilemmas the masks are looked at on: those of the masks, or what stands for
    the value of neutral passages."""
    if is_neutral(evaluation.attrs):
        return list(dict.fromkeys(_texts(evaluation, "value")))
    return find_labels(evaluation)[0]


def _texts(evaluation: xr.Dataset, name: str) -> list[str]:
    return [str(label) for label in evaluation[name].values]
