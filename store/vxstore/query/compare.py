"""Two selections side by side: which neurons they share, and how similarly they rank them.

L: layer, N: neuron, V: value (1 long where all values share one ranking), G: language.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vxstore.claims import selected_with_claim
from vxstore.declared import SELECTED
from vxstore.errors import StoreError
from vxstore.query import bounds
from vxstore.query.lookup import Score, open_score
from vxstore.query.ranking import Bools, Floats, layer_blocks, numbers, selections, took_part
from vxstore.read import Store
from vxstore.schema import POOLED

PAIR_BYTES = 2 * (8 + 3)
"""What two sides hold of a neuron, for one value and language: a number, and three of bool."""


@dataclass(frozen=True, kw_only=True)
class _Side:
    """What is compared of one score, over the values and languages that both have.

    `key_GVLN` is lowest for the neuron ranked first. `claimed_GVLN`: selected, with a claim; None
    if the score is not tested.
    """

    key_GVLN: Floats
    ranked_GVLN: Bools
    selected_GVLN: Bools
    claimed_GVLN: Bools | None


def compare(
    store_a: Store, store_b: Store, *, score: str | None = None, score_b: str | None = None
) -> dict[str, Any]:
    """Overlap of the selections of two stores of one model, and how similarly they rank neurons.

    The two may be one store with two scores. `score_b` None is `score`; both None is each store's
    `vxstore.query.default_score`. Keys: store_a, score_a, ranked_by_a, store_b, score_b,
    ranked_by_b, only_a and only_b (labels the other lacks, by `value` and `language`; they are
    left out) and two tables over what both have. `selection`: language, value, count_a, count_b,
    count_both, jaccard (both / either; NaN if neither selects any) and, of the scores that are
    tested, claimed_a, claimed_b and claimed_both: how many of these have a claim (level 1 or above)
    for the value. `ranking`: language, value (if
    either score ranks by value), alive_count (neurons with a finite number in both), alive_spearman
    (rank correlation of the two orders, whatever the direction of the numbers; NaN where these do
    not differ), passed_count and passed_spearman (the same of those that took part in both
    rankings). `pooled` is compared only if both were recorded in the same languages.

    Raises StoreError if a store is not complete or has no such score, if they are of different
    models or nothing says that they are of one, or have no value or no language in common.
    """
    _refuse_other_model(store_a, store_b)
    a = open_score(store_a, score)
    b = open_score(store_b, score if score_b is None else score_b)
    _refuse_other_shape(a, b)
    values = _common(a, b, "value", a.values, b.values)
    languages = _common(a, b, "language", _recorded(a), _recorded(b))
    if set(a.languages) == set(b.languages) and POOLED in a.languages:
        languages.append(POOLED)
    selection, agreement = _compare(a, b, values, languages)
    return {
        "store_a": store_a.path,
        "score_a": a.name,
        "ranked_by_a": a.ranking.array,
        "store_b": store_b.path,
        "score_b": b.name,
        "ranked_by_b": b.ranking.array,
        "only_a": _only(a, b),
        "only_b": _only(b, a),
        "selection": pd.DataFrame(selection),
        "ranking": pd.DataFrame(agreement),
    }


def _compare(
    a: Score, b: Score, values: Sequence[str], languages: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the two tables, made of as many values of one language at a time as memory may hold:
    a rank correlation needs all neurons at once.
    """
    by_value = a.ranking.by_value or b.ranking.by_value
    neurons = a.data.sizes["layer"] * a.data.sizes["neuron"]
    bounds.require_memory(a.store.path, "comparing", PAIR_BYTES * neurons, "compare with xarray")
    step = max(1, bounds.MOST_BYTES // max(1, PAIR_BYTES * neurons))
    selection: list[dict[str, Any]] = []
    agreement: list[dict[str, Any]] = []
    for language in languages:
        for first in range(0, len(values), step):
            some = values[first : first + step]
            side_a, side_b = (_read(score, some, [language]) for score in (a, b))
            selection += _overlap(side_a, side_b, some, [language])
            if by_value or first == 0:
                agreement += _agreement(side_a, side_b, some, [language], by_value=by_value)
    return selection, agreement


def _refuse_other_model(a: Store, b: Store) -> None:
    if os.path.realpath(a.path) == os.path.realpath(b.path):
        return
    prints = [store.attrs.get("model_fingerprint") for store in (a, b)]
    for store, fingerprint in zip((a, b), prints, strict=True):
        if not fingerprint:
            raise StoreError(
                f"{store.path} has no model_fingerprint, so nothing says that {a.path} and "
                f"{b.path} are of one model; only such stores can be compared"
            )
    if prints[0] != prints[1]:
        models = [store.attrs.get("model") for store in (a, b)]
        raise StoreError(
            f"{a.path} is of model {models[0]} and {b.path} of {models[1]} (model_fingerprint "
            f"{str(prints[0])[:12]} and {str(prints[1])[:12]}); only stores of one model can be "
            "compared"
        )


def _refuse_other_shape(a: Score, b: Score) -> None:
    shapes = [
        f"{side.data.sizes['layer']:,} layers x {side.data.sizes['neuron']:,} neurons"
        for side in (a, b)
    ]
    if shapes[0] != shapes[1]:
        raise StoreError(
            f"{a.store.path} has {shapes[0]} and {b.store.path} {shapes[1]}; only stores of one "
            "model can be compared"
        )


def _recorded(score: Score) -> list[str]:
    return [name for name in score.languages if name != POOLED]


def _common(
    a: Score, b: Score, kind: str, names_a: Sequence[str], names_b: Sequence[str]
) -> list[str]:
    """Labels of both, in the order of the first."""
    common = [name for name in names_a if name in names_b]
    if not common:
        raise StoreError(
            f"{a.store.path} and {b.store.path} have no {kind} in common: {', '.join(names_a)} "
            f"against {', '.join(names_b)}"
        )
    return common


def _only(score: Score, other: Score) -> dict[str, list[str]]:
    return {
        "value": [name for name in score.values if name not in other.values],
        "language": [name for name in score.languages if name not in other.languages],
    }


def _read(score: Score, values: Sequence[str], languages: Sequence[str]) -> _Side:
    ranking = score.ranking
    claims = score.claims
    among = [] if ranking.among is None else [ranking.among]
    names = list(dict.fromkeys([ranking.array, *among, *claims.arrays, SELECTED]))
    value_V = [score.values.index(name) for name in values]
    language_G = [score.languages.index(name) for name in languages]
    blocks = [
        block.isel(value=value_V, language=language_G) for _, block in layer_blocks(score, *names)
    ]
    claimed = [selected_with_claim(b, claims) for b in blocks]
    return _Side(
        key_GVLN=ranking.sign * np.concatenate([numbers(b, ranking) for b in blocks], axis=2),
        ranked_GVLN=np.concatenate([took_part(b, ranking) for b in blocks], axis=2),
        selected_GVLN=np.concatenate([selections(b) for b in blocks], axis=2),
        claimed_GVLN=np.concatenate(claimed, axis=2) if claims.claims else None,
    )


def _overlap(
    a: _Side, b: _Side, values: Sequence[str], languages: Sequence[str]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for g, language in enumerate(languages):
        for v, value in enumerate(values):
            a_LN, b_LN = a.selected_GVLN[g, v], b.selected_GVLN[g, v]
            count = _count(a_LN, b_LN)
            either = int((a_LN | b_LN).sum())
            rows.append(
                {
                    "language": language,
                    "value": value,
                    **{f"count_{side}": number for side, number in count.items()},
                    "jaccard": count["both"] / either if either else float("nan"),
                }
            )
            claimed = [side.claimed_GVLN for side in (a, b)]
            of_cell = [None if of is None else of[g, v] for of in claimed]
            rows[-1] |= {f"claimed_{side}": number for side, number in _count(*of_cell).items()}
    return rows


def _count(a_LN: Bools | None, b_LN: Bools | None) -> dict[str, int]:
    """How many of a, of b and of both; without what is not known."""
    both_LN = None if a_LN is None or b_LN is None else a_LN & b_LN
    known = {"a": a_LN, "b": b_LN, "both": both_LN}
    return {side: int(of_LN.sum()) for side, of_LN in known.items() if of_LN is not None}


def _agreement(
    a: _Side, b: _Side, values: Sequence[str], languages: Sequence[str], *, by_value: bool
) -> list[dict[str, Any]]:
    """Rank correlations of each language; of each value too, if either score ranks by value."""
    rows = []
    for g, language in enumerate(languages):
        for v, value in enumerate(values if by_value else values[:1]):
            key_a_LN, key_b_LN = _ranking(a.key_GVLN[g], v), _ranking(b.key_GVLN[g], v)
            alive_LN = np.isfinite(key_a_LN) & np.isfinite(key_b_LN)
            passed_LN = _ranking(a.ranked_GVLN[g], v) & _ranking(b.ranked_GVLN[g], v)
            rows.append(
                {
                    "language": language,
                    **({"value": value} if by_value else {}),
                    "alive_count": int(alive_LN.sum()),
                    "alive_spearman": spearman(key_a_LN[alive_LN], key_b_LN[alive_LN]),
                    "passed_count": int(passed_LN.sum()),
                    "passed_spearman": spearman(key_a_LN[passed_LN], key_b_LN[passed_LN]),
                }
            )
    return rows


def _ranking(of_value_VLN: NDArray[Any], v: int) -> NDArray[Any]:
    """The ranking of one value, which may be that of all."""
    return np.asarray(of_value_VLN[v if len(of_value_VLN) > 1 else 0])


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Rank correlation, ties sharing their mean rank; NaN if either side does not differ."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    rank_x, rank_y = (pd.Series(side).rank().to_numpy() for side in (x, y))
    return float(np.corrcoef(rank_x, rank_y)[0, 1])
