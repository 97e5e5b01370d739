"""A score, read from the store: how it ranks neurons, and which it selected.

L: layer, V: value, G: language, N: neuron, K: one neuron selected for one value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from vxdist.report.selection import Selection
from vxdist.report.text import digits_for
from vxstore.blocks import read_blocks
from vxstore.claims import Claims
from vxstore.declared import Ranking, find_selector
from vxstore.experts import ROUTED, tokens_given
from vxstore.query import open_score, selected_rows
from vxstore.query.evidence import Evidence, PairFacts, read_evidence, read_pairs
from vxstore.query.lookup import Score as OpenScore
from vxstore.query.ranking import column, layer_blocks, numbers, took_part
from vxstore.read import Store
from vxstore.schema import POOLED


@dataclass(frozen=True, kw_only=True)
class Score:
    """A score of the store: how it ranks neurons, and what it selected.

    `selector` is None if the score does not say what made it. `long_name` and `units` are those of
    the array that ranks; units are empty if it has none.
    """

    name: str
    selector: str | None
    settings: Mapping[str, Any]
    ranking: Ranking
    long_name: str
    units: str
    selections: tuple[Selection, ...]
    claims: Claims
    evidence: tuple[Evidence, ...]
    """What tests of the selections found, in the same order."""
    pairs: tuple[PairFacts, ...]

    @property
    def title(self) -> str:
        """The name of the array that ranks, in words."""
        return self.ranking.array.replace("_", " ")

    @property
    def by_language(self) -> tuple[Selection, ...]:
        """The selections without the pooled one, unless there is no other."""
        return tuple(s for s in self.selections if s.language != POOLED) or self.selections

    @property
    def digits(self) -> int:
        """Decimals that show about five significant figures of the numbers that rank."""
        all_numbers = np.concatenate([np.abs(s.number_K) for s in self.selections])
        known = all_numbers[np.isfinite(all_numbers)]
        return digits_for(float(known.max(initial=0.0))) + 3


def read_score(store: Store, name: str, root: xr.Dataset, values: Sequence[str]) -> Score:
    """A score and its selections; `root` holds the counts, `values` name V.

    With one language, what is pooled is the same and left out. Raises StoreError if there is no
    such score, or it is damaged.
    """
    found = open_score(store, name)
    ranking, attrs = found.ranking, found.data.attrs
    languages = found.recorded if root.sizes["language"] == 1 else found.languages
    rows = selected_rows(store, languages=languages, score=name)
    ranked = _count_ranked(found)
    array, selector = found.data[ranking.array].attrs, find_selector(attrs)
    units = str(array.get("units", "1"))
    return Score(
        name=name,
        selector=None if selector is None else str(selector),
        settings=dict(attrs.get("settings", {})),
        ranking=ranking,
        long_name=str(array.get("long_name", ranking.array)),
        units="" if units == "1" else units,
        selections=tuple(
            Selection(
                **_select(rows[rows["language"] == language], ranking, root, values),
                **_find_routed(rows[rows["language"] == language], language, root),
                language=language,
                ranked_count=ranked[language][0],
                unscored_count=ranked[language][1],
                thresholds=dict(attrs.get("thresholds", {}).get(language, {})),
            )
            for language in languages
        ),
        claims=found.claims,
        evidence=tuple(of for of in read_evidence(found) if of.language in languages),
        pairs=tuple(read_pairs(found)),
    )


def _count_ranked(score: OpenScore) -> dict[str, tuple[int, int]]:
    """By language, the neurons that were ranked, and those that have no number.

    Where each value has a ranking of its own, a neuron counts if it is in any of them.
    """
    ranking = score.ranking
    names = [ranking.array] if ranking.among is None else [ranking.array, ranking.among]
    ranked_G, unscored_G = np.zeros((2, len(score.languages)), dtype=np.int64)
    blocks = read_blocks(score.store.attrs)
    for first, block in layer_blocks(score, *names):
        ranked_G += took_part(block, ranking).any(axis=1).sum(axis=(1, 2))
        unscored_G += (~np.isfinite(numbers(block, ranking)).any(axis=1)).sum(axis=(1, 2))
        if blocks is not None:  # what does not exist has no number either
            exists_LN = blocks.exists(slice(first, first + block.sizes["layer"]))
            unscored_G -= int((~exists_LN).sum())
    counts = zip(ranked_G.tolist(), unscored_G.tolist(), strict=True)
    return dict(zip(score.languages, counts, strict=True))


def _select(
    rows: pd.DataFrame, ranking: Ranking, root: xr.Dataset, values: Sequence[str]
) -> dict[str, Any]:
    """Fields of `Selection` from the selected rows of one language."""
    labels = [values.index(str(value)) for value in rows["value"].cat.categories]
    return {
        "num_layers": root.sizes["layer"],
        "num_values": len(values),
        "layer_K": rows["layer"].to_numpy(np.int64),
        "neuron_K": rows["neuron"].to_numpy(np.int64),
        "value_K": np.array(labels, dtype=np.int64)[rows["value"].cat.codes],
        "number_K": rows[column(ranking.array)].to_numpy(np.float64),
        "probability_K": rows["probability"].to_numpy(np.float64),
        "others_K": rows["mean_other_probability"].to_numpy(np.float64),
        "level_K": rows.get("level", pd.Series(0, index=rows.index)).to_numpy(np.int64),
        "ascending": ranking.ascending,
    }


def _find_routed(rows: pd.DataFrame, language: str, root: xr.Dataset) -> dict[str, Any]:
    """Fields of `Selection` that only a store with experts has."""
    blocks = read_blocks(root.attrs)
    if blocks is not None:
        return {"blocks": blocks, **_fewest_given(rows, language, root)}
    if ROUTED not in root:
        return {}
    units = root.sizes["neuron"] // root.sizes["routed_expert"]
    routed = _sum_languages(root[ROUTED], language)
    fewest_LE = routed.min("value").transpose("layer", "routed_expert").values
    fewest_K = fewest_LE[rows["layer"].to_numpy(), rows["expert"].to_numpy()]
    return {"units": units, "fewest_routed_K": fewest_K.astype(np.int64)}


def _sum_languages(counts: xr.DataArray, language: str) -> xr.DataArray:
    return counts.sum("language") if language == POOLED else counts.sel(language=language)


def _fewest_given(rows: pd.DataFrame, language: str, root: xr.Dataset) -> dict[str, Any]:
    """The fewest tokens of one value that each neuron was given, if any block is routed."""
    if ROUTED not in root:
        return {}
    languages = [str(label) for label in root["language"].values]
    layer_K, neuron_K = rows["layer"].to_numpy(), rows["neuron"].to_numpy()
    fewest_K = np.zeros(len(rows), dtype=np.int64)
    for layer in np.unique(layer_K).tolist():
        given_NVG = tokens_given(root, slice(layer, layer + 1))[0]
        pooled = language == POOLED
        given_NV = given_NVG.sum(-1) if pooled else given_NVG[..., languages.index(language)]
        fewest_K[layer_K == layer] = given_NV.min(axis=1)[neuron_K[layer_K == layer]]
    return {"fewest_routed_K": fewest_K}
