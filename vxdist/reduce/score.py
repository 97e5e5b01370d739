"""Writing a score: one selector over every language of a store, and over all of them pooled.

L: layer, N: neuron, V: value, G: language.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
import zarr

from vxdist.errors import UserError
from vxdist.reduce.counts import LanguageCounts
from vxdist.reduce.selectors import Selection, Selector
from vxstore.defaults import DEFAULT_SELECTOR
from vxstore.errors import StoreError
from vxstore.groups import begin_group
from vxstore.identity import check_name, finished_alike
from vxstore.read import Store, open_store
from vxstore.schema import POOLED, SCORES

Thresholds = dict[str, dict[str, Any]]
"""What a selector reports, by language."""


def write_score(
    path: str,
    name: str,
    selector: Selector,
    *,
    kind: str = DEFAULT_SELECTOR,
    config: Mapping[str, Any] | None = None,
) -> Thresholds:
    """Score each language of a complete store, and all of them pooled, and write scores/NAME.

    `kind` is the selector's name in the table, `config` the sections of the configuration to keep
    with the score. Returns the thresholds by language, also of a score that is there already and
    was made with the same settings. Raises StoreError if the store is missing or not complete, or
    the name is taken by other settings; UserError if a setting is out of range, or the store has
    one value only, no tokens of one, or not the statistics that the selector needs.
    """
    check_name(name, "reduce.name")
    selector.check()
    store = open_store(path)
    root = store.root()
    settings = {} if selector.settings is None else dataclasses.asdict(selector.settings)
    identity = {"settings": {"name": name, **settings}, "selector": kind}
    group = f"scores/{name}"
    if finished_alike(path, group, identity, "reduce.name", absent={"selector": DEFAULT_SELECTOR}):
        return _thresholds_of(store, name, selector)
    _check_root(path, root, selector)
    languages = [*(str(label) for label in root.language.values), POOLED]
    selections = {
        language: selector.select(LanguageCounts(store=store, root=root, language=language))
        for language in languages
    }
    thresholds = {language: dict(found.thresholds) for language, found in selections.items()}
    attrs = {
        **identity,
        **_describe_ranking(selector),
        "thresholds": thresholds,
        **({} if config is None else {"config": dict(config)}),
    }
    _write(store, name, root, selector, selections, attrs)
    return thresholds


def _thresholds_of(store: Store, name: str, selector: Selector) -> Thresholds:
    """The thresholds of a finished score.

    Raises StoreError if an earlier version wrote it with another value of a setting that is fixed.
    """
    attrs = store.scores(name).attrs
    recorded = attrs.get("settings", {})
    for key, fixed in getattr(selector, "fixed", {}).items():
        if recorded.get(key, fixed) != fixed:
            raise StoreError(
                f"{store.path}/scores/{name} was made by an earlier version, with {key} "
                f"{recorded[key]}, and it is always {fixed} now. Choose another reduce.name"
            )
    return dict(attrs.get("thresholds", {}))


def _check_root(path: str, root: xr.Dataset, selector: Selector) -> None:
    if root.sizes["value"] < 2:
        raise StoreError(f"{path} holds one value; scoring neurons over values needs at least two")
    missing = [name for name in selector.needs if name not in root]
    if missing:
        raise UserError(
            f"reduce.selector: it needs {', '.join(missing)}, which {path} does not record"
        )
    token_VG = root.token_count.transpose("value", "language")
    for v, g in np.argwhere(token_VG.values == 0)[:1]:
        raise StoreError(
            f"{path} has no tokens of value {token_VG.value.values[v]!s} in language "
            f"{token_VG.language.values[g]!s}, so no activation probability; record stories of "
            "every value in every language"
        )


def _describe_ranking(selector: Selector) -> dict[str, Any]:
    among = selector.ranked_among
    return {
        "ranked_by": selector.ranked_by,
        "ascending": selector.ascending,
        **({} if among is None else {"ranked_among": among}),
    }


def _write(
    store: Store,
    name: str,
    root: xr.Dataset,
    selector: Selector,
    selections: Mapping[str, Selection],
    attrs: dict[str, Any],
) -> None:
    labels: dict[str, Sequence[str] | range] = {
        "layer": range(root.sizes["layer"]),
        "neuron": range(root.sizes["neuron"]),
        "value": [str(label) for label in root.value.values],
        "language": list(selections),
    }
    group = begin_group(store.path, f"scores/{name}", labels)
    for array, spec in {**selector.arrays, **SCORES}.items():
        shape = tuple(len(labels[dim]) for dim in spec.dims)
        target = group.create_array(array, spec, shape)
        _fill(target, [_array(selection, array) for selection in selections.values()])
    group.finish(attrs)


def _array(selection: Selection, name: str) -> Any:
    return selection.selected_LNV if name == "selected" else selection.arrays[name]


def _fill(target: zarr.Array[Any], by_language: Sequence[Any]) -> None:
    """Write an array whose last dimension is the language, whole chunks of layers at a time."""
    num_layers, step = target.shape[0], target.chunks[0]
    for first in range(0, num_layers, step):
        layers = slice(first, min(first + step, num_layers))
        block = np.stack(
            [found(layers) if callable(found) else found[layers] for found in by_language], axis=-1
        )
        target[layers] = block.astype(target.dtype)
