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
from vxstore.experts import count_experts, write_labels
from vxstore.groups import begin_group, finish_group
from vxstore.identity import check_name, finished_alike
from vxstore.io import arrays
from vxstore.read import Store, open_store
from vxstore.schema import POOLED, SCORES, ArraySpec, layered_chunks

Thresholds = dict[str, dict[str, Any]]
"""What a selector reports, by language."""


def write_score(
    path: str,
    name: str,
    selector: Selector,
    *,
    kind: str = "vape",
    config: Mapping[str, Any] | None = None,
) -> Thresholds:
    """Score each language of a complete store, and all of them pooled, and write scores/NAME.

    `kind` is the selector's name in the table, `config` the sections of the configuration to keep
    with the score. Returns the thresholds by language, also of a score that is there already and
    was made with the same settings. Raises StoreError if the
    store is missing or not complete, has one value only or no tokens of one, or the name is taken
    by other settings; UserError if a setting is out of range.
    """
    check_name(name, "reduce.name")
    selector.check()
    store = open_store(path)
    root = store.root()
    settings = {} if selector.settings is None else dataclasses.asdict(selector.settings)
    identity = {"settings": {"name": name, **settings}, "selector": kind}
    group = f"scores/{name}"
    if finished_alike(path, group, identity, "reduce.name", absent={"selector": "vape"}):
        return dict(store.scores(name).attrs.get("thresholds", {}))
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


def _check_root(path: str, root: xr.Dataset, selector: Selector) -> None:
    if root.sizes["value"] < 2:
        raise UserError(f"{path} holds one value; scoring neurons over values needs at least two")
    missing = [name for name in selector.needs if name not in root]
    if missing:
        raise UserError(
            f"reduce.selector: it needs {', '.join(missing)}, which {path} does not record"
        )
    token_VG = root.token_count.transpose("value", "language")
    for v, g in np.argwhere(token_VG.values == 0)[:1]:
        raise UserError(
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
    if of_neuron := write_labels(group, root.sizes["neuron"], count_experts(root.attrs)):
        attrs = {**attrs, "coordinates": " ".join(of_neuron)}
    for array, spec in {**selector.arrays, **SCORES}.items():
        shape = tuple(len(labels[dim]) for dim in spec.dims)
        found = [_array(selection, array) for selection in selections.values()]
        _write_array(group, array, spec, shape, found)
    finish_group(store.path, group, attrs)


def _array(selection: Selection, name: str) -> Any:
    return selection.selected_LNV if name == "selected" else selection.arrays[name]


def _write_array(
    group: zarr.Group,
    name: str,
    spec: ArraySpec,
    shape: tuple[int, ...],
    by_language: Sequence[Any],
) -> None:
    """Write an array whose last dimension is the language, some layers at a time."""
    chunks = layered_chunks(spec.dims, shape, np.dtype(spec.dtype).itemsize)
    target = arrays.create_array(group, name, spec, shape, chunks=chunks)
    for first in range(0, shape[0], chunks[0]):
        layers = slice(first, min(first + chunks[0], shape[0]))
        block = np.stack(
            [found(layers) if callable(found) else found[layers] for found in by_language], axis=-1
        )
        target[layers] = block.astype(spec.dtype)
