"""The neurons that a score ranks first: of those it selects, or of those that have a claim.

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
from vxstore.claims import LISTED, ORDER, Claim, Claims, find_levels, has_claim
from vxstore.declared import SELECTED, Ranking
from vxstore.query.candidates import Candidates, joined
from vxstore.query.claimed import T_VALUE, level_columns, require_claim
from vxstore.query.lookup import Score, open_score, require_known
from vxstore.query.ranking import (
    Bools,
    Floats,
    apart,
    column,
    layer_blocks,
    numbers,
    read_probabilities,
    selections,
    took_part,
)
from vxstore.read import Store


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What `top` was asked for: a value's position, a claim, or neither."""

    at: int | None
    claim: Claim | None
    claims: Claims
    ranking: Ranking
    shown: list[str]

    @property
    def arrays(self) -> list[str]:
        """The arrays to read."""
        ranking = self.ranking
        among = [] if self.claim is None or ranking.among is None else [ranking.among]
        names = [ranking.array, *among, *self.shown, *self.claims.arrays, SELECTED]
        return list(dict.fromkeys(names))


def top(
    store: Store,
    *,
    value: str | None = None,
    language: str | None = None,
    k: int = 10,
    score: str | None = None,
    level: int = LISTED,
) -> pd.DataFrame:
    """The `k` selected neurons that the score ranks first, of each language; ties by layer, neuron.

    `language` is a recorded language or `pooled`; None is every recorded one. `score` None is
    `vxstore.query.default_score`. With `level`, the neurons that have this claim, whether or not
    they are selected: in the order of the score, or, if it does not rank them all, of their
    t_value, highest first. `attrs["ranked_by"]` of the table names the array that ranks.

    Columns: language, layer, neuron, the number that ranks, called as its array is (entropy
    for VAPE), level and claim (the highest that the neuron has, and its name; 0, `listed`, without
    any) and, if the score is tested, p_value, the q of level 1 and that of `level`, called as
    their arrays are, and with `level` t_value. With `value`, only neurons that belong to it (or
    have the claim for it), and all is of this value, with the columns probability (active tokens /
    tokens of the value), mean_other_probability (mean over the other values; NaN if there is none)
    and value_count (values it belongs to). Without, all numbers are the best among its values, and
    value_count and values replace the probabilities. In a store with experts, expert
    and unit follow neuron, and a probability is of the tokens routed to the expert.

    Raises StoreError if the store is not complete, or, naming the known ones, if there is no such
    score, value, language or level.
    """
    found = open_score(store, score)
    if value is not None:
        require_known(store, "value", value, found.values)
    if language is not None:
        require_known(store, "language", language, found.languages)
    wanted = found.recorded if language is None else [language]
    asked = _ask(found, None if value is None else found.values.index(value), level)
    candidates, all_ranked = _candidates(found, wanted, asked, k)
    by_t = T_VALUE in asked.shown and not all_ranked
    frames = [
        _first(found, name, chosen, asked, k, by_t=by_t)
        for name, chosen in zip(wanted, candidates, strict=True)
    ]
    table = pd.concat(frames, ignore_index=True)
    table.attrs["ranked_by"] = T_VALUE if by_t else asked.ranking.array
    return table


def _ask(score: Score, at: int | None, level: int) -> _Asked:
    claim = None if level == LISTED else require_claim(score, level)
    ranking, shown = score.ranking, level_columns(score, level)
    if claim is not None and score.has(T_VALUE) and ranking.array != T_VALUE:
        shown = [T_VALUE, *shown]
    return _Asked(at=at, claim=claim, claims=score.claims, ranking=ranking, shown=shown)


def _candidates(
    score: Score, languages: Sequence[str], asked: _Asked, k: int
) -> tuple[list[Candidates], bool]:
    """Of the neurons of each language, those that may be among the first `k`; and whether the score
    ranks all of them.

    Of a selection of all neurons, which no memory need hold, only these are kept from block to
    block.
    """
    language_G = [score.languages.index(name) for name in languages]
    kept: list[Candidates | None] = [None for _ in languages]
    all_ranked = True
    for first, block in layer_blocks(score, *asked.arrays):
        for n, g in enumerate(language_G):
            piece = _of_block(block.isel(language=[g]), asked)
            all_ranked &= bool(piece.ranked_K.all())
            piece = dataclasses.replace(piece, layer_K=piece.layer_K + first)
            before = kept[n]
            kept[n] = _first_of(piece if before is None else joined(before, piece), asked, k)
    return [of for of in kept if of is not None], all_ranked


