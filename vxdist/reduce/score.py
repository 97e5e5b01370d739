"""Writing a score: VAPE of every neuron, some layers in memory at a time, and what it selects.

L: layer, N: neuron, V: value, G: language.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxdist.reduce.selectors.vape import Selection, VapeSettings, select
from vxstore.errors import StoreError
from vxstore.experts import count_experts, share, tokens_given
from vxstore.groups import begin_group
from vxstore.identity import check_name, finished_alike
from vxstore.read import open_store
from vxstore.schema import POOLED, SCORES, layered_chunks


def write_score(path: str, name: str, settings: VapeSettings) -> dict[str, dict[str, Any]]:
    """Score each language of a complete store, and all of them pooled, and write scores/NAME.

    Returns the thresholds by language; those that are there if the same was done before. Holds
    the probabilities of one language in memory. Raises StoreError if the store is missing or not
    complete, has one value only or no tokens of one, or the name is taken by other settings.
    """
    check_name(name, "score name")
    _check(settings)
    store = open_store(path)
    root = store.root()
    attrs = {"settings": {"name": name, **dataclasses.asdict(settings)}}
    if finished_alike(path, f"scores/{name}", attrs, "score name"):
        return dict(store.scores(name).attrs["thresholds"])
    if root.sizes["value"] < 2:
        raise StoreError(f"{path} holds one value; entropy over values needs two at least")
    _require_tokens(path, root)
    languages = [*(str(label) for label in root.language.values), POOLED]
    selections = {language: _select(root, language, settings) for language in languages}
    thresholds = {
        language: _thresholds(selection, root) for language, selection in selections.items()
    }
    _write(path, name, root, selections, settings, {**attrs, "thresholds": thresholds})
    return thresholds


def _check(settings: VapeSettings) -> None:
    for key in ("filter_quantile", "top_fraction", "activation_quantile"):
        value = getattr(settings, key)
        if not 0 < value < 1:
            raise StoreError(f"{key}: {value} must lie between 0 and 1")
    if settings.precision not in ("float32", "float64"):
        raise StoreError(f"precision: {settings.precision!r} must be float32 or float64")


def _require_tokens(path: str, root: xr.Dataset) -> None:
    token_VG = root.token_count.transpose("value", "language")
    for v, g in np.argwhere(token_VG.values == 0)[:1]:
        raise StoreError(
            f"{path} has no tokens of value {token_VG.value.values[v]!s} in language "
            f"{token_VG.language.values[g]!s}, so no activation probability; record stories of "
            "every value in every language"
        )


def _layers(root: xr.Dataset) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Active counts (layer, neuron, value, language), a chunk of layers at a time."""
    counts = root.active_count.transpose("layer", "neuron", "value", "language")
    step = layered_chunks(counts.dims, counts.shape, 8)[0]
    for first in range(0, counts.sizes["layer"], step):
        layers = slice(first, first + step)
        yield layers, counts.isel(layer=layers).values


def _of_language(root: xr.Dataset, count: NDArray[Any], language: str) -> NDArray[Any]:
    """Counts, language last, of one language, or summed over all."""
    if language == POOLED:
        return np.asarray(count.sum(axis=-1))
    names = [str(label) for label in root.language.values]
    return np.asarray(count[..., names.index(language)])


def _probability(
    root: xr.Dataset, count_LNVG: NDArray[Any], layers: slice, language: str, precision: str
) -> NDArray[np.floating[Any]]:
    """Active tokens / tokens that the neuron was given, (layer, neuron, value); NaN if none."""
    given_LNV = _of_language(root, tokens_given(root, layers), language)
    active_LNV = _of_language(root, count_LNVG, language)
    return share(active_LNV.astype(precision), given_LNV.astype(precision))


def _select(root: xr.Dataset, language: str, settings: VapeSettings) -> Selection:
    shape_LNV = tuple(root.sizes[dim] for dim in ("layer", "neuron", "value"))
    probability_LNV = np.empty(shape_LNV, dtype=settings.precision)
    alive_LN = np.empty(shape_LNV[:2], dtype=bool)
    for layers, count_LNVG in _layers(root):
        probability_LNV[layers] = _probability(
            root, count_LNVG, layers, language, settings.precision
        )
        active_LN = _of_language(root, count_LNVG, language).sum(axis=-1)
        alive_LN[layers] = active_LN >= max(1, settings.min_active_tokens)
    return select(
        probability_LNV,
        alive_LN,
        filter_quantile=settings.filter_quantile,
        top_fraction=settings.top_fraction,
        activation_quantile=settings.activation_quantile,
    )


def _thresholds(selection: Selection, root: xr.Dataset) -> dict[str, Any]:
    """None for a threshold that nothing decided; `unrouted_count` only where there are experts."""
    none_known = selection.unrouted_count == selection.entropy_LN.size
    unrouted = {"unrouted_count": selection.unrouted_count} if count_experts(root.attrs) else {}
    return {
        "filter_threshold": None if none_known else selection.filter_threshold,
        "activation_threshold": None if none_known else selection.activation_threshold,
        "entropy_cut": selection.entropy_cut if selection.selected_count else None,
        "entropy_maximum": float(np.log(root.sizes["value"])),
        "dead_count": selection.dead_count,
        **unrouted,
        "passed_count": int(selection.passed_filter_LN.sum()),
        "selected_count": selection.selected_count,
    }


def _write(
    path: str,
    name: str,
    root: xr.Dataset,
    selections: dict[str, Selection],
    settings: VapeSettings,
    attrs: dict[str, Any],
) -> None:
    labels: dict[str, Sequence[str] | range] = {
        "layer": range(root.sizes["layer"]),
        "neuron": range(root.sizes["neuron"]),
        "value": [str(label) for label in root.value.values],
        "language": list(selections),
    }
    group = begin_group(path, f"scores/{name}", labels)
    spec = SCORES["activation_probability"]
    shape = tuple(len(labels[dim]) for dim in spec.dims)
    target = group.create_array("activation_probability", spec, shape)
    for layers, count_LNVG in _layers(root):
        target[layers] = np.stack(
            [_probability(root, count_LNVG, layers, g, settings.precision) for g in selections],
            axis=-1,
        ).astype(spec.dtype)
    for array, field in (
        ("entropy", "entropy_LN"),
        ("passed_filter", "passed_filter_LN"),
        ("selected", "selected_LNV"),
    ):
        data = np.stack([getattr(s, field) for s in selections.values()], axis=-1)
        group.write_array(array, SCORES[array], data)
    group.finish(attrs)
