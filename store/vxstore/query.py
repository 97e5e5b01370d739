"""Questions put to a store, answered as tables and plain dictionaries. Nothing here prints."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from numpy.typing import NDArray

from vxstore import zarrio
from vxstore.errors import StoreError
from vxstore.read import Store
from vxstore.schema import POOLED

ABOUT = (
    "model", "model_revision", "model_architecture", "activation_function", "dtype", "corpus",
    "created", "state", "format_version",
)  # fmt: skip


def describe(store: Store) -> dict[str, Any]:
    """What the store is of and how far it is, as JSON values. Works on an unfinished store too.

    Keys: store, those of `ABOUT`, complete, parts (sealed, total), layers, neurons, values,
    languages, counts (one entry a value and language), scores and evaluations (by name).
    """
    num_layers, num_neurons, *_ = _array(store, "active_count").shape
    sealed, total = parts(store)
    return {
        "store": store.path,
        **{key: store.attrs.get(key) for key in ABOUT},
        "complete": store.complete,
        "parts": {"sealed": sealed, "total": total},
        "layers": num_layers,
        "neurons": num_neurons,
        "values": _labels(store, "value"),
        "languages": _labels(store, "language"),
        "counts": counts(store).to_dict("records"),
        "scores": {name: _attrs(store, f"scores/{name}") for name in store.names("scores")},
        "evaluations": {name: _evaluation(store, name) for name in store.names("evaluation")},
    }


def parts(store: Store) -> tuple[int, int]:
    """How many parts are sealed, and how many there are."""
    sealed = _array(store, "record/sealed")
    if store.complete:  # completed only after every seal was read, so spare as many small reads
        return sealed.size, sealed.size
    return int(_read(store, sealed).sum()), sealed.size


def counts(store: Store) -> pd.DataFrame:
    """Tokens counted and stories read: columns value, language, token_count, story_count.

    Of an unfinished store, those of the sealed parts.
    """
    names = ("token_count", "story_count")
    cells = pd.MultiIndex.from_product(
        [_labels(store, "value"), _labels(store, "language")], names=["value", "language"]
    )
    if store.complete:
        data = {name: _read(store, _array(store, name)).reshape(-1) for name in names}
        return pd.DataFrame(data, index=cells).reset_index()
    sealed = _read(store, _array(store, "record/sealed"))
    by_part = pd.DataFrame(
        {label: _labels(store, f"record/{label}") for label in cells.names}
        | {name: _read(store, _array(store, f"record/{name}")) for name in names}
    )
    summed = by_part[sealed].astype(dict.fromkeys(names, "int64")).groupby(list(cells.names)).sum()
    return summed.reindex(cells, fill_value=0).reset_index()


def top(
    store: Store,
    *,
    value: str | None = None,
    language: str | None = None,
    k: int = 10,
    score: str = "vape",
) -> pd.DataFrame:
    """The `k` selected neurons of lowest entropy, of each language; ties by layer and neuron.

    `language` is a recorded language or `pooled`; None is every recorded one. With `value`, only
    neurons that belong to it; columns language, layer, neuron, entropy, probability (active
    tokens / tokens of the value), mean_other_probability (mean over the other values; NaN if
    there is none), value_count (values it belongs to). Without, value_count and values stand
    in place of the probabilities.

    Raises StoreError if the store is not complete, or naming the known ones if there is no such
    score, value or language.
    """
    if not store.complete:
        store.root()  # raises, saying how many parts are missing
    with _reading(store, f"scores/{score}"):
        scores = store.scores(score)
        values, languages = (_strings(scores.indexes[dim]) for dim in ("value", "language"))
    if value is not None:
        _require_known(store, "value", value, values)
    if language is not None:
        _require_known(store, "language", language, languages)
    wanted = [name for name in languages if name != POOLED] if language is None else [language]
    frames = []
    for name in wanted:
        of_language = scores.isel(language=languages.index(name))
        frame = _lowest(store, of_language, values, value, k)
        frame.insert(0, "language", name)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _lowest(
    store: Store, scores: xr.Dataset, values: Sequence[str], value: str | None, k: int
) -> pd.DataFrame:
    """`top` of one language."""
    with _reading(store, "entropy or selected"):
        chosen = scores[["entropy", "selected"]].load()
    entropy_LN = chosen.entropy.transpose("layer", "neuron").values
    selected_LNV = chosen.selected.transpose("layer", "neuron", "value").values
    at = None if value is None else values.index(value)
    belongs_LN = selected_LNV.any(axis=-1) if at is None else selected_LNV[..., at]
    layer_K, neuron_K = np.nonzero(belongs_LN)
    order_K = np.argsort(entropy_LN[layer_K, neuron_K], kind="stable")[:k]
    layer_K, neuron_K = layer_K[order_K], neuron_K[order_K]
    member_KV = selected_LNV[layer_K, neuron_K]
    frame = pd.DataFrame(
        {"layer": layer_K, "neuron": neuron_K, "entropy": entropy_LN[layer_K, neuron_K]}
    )
    if at is not None:
        frame["probability"], frame["mean_other_probability"] = _probabilities(
            store, scores, layer_K, neuron_K, at
        )
    frame["value_count"] = member_KV.sum(axis=-1)
    if at is None:
        frame["values"] = pd.Series(
            [list(itertools.compress(values, member_V)) for member_V in member_KV], dtype=object
        )
    return frame


def _probabilities(
    store: Store, scores: xr.Dataset, layer_K: NDArray[Any], neuron_K: NDArray[Any], at: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probability for value number `at`, and the mean over the others; reads these neurons only."""
    layers, neurons = (xr.DataArray(at_K, dims="k") for at_K in (layer_K, neuron_K))
    with _reading(store, "activation_probability"):
        rows = scores.activation_probability.isel(layer=layers, neuron=neurons)
        probability_KV = rows.transpose("k", "value").values
    others_KV = np.delete(probability_KV, at, axis=1)
    if others_KV.shape[1] == 0:
        return probability_KV[:, at], np.full(len(layer_K), np.nan)
    return probability_KV[:, at], others_KV.mean(axis=1)


