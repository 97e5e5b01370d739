"""Dose curves: evaluations that differ in the dose only, gathered as each of them is finished."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxdist.config import EvaluateConfig
from vxdist.evaluate.effects import SETTINGS, find_labels, read_measured
from vxdist.evaluate.identity import ABSENT
from vxdist.stats.doses import DoseCurve, dose_curve
from vxstore.dose import DOSE, SCALED, find_dose
from vxstore.effect_words import conclude_doses
from vxstore.errors import StoreError
from vxstore.evaluation import begun_attrs
from vxstore.groups import write_group
from vxstore.io.metadata import utc_now
from vxstore.outcome import describe_outcome, is_neutral
from vxstore.read import Store, open_store

Floats = NDArray[np.float64]

ALIKE = ("outcome", "half", "draws", "evaluation_digest", "selection_digest", "questions_digest")
"""Attributes in which evaluations of one curve agree, beside their settings. Without `draws` the
slope of a control draw would be that of one set of neurons at dose 0, and another at others."""
OWN_SETTINGS = ("name", "dose", "masks")
"""Settings in which they may differ. What a mask file holds, `selection_digest` says."""


def write_doses(path: str, name: str, settings: EvaluateConfig) -> str:
    """Write evaluation/NAME/dose: the curve of this evaluation, which is finished, and of all
    finished ones that differ in the dose only.

    Nothing is done if it has no dose, no scaled one is among them, or that curve is written; nor of
    neutral passages, for the divergence that harm is grows with the square of a small change.
    Returns what to say, empty if nothing was done.
    """
    store = open_store(path)
    members = find_members(store, name)
    if not any(attrs.get("intervention") == SCALED for attrs in members.values()):
        return ""
    attrs = {
        "members": {of: attrs.get("created") for of, attrs in members.items()},
        **{setting: getattr(settings, setting) for setting in SETTINGS},
    }
    if _is_written(store, name, attrs):
        return ""
    dose_X = np.array([find_dose(of) for of in members.values()], dtype=np.float64)
    curve = _measure(store, name, list(members), dose_X, settings)
    arrays = {"dose": dose_X, **curve.arrays}
    _write(store, name, list(members), arrays, {**attrs, **curve.attrs, "created": utc_now()})
    doses = ", ".join(f"{dose:g}" for dose in dose_X)
    return f"dose curve of {', '.join(members)} (doses {doses}): " + conclude_doses(
        curve.attrs["verdict"]
    )


def find_members(store: Store, name: str) -> dict[str, Mapping[str, Any]]:
    """Attributes of the finished evaluations of the curve that `name` belongs to, by rising dose.

    Empty if it has no dose. Of several with one dose, which measured the same, one is taken:
    `name`, or the first.
    """
    own = begun_attrs(store.path, name)
    if find_dose(own) is None or is_neutral(own):
        return {}
    by_dose: dict[float, tuple[str, Mapping[str, Any]]] = {}
    for other in (name, *sorted(set(store.names("evaluation")) - {name})):
        attrs = begun_attrs(store.path, other)
        dose = find_dose(attrs)
        if dose is not None and _identity(attrs) == _identity(own):
            by_dose.setdefault(dose, (other, attrs))
    return {by_dose[dose][0]: by_dose[dose][1] for dose in sorted(by_dose)}


def _identity(attrs: Mapping[str, Any]) -> dict[str, Any]:
    settings = {k: v for k, v in attrs.get("settings", {}).items() if k not in OWN_SETTINGS}
    alike = {key: {**ABSENT, **attrs}.get(key) for key in ALIKE}
    return {**alike, **describe_outcome(attrs), "intervention": None, "settings": settings}


def _is_written(store: Store, name: str, attrs: Mapping[str, Any]) -> bool:
    try:
        written = store.dose(name).attrs
    except StoreError:
        return False
    return all(written.get(key) == of for key, of in attrs.items())


def _measure(
    store: Store, name: str, members: Sequence[str], dose_X: Floats, settings: EvaluateConfig
) -> DoseCurve:
    evaluations = [store.evaluation(of) for of in members]
    masks, languages = find_labels(evaluations[0])
    return dose_curve(
        dose_X,
        [read_measured(of) for of in evaluations],
        masks,
        languages,
        empty_MG=store.effect(name)["masked_count"].transpose("mask", "language").values == 0,
        confidence=settings.confidence,
        fdr=settings.fdr,
    )


def _write(
    store: Store,
    name: str,
    members: Sequence[str],
    arrays: Mapping[str, NDArray[Any]],
    attrs: Mapping[str, Any],
) -> None:
    evaluation = store.evaluation(name)
    masks, languages = find_labels(evaluation)
    units = evaluation[describe_outcome(evaluation.attrs)["effect_of"]].attrs.get("units", "nats")
    specs = {
        array: dataclasses.replace(spec, units=units) if spec.units == "nats" else spec
        for array, spec in DOSE.items()
    }
    coordinates: dict[str, Sequence[str] | range] = {
        "evaluation": members,
        "mask": masks,
        "value": masks,
        "language": languages,
    }
    if "control_slope" in arrays:
        coordinates["draw"] = range(arrays["control_slope"].shape[-1])
    write_group(store.path, f"evaluation/{name}/dose", specs, arrays, coordinates, attrs)
