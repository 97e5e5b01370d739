"""Queries of neurons: the selected ones that a score ranks first, and all that is known of one.

L: layer, N: neuron, V: value, G: language, K: one of the neurons found.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from vxstore import experts
from vxstore.declared import SELECTED, Ranking
from vxstore.errors import StoreError
from vxstore.query.lookup import Score, open_root, open_score, reading, require_known
from vxstore.query.ranking import (
    Bools,
    Floats,
    apart,
    column,
    layer_blocks,
    numbers,
    read_probabilities,
    selections,
)
from vxstore.query.ranks import rank_tables
from vxstore.read import Store
from vxstore.schema import POOLED
from vxstore.statistics import DEFAULT, Law, read_law, recorded_names


@dataclass(frozen=True, kw_only=True)
class _Candidates:
    """Selected neurons of one language, by layer and neuron; `number_K` is what ranks them."""

    layer_K: NDArray[np.int64]
    neuron_K: NDArray[np.int64]
    number_K: Floats
    member_KV: Bools


def top(
    store: Store,
    *,
    value: str | None = None,
    language: str | None = None,
    k: int = 10,
    score: str | None = None,
) -> pd.DataFrame:
    """The `k` selected neurons that the score ranks first, of each language; ties by layer, neuron.

    `language` is a recorded language or `pooled`; None is every recorded one. `score` None is
    `vxstore.query.default_score`.

    Columns: language, layer, neuron, and the number that ranks, called as its array is (entropy
    for VAPE). With `value`, only neurons that belong to it, ranked by its own number where values
    have rankings of their own, and the columns probability (active tokens / tokens of the value),
    mean_other_probability (mean over the other values; NaN if there is none) and value_count
    (values it belongs to). Without, a neuron is ranked by the best number among its values, and
    value_count and values replace the probabilities. In a store with experts, expert
    and unit follow neuron, and a probability is of the tokens routed to the expert.

    Raises StoreError if the store is not complete, or, naming the known ones, if there is no such
    score, value or language.
    """
    found = open_score(store, score)
    if value is not None:
        require_known(store, "value", value, found.values)
    if language is not None:
        require_known(store, "language", language, found.languages)
    wanted = found.recorded if language is None else [language]
    at = None if value is None else found.values.index(value)
    candidates = _candidates(found, wanted, at)
    frames = [
        _first(found, name, chosen, at, k) for name, chosen in zip(wanted, candidates, strict=True)
    ]
    return pd.concat(frames, ignore_index=True)


def _candidates(score: Score, languages: Sequence[str], at: int | None) -> list[_Candidates]:
    """Neurons selected in each language; those of the value `at`, if it is not None."""
    ranking = score.ranking
    language_G = [score.languages.index(name) for name in languages]
    pieces: list[list[_Candidates]] = [[] for _ in languages]
    for first, block in layer_blocks(score, ranking.array, SELECTED):
        chosen = block.isel(language=language_G)
        number_GVLN, selected_GVLN = numbers(chosen, ranking), selections(chosen)
        for g, found in enumerate(pieces):
            piece = _selected_in(number_GVLN[g], selected_GVLN[g], ranking, at)
            found.append(dataclasses.replace(piece, layer_K=piece.layer_K + first))
    return [_joined(found) for found in pieces]


def _selected_in(
    number_VLN: Floats, selected_VLN: Bools, ranking: Ranking, at: int | None
) -> _Candidates:
    """The candidates of some layers of one language."""
    layer_K, neuron_K = np.nonzero(selected_VLN.any(axis=0) if at is None else selected_VLN[at])
    member_KV = selected_VLN[:, layer_K, neuron_K].T
    number_KV = number_VLN[:, layer_K, neuron_K].T
    if at is None:
        number_K = _best(number_KV, member_KV, ranking)
    else:
        number_K = number_KV[:, at if ranking.by_value else 0]
    return _Candidates(layer_K=layer_K, neuron_K=neuron_K, number_K=number_K, member_KV=member_KV)


def _joined(pieces: Sequence[_Candidates]) -> _Candidates:
    names = [field.name for field in dataclasses.fields(_Candidates)]
    return _Candidates(**{n: np.concatenate([getattr(p, n) for p in pieces]) for n in names})


def _best(number_KV: Floats, member_KV: Bools, ranking: Ranking) -> Floats:
    """Of the values that each neuron belongs to, the number that ranks it best."""
    key_KV = np.where(member_KV, ranking.sign * number_KV, np.inf)
    return ranking.sign * np.asarray(np.fmin.reduce(key_KV, axis=1))


def _first(score: Score, language: str, found: _Candidates, at: int | None, k: int) -> pd.DataFrame:
    """`top` of one language."""
    ranking = score.ranking
    order_K = np.argsort(ranking.sign * found.number_K, kind="stable")[:k]
    layer_K, neuron_K = found.layer_K[order_K], found.neuron_K[order_K]
    member_KV = found.member_KV[order_K]
    table = pd.DataFrame(
        {
            "language": np.full(len(layer_K), language, dtype=object),
            "layer": layer_K,
            "neuron": neuron_K,
            **experts.columns(score.store.attrs, score.data.sizes["neuron"], neuron_K),
            column(ranking.array): found.number_K[order_K],
        }
    )
    if at is not None:
        language_K = np.zeros_like(layer_K)
        probability_KV = read_probabilities(score, [language], language_K, layer_K, neuron_K)
        table["probability"], table["mean_other_probability"] = apart(
            probability_KV, np.full(len(layer_K), at)
        )
    table["value_count"] = member_KV.sum(axis=-1)
    if at is None:
        table["values"] = pd.Series(
            [list(itertools.compress(score.values, member_V)) for member_V in member_KV],
            dtype=object,
        )
    return table


def neuron(
    store: Store, layer: int, neuron: int | tuple[int, int], *, score: str | None = None
) -> dict[str, Any]:
    """All that the store knows of one neuron.

    Keys: store, model, denominator (what token_count counts; imported counts may be by
    questions), layer, neuron, score (None if the store has none) and `values`, a table of
    language (`pooled` last), value, token_count, active_count, probability (active tokens /
    tokens), mean_activation (over all tokens; absent if no sums are recorded) and the statistics
    recorded beside the default ones (a maximum over no tokens is NaN).

    With a score, also ranked_by, ascending, and in `values` whether the neuron is selected. Where
    the score ranks once per language, `languages` is a table of language, the number that ranks
    (called as its array is), the array of neurons that took part (as passed_filter; if any), rank
    (1 is the neuron ranked first of those that took part, ties by layer and neuron; None if it
    did not take part) and ranked_count (how many took part). Where each value has its own
    ranking, these columns are in `values`. A score without `pooled` leaves its rows empty. `score`
    None is `vxstore.query.default_score`, if the store has any.

    In a store with experts `neuron` may be (expert, unit); these are keys too, and `values` has
    routed_count, the tokens routed to the expert, by which active_count and the sums are divided:
    where it is 0, probability and mean_activation are NaN.

    Raises StoreError if the store is not complete, has no such layer, neuron or score.
    """
    root, values, languages = open_root(store)
    neuron = _find_neuron(store, root, layer, neuron)
    found = open_score(store, score) if score is not None or store.names("scores") else None
    about: dict[str, Any] = {
        "store": store.path,
        "model": store.attrs.get("model"),
        "denominator": store.attrs.get("denominator", "tokens"),
        "layer": layer,
        "neuron": neuron,
        **experts.columns(store.attrs, root.sizes["neuron"], neuron),
        "score": None if found is None else found.name,
        "values": _count_table(store, root, values, languages, layer, neuron),
    }
    return about if found is None else about | rank_tables(found, root, about)


def _find_neuron(store: Store, root: xr.Dataset, layer: int, neuron: int | tuple[int, int]) -> int:
    """The number of a neuron in its layer. Raises StoreError if there is none such."""
    if isinstance(neuron, tuple):
        neuron = experts.find_neuron(store.path, store.attrs, root.sizes["neuron"], neuron)
    for dim, at in (("layer", layer), ("neuron", neuron)):
        if not 0 <= at < root.sizes[dim]:
            raise StoreError(
                f"{store.path} has no {dim} {at}; there are 0 to {root.sizes[dim] - 1:,}"
            )
    return neuron


def _count_table(
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
