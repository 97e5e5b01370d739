"""How the effects of masks follow the dose that their neurons are scaled by, as it was measured:
nothing is computed here.
"""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from vxstore.dose import INTACT_DOSE
from vxstore.effect_words import conclude_doses
from vxstore.errors import StoreError
from vxstore.io.metadata import is_listed, read_root
from vxstore.outcome import describe_outcome
from vxstore.query.lookup import get_attrs, reading, require_known, strings
from vxstore.read import Store

DIMS = ("mask", "value", "language")
SHIFTS = ("mean_shift", "shift_low", "shift_high", "control_mean", "control_sd")
SLOPES = (
    "dilemma_count", "slope", "slope_low", "slope_high", "control_slope_mean", "control_slope_sd",
    "p_value", "q_value",
)  # fmt: skip
CURVE = ("evaluation", "dose", *SHIFTS)
INTACT = "intact"
SETTINGS = (
    "confidence", "fdr", "controls", "p_source", "null_rate", "null_count", "families", "verdict",
)  # fmt: skip


def doses(
    store: Store,
    evaluation: str | None = None,
    *,
    mask: str | None = None,
    language: str | None = None,
    own: bool = True,
) -> dict[str, Any]:
    """The latest dose curve, or the latest that holds this evaluation.

    Keys: store, evaluation (with which it was written), evaluations (those in it, by rising dose),
    outcome, effect_of, units (of shifts), confidence, fdr, controls, p_source, null_rate,
    null_count, families, verdict (of the slopes; see FORMAT.md), sentence (the verdict in words),
    others (evaluations whose curves hold others than these), and two tables by mask, value (of the
    dilemmas) and language: `curve`, with evaluation, dose and the arrays `SHIFTS`, a row for each
    dose, that of the intact model among them (1, with shift 0); and `slopes`, with the arrays
    `SLOPES`.

    `mask` and `language` leave only theirs; `own` those of masks on their own value's dilemmas.
    Raises StoreError if there is no such curve, mask or language.
    """
    curves = _read_attrs(store)
    name = _find(store, evaluation, curves)
    with reading(store, f"evaluation/{name}/dose"):
        found = store.dose(name).load()
    for dim, wanted in (("mask", mask), ("language", language)):
        if wanted is not None:
            require_known(store, dim, wanted, strings(found[dim].values))
            found = found.sel({dim: [wanted]})
    members = set(curves[name]["members"])
    with reading(store, f"evaluation/{name}/dose"):
        tables = {"curve": _curve(found), "slopes": _table(found, SLOPES)}
        about = _about(store, name, found, curves[name])
    return {
        **about,
        "others": sorted(n for n, of in curves.items() if not set(of["members"]) <= members),
        **{
            table: of[(of["mask"] == of["value"]) | (not own)].reset_index(drop=True)
            for table, of in tables.items()
        },
    }


def _about(store: Store, name: str, found: xr.Dataset, attrs: dict[str, Any]) -> dict[str, Any]:
    """What a curve with these attributes is of, and what is concluded from it."""
    described = describe_outcome(get_attrs(store, f"evaluation/{name}"))
    return {
        "store": store.path,
        "evaluation": name,
        "evaluations": strings(found["evaluation"].values),
        "outcome": described["outcome"],
        "effect_of": described["effect_of"],
        "units": found["mean_shift"].attrs.get("units"),
        **{key: attrs.get(key) for key in SETTINGS},
        "sentence": conclude_doses(attrs["verdict"]),
    }


def held_by(store: Store) -> set[str]:
    """The evaluations that are in some dose curve."""
    return {name for attrs in _read_attrs(store).values() for name in attrs["members"]}


def _read_attrs(store: Store) -> dict[str, dict[str, Any]]:
    """Attributes of all curves, by the evaluation that each was written with."""
    root = read_root(store.path)
    found = {}
    for name in store.names("evaluation"):
        group = f"evaluation/{name}/dose"
        if is_listed(root, group):
            with reading(store, group):
                attrs = dict(store.dose(name).attrs)
            if not isinstance(attrs.get("members"), dict):
                raise StoreError(f"{store.path} is damaged in {group}: its members")
            found[name] = attrs
    return found


def _find(store: Store, evaluation: str | None, curves: dict[str, dict[str, Any]]) -> str:
    """The evaluation that the curve asked for was written with: the latest, or of most doses."""
    if evaluation is not None:
        store.evaluation(evaluation)  # raises, listing the known ones
    holding = [n for n, of in curves.items() if evaluation is None or evaluation in of["members"]]
    if not holding:
        of = "" if evaluation is None else f" that holds {evaluation}"
        raise StoreError(
            f"{store.path} has no dose curve{of}; `vxdist evaluate --evaluate.intervention scale "
            "--evaluate.scale.dose 0.5 --evaluate.name half` measures a dose"
        )
    return max(holding, key=lambda n: (str(curves[n].get("created")), len(curves[n]["members"])))


def _curve(found: xr.Dataset) -> pd.DataFrame:
    """A row for each (mask, value, language) and dose, doses rising."""
    names, dose = strings(found["evaluation"].values), found["dose"].values.tolist()
    tables = [
        _table(found.isel(evaluation=n), SHIFTS).assign(evaluation=names[n], dose=dose[n])
        for n in range(len(names))
    ]
    intact = _table(found.isel(evaluation=0), ()).assign(evaluation=INTACT, dose=INTACT_DOSE)
    tables.append(intact.assign(**dict.fromkeys(SHIFTS[1:], np.nan), mean_shift=0.0))
    table = pd.concat(tables).rename_axis("cell").reset_index()
    return table.sort_values(["cell", "dose"], kind="stable")[[*DIMS, *CURVE]]


def _table(found: xr.Dataset, arrays: tuple[str, ...]) -> pd.DataFrame:
    """A row for each (mask, value, language)."""
    labels = [strings(found[dim].values) for dim in DIMS]
    keys = pd.MultiIndex.from_product(labels, names=DIMS).to_frame(index=False)
    for name in arrays:
        keys[name] = found[name].transpose(*DIMS).values.reshape(-1)
    return keys
