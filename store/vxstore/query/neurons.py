"""Queries of neurons: those of lowest entropy, and all that is known of one.

L: layer, N: neuron, V: value, G: language, K: one of the neurons found.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from vxstore import experts
from vxstore.errors import StoreError
from vxstore.query.lookup import (
    open_root,
    open_scores,
    reading,
    recorded,
    require_known,
)
from vxstore.read import Store
from vxstore.schema import POOLED
from vxstore.statistics import DEFAULT, Law, read_law, recorded_names

Floats = NDArray[np.float64]


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
    in place of the probabilities. In a store with experts, expert and unit stand behind neuron,
    and a probability is of the tokens routed to the expert.

    Raises StoreError if the store is not complete, or naming the known ones if there is no such
    score, value or language.
    """
    scores, values, languages = open_scores(store, score)
    if value is not None:
        require_known(store, "value", value, values)
    if language is not None:
        require_known(store, "language", language, languages)
    with reading(store, "entropy or selected"):  # a chunk holds all languages: read it once
        chosen = scores[["entropy", "selected"]].load()
    scores = scores.assign(chosen)
    frames = []
    for name in recorded(languages) if language is None else [language]:
        of_language = scores.isel(language=languages.index(name))
        frame = _lowest(store, of_language, values, value, k)
        frame.insert(0, "language", name)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _lowest(
    store: Store, scores: xr.Dataset, values: Sequence[str], value: str | None, k: int
) -> pd.DataFrame:
    """`top` of one language."""
    entropy_LN = scores.entropy.transpose("layer", "neuron").values
    selected_LNV = scores.selected.transpose("layer", "neuron", "value").values
    at = None if value is None else values.index(value)
    belongs_LN = selected_LNV.any(axis=-1) if at is None else selected_LNV[..., at]
    layer_K, neuron_K = np.nonzero(belongs_LN)
    order_K = np.argsort(entropy_LN[layer_K, neuron_K], kind="stable")[:k]
    layer_K, neuron_K = layer_K[order_K], neuron_K[order_K]
    member_KV = selected_LNV[layer_K, neuron_K]
    frame = pd.DataFrame(
        {
            "layer": layer_K,
            "neuron": neuron_K,
            **experts.columns(store.attrs, entropy_LN.shape[1], neuron_K),
            "entropy": entropy_LN[layer_K, neuron_K],
        }
    )
    if at is not None:
        frame["probability"], frame["mean_other_probability"] = apart(
            _probabilities(store, scores, layer_K, neuron_K), np.full(len(layer_K), at)
        )
    frame["value_count"] = member_KV.sum(axis=-1)
    if at is None:
        frame["values"] = pd.Series(
            [list(itertools.compress(values, member_V)) for member_V in member_KV], dtype=object
        )
    return frame


def _probabilities(
    store: Store, scores: xr.Dataset, layer_K: NDArray[Any], neuron_K: NDArray[Any]
) -> Floats:
    """Probabilities of these neurons only, (K, V)."""
    layers, neurons = (xr.DataArray(at_K, dims="k") for at_K in (layer_K, neuron_K))
    with reading(store, "activation_probability"):
        rows = scores.activation_probability.isel(layer=layers, neuron=neurons)
        return np.asarray(rows.transpose("k", "value").values)


def apart(probability_KV: Floats, value_K: NDArray[np.integer[Any]]) -> tuple[Floats, Floats]:
    """Of each row, the probability of its own value and the mean of the others; NaN if none."""
    rows, num_values = probability_KV.shape
    is_own_KV = np.arange(num_values) == value_K[:, None]
    own_K = probability_KV[is_own_KV]
    if num_values == 1:
        return own_K, np.full(rows, np.nan)
    return own_K, probability_KV[~is_own_KV].reshape(rows, num_values - 1).mean(axis=1)


