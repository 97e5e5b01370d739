"""The reduce stage: counts in, scores and selected neurons out. Needs no model and no torch."""

import dataclasses
from typing import Any

import numpy as np
import xarray as xr

from vxdist.config import Config, ReduceConfig
from vxdist.errors import UserError
from vxdist.progress import is_first_rank
from vxdist.reduce.vape import Selection, select
from vxstore.identity import check_name, finished_alike
from vxstore.read import Store, open_store
from vxstore.schema import POOLED, SCORES
from vxstore.write import write_group


def run(config: Config) -> None:
    """Score each language, and all of them pooled, and write scores/NAME.

    Raises UserError if the store is missing or not complete, a setting is out of range, or the
    name is taken by other settings.
    """
    if not is_first_rank():
        return
    settings = config.reduce
    _check(settings)
    store = open_store(config.store)
    attrs = {"settings": dataclasses.asdict(settings)}
    if finished_alike(config.store, f"scores/{settings.name}", attrs, "reduce.name"):
        print(f"reduce: scores/{settings.name} is there already")
        return
    root = store.root().load()
    if root.sizes["value"] < 2:
        raise UserError(f"{config.store} holds one value; entropy over values needs two at least")
    languages = [str(label) for label in root.language.values]
    selections = {
        language: _select(_counts(root, language), settings) for language in (*languages, POOLED)
    }
    _write(store, root, selections, settings, attrs)
    for language, selection in selections.items():
        cut = selection.entropy_cut / np.log(root.sizes["value"])
        print(
            f"reduce: {language}: {selection.selected_count} neurons selected, entropy cut at "
            f"{cut:.3%} of its maximum, {selection.dead_count} dead neurons dropped"
        )


def _check(settings: ReduceConfig) -> None:
    check_name(settings.name, "reduce.name")
    for key in ("filter_quantile", "top_fraction", "activation_quantile"):
        value = getattr(settings, key)
        if not 0 < value < 1:
            raise UserError(f"reduce.{key}: {value} must lie between 0 and 1")


def _counts(root: xr.Dataset, language: str) -> xr.Dataset:
    """Counts of one language, or of all: (layer, neuron, value)."""
    if language == POOLED:
        return root.sum("language")
    return root.sel(language=language)


def _probability(counts: xr.Dataset) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Active tokens / tokens, (layer, neuron, value)."""
    ratio = counts.active_count / counts.token_count
    return np.asarray(ratio.transpose("layer", "neuron", "value").values, dtype=np.float64)


def _select(counts: xr.Dataset, settings: ReduceConfig) -> Selection:
    alive = counts.active_count.sum("value") >= max(1, settings.min_active_tokens)
    return select(
        _probability(counts),
        alive.transpose("layer", "neuron").values,
        filter_quantile=settings.filter_quantile,
        top_fraction=settings.top_fraction,
        activation_quantile=settings.activation_quantile,
    )


def _write(
    store: Store,
    root: xr.Dataset,
    selections: dict[str, Selection],
    settings: ReduceConfig,
    attrs: dict[str, Any],
) -> None:
    chosen = list(selections.values())
    thresholds = {
        language: {
            "filter_threshold": s.filter_threshold,
            "activation_threshold": s.activation_threshold,
            "entropy_cut": s.entropy_cut if s.selected_count else None,
            "entropy_maximum": float(np.log(root.sizes["value"])),
            "dead_count": s.dead_count,
            "passed_count": int(s.passed_filter_LN.sum()),
            "selected_count": s.selected_count,
        }
        for language, s in selections.items()
    }
    write_group(
        store.path,
        f"scores/{settings.name}",
        SCORES,
        {
            "activation_probability": np.stack(
                [_probability(_counts(root, language)) for language in selections], axis=-1
            ),
            "entropy": np.stack([s.entropy_LN for s in chosen], axis=-1),
            "passed_filter": np.stack([s.passed_filter_LN for s in chosen], axis=-1),
            "selected": np.stack([s.selected_LNV for s in chosen], axis=-1),
        },
        {
            "layer": range(root.sizes["layer"]),
            "neuron": range(root.sizes["neuron"]),
            "value": [str(label) for label in root.value.values],
            "language": list(selections),
        },
        {**attrs, "thresholds": thresholds},
    )
