"""The effects of an evaluation, measured from what its conditions scored; no model is needed."""

import dataclasses
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxdist.config import EvaluateConfig
from vxdist.stats.effects import Measured, effect_matrix
from vxdist.stats.families import infer
from vxdist.stats.verdict import conclude
from vxstore.errors import StoreError
from vxstore.groups import write_group
from vxstore.outcome import averaged, describe_outcome
from vxstore.read import Store, open_store
from vxstore.schema import EFFECT

SETTINGS = ("confidence", "fdr", "controls")
"""Settings that the effects depend on, beside those of the evaluation; attributes of the group."""
SHIFTS = (
    "mean_shift", "shift_low", "shift_high", "control_mean", "control_sd", "se_total",
    "specific_shift", "control_shift",
)  # fmt: skip
"""Arrays in the units of what the outcome measures."""


def is_measured(store: Store, name: str, settings: EvaluateConfig) -> bool:
    """Whether the effects are in the store, complete, and measured with these settings.

    Those of a version that gave no p are not complete.
    """
    try:
        attrs = store.effect(name).attrs
    except StoreError:
        return False
    return "families" in attrs and all(attrs.get(s) == getattr(settings, s) for s in SETTINGS)


def write_effects(path: str, name: str, settings: EvaluateConfig) -> None:
    """Measure the effects of the evaluation `name`, and write them to evaluation/NAME/effect."""
    evaluation = open_store(path).unfinished_evaluation(name)
    arrays, attrs = measure(evaluation, confidence=settings.confidence, fdr=settings.fdr)
    masks, languages = find_labels(evaluation)
    coordinates: dict[str, list[str] | range] = {
        "mask": masks,
        "value": masks,
        "language": languages,
    }
    if settings.controls:
        coordinates["draw"] = range(settings.controls)
    outcome = describe_outcome(evaluation.attrs)
    units = evaluation[outcome["effect_of"]].attrs.get("units", EFFECT["mean_shift"].units)
    specs = {
        array: dataclasses.replace(spec, units=units) if array in SHIFTS else spec
        for array, spec in EFFECT.items()
    }
    attrs |= {setting: getattr(settings, setting) for setting in SETTINGS}
    write_group(path, f"evaluation/{name}/effect", specs, arrays, coordinates, attrs)


def measure(
    evaluation: xr.Dataset, *, confidence: float, fdr: float
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays of the effect group (those of `schema.EFFECT`), and what is concluded from them.

    Masks and values are those of the evaluation's masks, in order. control_shift is absent if
    there are no control draws.
    """
    masks, languages = find_labels(evaluation)
    measured = read_measured(evaluation)
    arrays = effect_matrix(measured, masks, languages, confidence=confidence)
    arrays["masked_count"] = np.stack(
        [
            evaluation["masked"].isel(condition=c).sum(("layer", "neuron")).values
            for c in np.flatnonzero(measured.kind_C == "mask")
        ]
    )
    found = infer(arrays, arrays["masked_count"] == 0, fdr)
    arrays |= found.arrays
    draws = arrays["control_shift"].shape[-1] if "control_shift" in arrays else 0
    verdict = conclude(arrays, found.attrs["families"], masks, languages, draws=draws, fdr=fdr)
    return arrays, {**found.attrs, "verdict": verdict}


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


def _texts(evaluation: xr.Dataset, name: str) -> list[str]:
    return [str(label) for label in evaluation[name].values]