def _require_known(store: Store, kind: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise StoreError(f"{store.path} has no {kind} {name!r}; there are {', '.join(known)}")


def _evaluation(store: Store, name: str) -> dict[str, Any]:
    """Settings and size of one evaluation, and the settings of its effects."""
    conditions, dilemmas, _ = _array(store, f"evaluation/{name}/log_odds").shape
    return {
        **_attrs(store, f"evaluation/{name}"),
        "conditions": conditions,
        "dilemmas": dilemmas,
        "effect": _attrs(store, f"evaluation/{name}/effect"),
    }


def _attrs(store: Store, group: str) -> dict[str, Any]:
    """Attributes of a group, without the marks that say how far its writing got."""
    attrs = zarrio.plain_attrs(zarrio.open_group(store.path, group))
    return {k: v for k, v in attrs.items() if k not in ("complete", "created", "coordinates")}


def _array(store: Store, name: str) -> zarr.Array[Any]:
    with _reading(store, name):
        return zarrio.get_array(zarrio.open_group(store.path), name)


def _labels(store: Store, name: str) -> list[str]:
    return _strings(_read(store, _array(store, name)))


def _strings(labels: Iterable[Any]) -> list[str]:
    return [str(label) for label in labels]


def _read(store: Store, array: zarr.Array[Any]) -> NDArray[Any]:
    with _reading(store, array.path):
        return np.asarray(array[:])


@contextlib.contextmanager
def _reading(store: Store, what: str) -> Iterator[None]:
    """Tell of damage as StoreError: what zarr and xarray raise is many kinds."""
    try:
        yield
    except (AssertionError, AttributeError, KeyError, OSError, RuntimeError, ValueError) as error:
        raise StoreError(f"{store.path} is damaged in {what}: {error}") from error
