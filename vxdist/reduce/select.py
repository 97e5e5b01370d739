"""Selecting anew from counts that are there: other thresholds, under another score name."""

import dataclasses
from typing import Any

from vxdist.reduce.score import write_score
from vxdist.reduce.selectors.vape import VapeSettings
from vxstore.errors import StoreError
from vxstore.query.lookup import get_attrs
from vxstore.read import Store

EARLIER = {"precision": "float64"}
"""Settings that scores of earlier versions do not tell, and what they were made with."""


def rethreshold(
    store: Store,
    name: str,
    *,
    base: str = "vape",
    filter_quantile: float | None = None,
    top_fraction: float | None = None,
    activation_quantile: float | None = None,
    min_active_tokens: int | None = None,
    precision: str | None = None,
) -> dict[str, Any]:
    """Write the score `name` with the settings of the score `base`, but for those given.

    Keys of what is returned: store, score, settings, thresholds (by language). The same asked
    again changes nothing. Open the store again to read the new score.

    Raises StoreError if the store is not complete, has no score `base` (unless all settings are
    given), a setting is out of range, or `name` is taken by other settings.
    """
    if not store.complete:
        store.root()  # raises, saying how many parts are missing
    given = {
        "filter_quantile": filter_quantile,
        "top_fraction": top_fraction,
        "activation_quantile": activation_quantile,
        "min_active_tokens": min_active_tokens,
        "precision": precision,
    }
    settings = {key: setting for key, setting in given.items() if setting is not None}
    if len(settings) < len(given):
        settings = _settings_of(store, base) | settings
    chosen = VapeSettings(**settings)  # type: ignore[arg-type]
    thresholds = write_score(store.path, name, chosen)
    return {
        "store": store.path,
        "score": name,
        "settings": dataclasses.asdict(chosen),
        "thresholds": thresholds,
    }


def _settings_of(store: Store, score: str) -> dict[str, Any]:
    store.scores(score)  # raises, naming the known ones
    there = EARLIER | get_attrs(store, f"scores/{score}").get("settings", {})
    names = [field.name for field in dataclasses.fields(VapeSettings)]
    missing = [name for name in names if name not in there]
    if missing:
        raise StoreError(
            f"{store.path}/scores/{score} does not tell its {', '.join(missing)}; give "
            f"{' '.join('--' + name.replace('_', '-') for name in missing)}"
        )
    return {name: there[name] for name in names}