def neuron(
    store: Store, layer: int, neuron: int | tuple[int, int], *, score: str | None = None
) -> dict[str, Any]:
    """All that the store knows of one neuron. Reads its own chunks of the counts only.

    Keys: store, model, denominator (what token_count counts; imported counts may be by
    questions), layer, neuron, score (None if the store has none) and two tables.
    `values`: language (`pooled` last), value, token_count, active_count, probability (active
    tokens / tokens), mean_activation (over all tokens; absent if no sums are recorded), the
    statistics recorded beside the default ones (a maximum over no tokens is NaN) and, with a
    score, selected. `languages`, with a score only: language, entropy (nats; NaN if the neuron
    is dead), passed_filter, rank (1 is the lowest entropy among the living neurons that passed
    the filter, ties by layer and neuron as in the selection; None if it did not pass) and
    ranked_count (how many passed). `score` None is `vape` if the store has any.

    In a store with experts `neuron` may be (expert, unit); these are keys too, and `values` has
    routed_count, the tokens routed to the expert, which active_count and the sums are divided by:
    where it is 0, probability and mean_activation are NaN.

    Raises StoreError if the store is not complete, has no such layer, neuron or score.
    """
    root, values, languages = open_root(store)
    if isinstance(neuron, tuple):
        neuron = experts.find_neuron(store.path, store.attrs, root.sizes["neuron"], neuron)
    for dim, at in (("layer", layer), ("neuron", neuron)):
        if not 0 <= at < root.sizes[dim]:
            raise StoreError(
                f"{store.path} has no {dim} {at}; there are 0 to {root.sizes[dim] - 1:,}"
            )
    if score is None and store.names("scores"):
        score = "vape"
    about: dict[str, Any] = {
        "store": store.path,
        "model": store.attrs.get("model"),
        "denominator": store.attrs.get("denominator", "tokens"),
        "layer": layer,
        "neuron": neuron,
        **experts.columns(store.attrs, root.sizes["neuron"], neuron),
        "score": score,
        "values": _of_values(store, root, values, languages, layer, neuron),
    }
    if score is not None:
        about["languages"], selected = _of_languages(store, score, layer, neuron)
        about["values"] = about["values"].merge(selected, on=["language", "value"], how="left")
    return about


def _of_values(
    store: Store,
    root: xr.Dataset,
    values: Sequence[str],
    languages: Sequence[str],
    layer: int,
    neuron: int,
) -> pd.DataFrame:
    """Counts of one neuron by language and value, and over all languages."""
    with reading(store, "statistics"):
        recorded = [name for name in recorded_names(store.attrs) if name in root]
        laws = {name: read_law(name, root[name].attrs) for name in recorded}
    further = [name for name in laws if name not in DEFAULT]
    counts = ("token_count", experts.ROUTED, "active_count", "activation_sum")
    names = [*(name for name in counts if name in root), *further]
    with reading(store, "active_count, token_count or another statistic"):
        cells = root[names].isel(layer=layer, neuron=neuron)
        if experts.ROUTED in names:
            cells = cells.isel(routed_expert=int(cells.expert))
        cells = cells.load().transpose("language", "value")
    table = pd.DataFrame(
        {
            "language": np.repeat(np.array([*languages, POOLED], dtype=object), len(values)),
            "value": np.tile(np.array(values, dtype=object), len(languages) + 1),
        }
    )
    for name in names:
        count_GV, law = cells[name].values, laws.get(name, Law(combine="sum"))
        table[name] = np.concatenate([count_GV, law.pool(count_GV, axis=0)[None]]).reshape(-1)
    given = table[experts.ROUTED if experts.ROUTED in names else "token_count"].to_numpy()
    others = {name: table.pop(name).replace(-np.inf, np.nan) for name in further}
    table["probability"] = experts.share(table.active_count.to_numpy(), given)
    if "activation_sum" in names:
        table["mean_activation"] = experts.share(table.pop("activation_sum").to_numpy(), given)
    return table.assign(**others)


def _of_languages(
    store: Store, score: str, layer: int, neuron: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Entropy and rank by language; and whether selected by language and value."""
    scores, values, languages = open_scores(store, score)
    with reading(store, "entropy, passed_filter or selected"):
        ranked = scores[["entropy", "passed_filter"]].load()
        selected = scores.selected.isel(layer=layer, neuron=neuron).load()
    rows = []
    for g, language in enumerate(languages):
        entropy_LN, passed_LN = (
            ranked[name].isel(language=g).transpose("layer", "neuron").values
            for name in ("entropy", "passed_filter")
        )
        rows.append(
            {
                "language": language,
                "entropy": float(entropy_LN[layer, neuron]),
                "passed_filter": bool(passed_LN[layer, neuron]),
                "rank": rank(entropy_LN, passed_LN, (layer, neuron)),
                "ranked_count": int(passed_LN.sum()),
            }
        )
    ranks = pd.Series([row["rank"] for row in rows], dtype=object)  # or None makes floats of them
    table = pd.DataFrame(rows).assign(rank=ranks)
    is_selected = pd.DataFrame(
        {
            "language": np.repeat(np.array(languages, dtype=object), len(values)),
            "value": np.tile(np.array(values, dtype=object), len(languages)),
            "selected": selected.transpose("language", "value").values.reshape(-1),
        }
    )
    return table, is_selected


def rank(entropy_LN: Floats, passed_LN: NDArray[np.bool_], at: tuple[int, int]) -> int | None:
    """Place among those that passed, from 1; ties by layer and neuron. None if it did not pass."""
    if not passed_LN[at]:
        return None
    before = int(np.ravel_multi_index(at, passed_LN.shape))
    is_lower_LN = passed_LN & (entropy_LN < entropy_LN[at])
    is_equal_LN = passed_LN & (entropy_LN == entropy_LN[at])
    return 1 + int(is_lower_LN.sum()) + int(is_equal_LN.reshape(-1)[:before].sum())