def _first_of(found: Candidates, asked: _Asked, k: int) -> Candidates:
    """The first `k` by the score, and the first `k` by t, in the order that they are in."""
    keys = [
        _key(found, asked, by_t=by_t)
        for by_t in (False, True)
        if T_VALUE in asked.shown or not by_t
    ]
    first = [np.argsort(key, kind="stable")[:k] for key in keys]
    return found.take(np.unique(np.concatenate(first)))


def _key(found: Candidates, asked: _Asked, *, by_t: bool) -> Floats:
    """Lowest for the neuron that is first."""
    return -found.shown_K[T_VALUE] if by_t else asked.ranking.sign * found.number_K


def _of_block(block: xr.Dataset, asked: _Asked) -> Candidates:
    """The candidates of some layers of one language."""
    ranking, at = asked.ranking, asked.at
    claim = asked.claim
    member_GVLN = selections(block) if claim is None else has_claim(block, claim, asked.claims.fdr)
    member_VLN = member_GVLN[0]
    layer_K, neuron_K = np.nonzero(member_VLN.any(axis=0) if at is None else member_VLN[at])

    def pick(of_GVLN: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(of_GVLN[0][:, layer_K, neuron_K].T)

    member_KV = pick(member_GVLN)
    chosen_KV = member_KV if at is None else member_KV & (np.arange(member_KV.shape[1]) == at)
    ranked_KV = np.ones_like(chosen_KV) if claim is None else pick(took_part(block, ranking))
    level_KV = np.where(chosen_KV, pick(find_levels(block, asked.claims)), LISTED)
    return Candidates(
        layer_K=layer_K,
        neuron_K=neuron_K,
        member_KV=member_KV,
        number_K=_best(pick(numbers(block, ranking)), chosen_KV, ranking.sign),
        ranked_K=(chosen_KV & ranked_KV).any(axis=1),
        level_K=level_KV.max(axis=1, initial=LISTED),
        shown_K={
            name: _best(
                pick(block[name].transpose(*ORDER).values), chosen_KV, -1 if name == T_VALUE else 1
            )
            for name in asked.shown
        },
    )


def _best(number_KV: NDArray[Any], chosen_KV: Bools, sign: int) -> Floats:
    """Of the values chosen for each neuron, the number that is best: lowest if `sign` is 1."""
    key_KV = np.where(chosen_KV, sign * number_KV.astype(np.float64), np.nan)
    return sign * np.asarray(np.fmin.reduce(key_KV, axis=1))


def _first(
    score: Score, language: str, found: Candidates, asked: _Asked, k: int, *, by_t: bool
) -> pd.DataFrame:
    """`top` of one language."""
    order_K = np.argsort(_key(found, asked, by_t=by_t), kind="stable")[:k]
    layer_K, neuron_K = found.layer_K[order_K], found.neuron_K[order_K]
    level_K = found.level_K[order_K].astype(np.int64)
    table = pd.DataFrame(
        {
            "language": np.full(len(layer_K), language, dtype=object),
            "layer": layer_K,
            "neuron": neuron_K,
            **experts.columns(score.store.attrs, score.data.sizes["neuron"], layer_K, neuron_K),
            column(asked.ranking.array): found.number_K[order_K],
            "level": level_K,
            "claim": pd.Series([asked.claims.name(n) for n in level_K.tolist()], dtype=object),
            **{column(name): of_K[order_K] for name, of_K in found.shown_K.items()},
        }
    )
    return table.assign(
        **_values(score, language, found.member_KV[order_K], layer_K, neuron_K, asked)
    )


def _values(
    score: Score,
    language: str,
    member_KV: Bools,
    layer_K: NDArray[np.int64],
    neuron_K: NDArray[np.int64],
    asked: _Asked,
) -> dict[str, Any]:
    """The columns on the values that neurons belong to."""
    columns: dict[str, Any] = {}
    if asked.at is not None:
        language_K = np.zeros_like(layer_K)
        probability_KV = read_probabilities(score, [language], language_K, layer_K, neuron_K)
        columns["probability"], columns["mean_other_probability"] = apart(
            probability_KV, np.full(len(layer_K), asked.at)
        )
    columns["value_count"] = member_KV.sum(axis=-1)
    if asked.at is None:
        columns["values"] = pd.Series(
            [list(itertools.compress(score.values, member_V)) for member_V in member_KV],
            dtype=object,
        )
    return columns
