"""Two selections beside each other: which neurons they share, and how alike they rank them.

L: layer, N: neuron, V: value, G: language.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from vxstore.errors import StoreError
from vxstore.query.lookup import open_scores, reading, recorded
from vxstore.read import Store
from vxstore.schema import POOLED

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class _Side:
    """What is compared of one store, over the values and languages that both have."""

    entropy_GLN: NDArray[np.float64]
    passed_GLN: Bools
    selected_GVLN: Bools


def compare(
    store_a: Store, store_b: Store, *, score: str = "vape", score_b: str | None = None
) -> dict[str, Any]:
    """Overlap of the selections of two stores of one model, and how alike they rank neurons.

    The two may be one store with two scores; `score_b` None is `score`. Keys: store_a, score_a,
    store_b, score_b, only_a and only_b (labels the other lacks, by `value` and `language`; they
    are left out) and two tables over what both have. `selection`: language, value, count_a,
    count_b, count_both, jaccard (both / either; NaN if neither selects any). `entropy`:
    language, alive_count (neurons alive in both), alive_spearman (rank correlation of their
    entropies), passed_count and passed_spearman (the same of those that passed the filter in
    both); NaN where the entropies do not differ. `pooled` is told if both were recorded in the
    same languages: it means something else otherwise.

    Raises StoreError if a store is not complete or has no such score, if they are of different
    models or nothing says that they are of one, or have no value or no language in common.
    """
    score_b = score if score_b is None else score_b
    _refuse_other_model(store_a, store_b)
    a, values_a, languages_a = open_scores(store_a, score)
    b, values_b, languages_b = open_scores(store_b, score_b)
    _refuse_other_shape(store_a, a, store_b, b)
    values = _common(store_a, store_b, "value", values_a, values_b)
    languages = _common(store_a, store_b, "language", recorded(languages_a), recorded(languages_b))
    if set(languages_a) == set(languages_b) and POOLED in languages_a:
        languages.append(POOLED)
    side_a, side_b = (
        _read(store, scores, values, languages) for store, scores in ((store_a, a), (store_b, b))
    )
    return {
        "store_a": store_a.path,
        "score_a": score,
        "store_b": store_b.path,
        "score_b": score_b,
        "only_a": _only(values_a, languages_a, values_b, languages_b),
        "only_b": _only(values_b, languages_b, values_a, languages_a),
        "selection": _overlap(side_a.selected_GVLN, side_b.selected_GVLN, values, languages),
        "entropy": pd.DataFrame(
            {"language": name, **_agreement(side_a, side_b, g)} for g, name in enumerate(languages)
        ),
    }


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


def _refuse_other_shape(store_a: Store, a: xr.Dataset, store_b: Store, b: xr.Dataset) -> None:
    shapes = [f"{of.sizes['layer']:,} layers x {of.sizes['neuron']:,} neurons" for of in (a, b)]
    if shapes[0] != shapes[1]:
        raise StoreError(
            f"{store_a.path} has {shapes[0]} and {store_b.path} {shapes[1]}; only stores of one "
            "model can be compared"
        )


def _common(a: Store, b: Store, kind: str, of_a: Sequence[str], of_b: Sequence[str]) -> list[str]:
    """Labels of both, in the order of the first."""
    common = [name for name in of_a if name in of_b]
    if not common:
        raise StoreError(
            f"{a.path} and {b.path} have no {kind} in common: {', '.join(of_a)} against "
            f"{', '.join(of_b)}"
        )
    return common


def _only(
    values: Sequence[str],
    languages: Sequence[str],
    other_values: Sequence[str],
    other_languages: Sequence[str],
) -> dict[str, list[str]]:
    return {
        "value": [name for name in values if name not in other_values],
        "language": [name for name in languages if name not in other_languages],
    }


def _read(
    store: Store, scores: xr.Dataset, values: Sequence[str], languages: Sequence[str]
) -> _Side:
    with reading(store, "entropy, passed_filter or selected"):
        read = scores[["entropy", "passed_filter", "selected"]].load()
    read = read.sel(value=list(values), language=list(languages))
    dims = ("language", "layer", "neuron")
    return _Side(
        entropy_GLN=read.entropy.transpose(*dims).values,
        passed_GLN=read.passed_filter.transpose(*dims).values,
        selected_GVLN=read.selected.transpose("language", "value", "layer", "neuron").values,
    )


def _overlap(
    a_GVLN: Bools, b_GVLN: Bools, values: Sequence[str], languages: Sequence[str]
) -> pd.DataFrame:
    rows = []
    for g, language in enumerate(languages):
        for v, value in enumerate(values):
            a_LN, b_LN = a_GVLN[g, v], b_GVLN[g, v]
            both, either = int((a_LN & b_LN).sum()), int((a_LN | b_LN).sum())
            rows.append(
                {
                    "language": language,
                    "value": value,
                    "count_a": int(a_LN.sum()),
                    "count_b": int(b_LN.sum()),
                    "count_both": both,
                    "jaccard": both / either if either else float("nan"),
                }
            )
    return pd.DataFrame(rows)


def _agreement(a: _Side, b: _Side, g: int) -> dict[str, float]:
    """Rank correlations of one language."""
    entropy_a_LN, entropy_b_LN = a.entropy_GLN[g], b.entropy_GLN[g]
    told: dict[str, float] = {}
    alive_LN = ~np.isnan(entropy_a_LN) & ~np.isnan(entropy_b_LN)
    for name, among_LN in (
        ("alive", alive_LN),
        ("passed", alive_LN & a.passed_GLN[g] & b.passed_GLN[g]),
    ):
        told[f"{name}_count"] = int(among_LN.sum())
        told[f"{name}_spearman"] = spearman(entropy_a_LN[among_LN], entropy_b_LN[among_LN])
    return told


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Rank correlation, ties sharing their mean rank; NaN if either side does not differ."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    rank_x, rank_y = (pd.Series(side).rank().to_numpy() for side in (x, y))
    return float(np.corrcoef(rank_x, rank_y)[0, 1])
