"""A score, read from the store: how it ranks neurons, and which it selected.

L: layer, V: value, G: language, N: neuron, K: one neuron selected for one value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from vxdist.report.selection import Integers, Selection
from vxdist.report.text import digits_for
from vxstore.experts import ROUTED
from vxstore.query import selected_rows
from vxstore.read import Store
from vxstore.schema import POOLED

VAPE = "vape"
"""The selector of scores that name none: those of earlier versions."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The array that ranks neurons, and whether the lowest number ranks first.

    `among` is the array that says which neurons were ranked; None if all that have a number were.
    """

    array: str
    long_name: str
    units: str
    ascending: bool
    among: str | None

    @property
    def title(self) -> str:
        """The name of the array, in words."""
        return self.array.replace("_", " ")

    @property
    def first(self) -> str:
        """Which numbers rank first."""
        return "lowest" if self.ascending else "highest"


@dataclass(frozen=True, kw_only=True)
class Score:
    """A score of the store: how it ranks neurons, and what it selected."""

    name: str
    selector: str
    settings: Mapping[str, Any]
    ranking: Ranking
    selections: tuple[Selection, ...]

    @property
    def by_language(self) -> tuple[Selection, ...]:
        """The selections without the pooled one, unless there is no other."""
        return tuple(s for s in self.selections if s.language != POOLED) or self.selections

    @property
    def digits(self) -> int:
        """Decimals that show about five significant figures of the numbers that rank."""
        numbers = np.concatenate([np.abs(s.number_K) for s in self.selections])
        known = numbers[np.isfinite(numbers)]
        return digits_for(float(known.max(initial=0.0))) + 3


def read_score(store: Store, name: str, root: xr.Dataset, values: Sequence[str]) -> Score:
    """A score and its selections; `root` holds the counts, `values` name V.

    With one language, what is pooled is the same and left out. Raises StoreError if there is no
    such score, or it is damaged.
    """
    scores = store.scores(name)
    ranking = _find_ranking(scores)
    languages = [str(label) for label in scores["language"].values]
    if root.sizes["language"] == 1:
        languages = [language for language in languages if language != POOLED] or languages
    rows = selected_rows(store, languages=languages, score=name)
    counts = _count_neurons(scores, ranking)
    selections = []
    for language in languages:
        found = _select(rows[rows["language"] == language], language, scores, root, values)
        ranked, unscored = counts[language]
        selections.append(
            Selection(
                **found,
                language=language,
                ascending=ranking.ascending,
                ranked_count=ranked,
                unscored_count=unscored,
            )
        )
    return Score(
        name=name,
        selector=str(scores.attrs.get("selector", VAPE)),
        settings=dict(scores.attrs.get("settings", {})),
        ranking=ranking,
        selections=tuple(selections),
    )


def _find_ranking(scores: xr.Dataset) -> Ranking:
    array = str(scores.attrs.get("ranked_by", "entropy"))
    attrs = scores[array].attrs
    filtered = "passed_filter" if "passed_filter" in scores else None
    return Ranking(
        array=array,
        long_name=str(attrs.get("long_name", array)),
        units=str(attrs.get("units", "1")),
        ascending=bool(scores.attrs.get("ascending", True)),
        among=scores.attrs.get("ranked_among", filtered),
    )


def _count_neurons(scores: xr.Dataset, ranking: Ranking) -> dict[str, tuple[int, int]]:
    """By language, the neurons that were ranked, and those that have no number.

    Where each value has a ranking of its own, a neuron counts if it is in any of them.
    """
    names = [ranking.array] if ranking.among is None else [ranking.array, ranking.among]
    counts_2G = np.zeros((2, scores.sizes["language"]), dtype=np.int64)
    for layer in range(scores.sizes["layer"]):  # one at a time: all numbers are too many
        block = scores[names].isel(layer=layer).load()
        number = block[ranking.array].transpose("language", "neuron", ...).values
        known_GN = np.isfinite(number.reshape(*number.shape[:2], -1)).any(axis=-1)
        ranked_GN = known_GN
        if ranking.among is not None:
            ranked_GN = known_GN & block[ranking.among].transpose("language", "neuron").values
        counts_2G += [ranked_GN.sum(axis=-1), (~known_GN).sum(axis=-1)]
    languages = [str(label) for label in scores["language"].values]
    return {g: (int(ranked), int(no)) for g, ranked, no in zip(languages, *counts_2G, strict=True)}


def _select(
    rows: pd.DataFrame, language: str, scores: xr.Dataset, root: xr.Dataset, values: Sequence[str]
) -> dict[str, Any]:
    """Fields of `Selection` from the selected rows of one language.

    The number that ranks is in the last column but two, whatever its name.
    """
    layer_K, neuron_K = (rows[name].to_numpy(np.int64) for name in ("layer", "neuron"))
    labels = [values.index(str(value)) for value in rows["value"].cat.categories]
    units = root.sizes["neuron"] // root.sizes["routed_expert"] if ROUTED in root else 0
    return {
        "num_layers": root.sizes["layer"],
        "num_values": len(values),
        "layer_K": layer_K,
        "neuron_K": neuron_K,
        "value_K": np.array(labels, dtype=np.int64)[rows["value"].cat.codes],
        "number_K": rows.iloc[:, -3].to_numpy(np.float64),
        "probability_K": rows["probability"].to_numpy(np.float64),
        "others_K": rows["mean_other_probability"].to_numpy(np.float64),
        "thresholds": dict(scores.attrs.get("thresholds", {}).get(language, {})),
        "units": units,
        "fewest_routed_K": _fewest_routed(root, language, layer_K, neuron_K) if units else None,
    }


def _fewest_routed(
    root: xr.Dataset, language: str, layer_K: Integers, neuron_K: Integers
) -> Integers:
    """Of each neuron's expert, the tokens routed to it of the value that it saw least of."""
    routed = root[ROUTED]
    routed = routed.sum("language") if language == POOLED else routed.sel(language=language)
    fewest_LE = routed.min("value").transpose("layer", "routed_expert").values
    expert_K = neuron_K // (root.sizes["neuron"] // root.sizes["routed_expert"])
    return np.asarray(fewest_LE[layer_K, expert_K], dtype=np.int64)
