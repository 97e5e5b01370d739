"""One neuron in a score: its numbers, its ranks, and whether it is selected.

L: layer, N: neuron, V: value (1 long where all values share one ranking), G: language.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from vxstore.declared import SELECTED, Ranking, require_labels
from vxstore.query.lookup import Score, reading
from vxstore.query.ranking import (
    Bools,
    Floats,
    column,
    layer_blocks,
    numbers,
    selections,
    took_part,
)


@dataclass(frozen=True, kw_only=True)
class _Standing:
    """One neuron in every ranking of a score; `among_G` None if the score names no array."""

    number_GV: Floats
    took_part_GV: Bools
    among_G: Bools | None
    selected_GV: Bools
    ahead_GV: NDArray[np.int64]
    ranked_GV: NDArray[np.int64]


def rank_tables(score: Score, root: xr.Dataset, about: dict[str, Any]) -> dict[str, Any]:
    """What a score adds to `about`, the counts of one neuron, as `query.neuron` says.

    Raises StoreError if the score is damaged, or not one of the counts in `root`.
    """
    with reading(score.store, f"scores/{score.name}"):
        require_labels(score.data, root)
    ranking = score.ranking
    standing = _find_standing(score, ranking, about["layer"], about["neuron"])
    found = list(_rows(score, ranking, standing))
    rows = pd.DataFrame(found)
    for name in ("rank", "ranked_count"):  # objects: None would make floats of whole numbers
        rows[name] = pd.Series([row[name] for row in found], dtype=object)
    values = about["values"].merge(_selected(score, standing), on=["language", "value"], how="left")
    added = {"ranked_by": ranking.array, "ascending": ranking.ascending}
    if ranking.by_value:
        return added | {"values": values.merge(rows, on=["language", "value"], how="left")}
    return added | {"values": values, "languages": rows}


def _find_standing(score: Score, ranking: Ranking, layer: int, neuron: int) -> _Standing:
    names = [ranking.array, *([] if ranking.among is None else [ranking.among])]
    with reading(score.store, f"{', '.join(names)} or {SELECTED}"):
        cell = score.data[[*names, SELECTED]].isel(layer=[layer], neuron=[neuron]).load()
    number_GV = numbers(cell, ranking)[..., 0, 0]
    ahead_GV, ranked_GV = (np.zeros(number_GV.shape, dtype=np.int64) for _ in range(2))
    for first, block in layer_blocks(score, *names):
        ranked_GVLN = took_part(block, ranking)
        key_GVLN = ranking.sign * numbers(block, ranking)
        before = (layer - first) * score.data.sizes["neuron"] + neuron
        ahead_GV += count_ahead(key_GVLN, ranked_GVLN, ranking.sign * number_GV, before)
        ranked_GV += ranked_GVLN.sum(axis=(-2, -1))
    among = None if ranking.among is None else cell[ranking.among]
    return _Standing(
        number_GV=number_GV,
        took_part_GV=took_part(cell, ranking)[..., 0, 0],
        among_G=None if among is None else among.transpose("language", ...).values[:, 0, 0],
        selected_GV=selections(cell)[..., 0, 0],
        ahead_GV=ahead_GV,
        ranked_GV=ranked_GV,
    )


def count_ahead(key: Floats, ranked: Bools, mine: Floats, before: int) -> NDArray[np.int64]:
    """Ranked neurons of (..., layer, neuron) whose key is below `mine` (...), ties by position.

    Those with the same key are ahead if their position, layer by layer, is less than `before`.
    """
    flat_key = key.reshape(*key.shape[:-2], -1)
    flat_ranked = ranked.reshape(*ranked.shape[:-2], -1)
    mine_1 = np.asarray(mine)[..., None]
    is_lower = flat_ranked & (flat_key < mine_1)
    is_equal = flat_ranked & (flat_key == mine_1)
    return np.asarray(is_lower.sum(-1) + is_equal[..., : max(0, before)].sum(-1))


def _rows(score: Score, ranking: Ranking, standing: _Standing) -> Iterator[dict[str, Any]]:
    """One row for each ranking: each language, and each value if it has its own."""
    for g, v in np.ndindex(*standing.number_GV.shape):
        is_ranked = bool(standing.took_part_GV[g, v])
        yield {
            "language": score.languages[g],
            **({"value": score.values[v]} if ranking.by_value else {}),
            column(ranking.array): float(standing.number_GV[g, v]),
            **_among(ranking, standing, g),
            "rank": 1 + int(standing.ahead_GV[g, v]) if is_ranked else None,
            "ranked_count": int(standing.ranked_GV[g, v]),
        }


def _among(ranking: Ranking, standing: _Standing, g: int) -> dict[str, bool]:
    if standing.among_G is None:
        return {}
    return {column(str(ranking.among)): bool(standing.among_G[g])}


def _selected(score: Score, standing: _Standing) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "language": np.repeat(np.array(score.languages, dtype=object), len(score.values)),
            "value": np.tile(np.array(score.values, dtype=object), len(score.languages)),
            "selected": standing.selected_GV.reshape(-1),
        }
    )
