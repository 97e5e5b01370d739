"""The parts of one language, and the clusters of dilemmas that they are of.

S: part, P: cluster.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxdist.stats.clusters import Tellings

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Key = tuple[int, int]
"""A cluster: the position of its value, and its number within the value."""

STANCES = ("aligned", "violating")


@dataclass(frozen=True, kw_only=True)
class LanguageParts:
    """The parts of one language, and the clusters they are of."""

    language: str
    part_S: Integers
    tellings: Tellings
    keys: list[Key]
    length_P: Floats

    def positions(self, keys: Sequence[Key]) -> Integers:
        """Where these clusters are among those of the language."""
        return positions(self.keys, keys)

    def told_in_both(self) -> list[Key]:
        """The clusters told in both stances."""
        return [self.keys[p] for p in self.tellings.both(STANCES)]


def positions(among: Sequence[Key], keys: Sequence[Key]) -> Integers:
    """Where clusters are among others."""
    at = {key: n for n, key in enumerate(among)}
    return np.array([at[key] for key in keys], dtype=np.int64)


def read_parts(record: xr.Dataset, values: Sequence[str], language: str) -> LanguageParts:
    """The parts of a language. In a store that names no clusters, every part is its own."""
    part_S = np.flatnonzero(record.language.values == language)
    value_S = np.array([values.index(str(v)) for v in record.value.values[part_S]])
    number_S = record.cluster.values[part_S] if "cluster" in record.coords else part_S
    pairs_S = list(zip(value_S.tolist(), number_S.tolist(), strict=True))
    keys = sorted(set(pairs_S))
    at = {key: n for n, key in enumerate(keys)}
    cluster_S = np.array([at[pair] for pair in pairs_S], dtype=np.int64)
    length_S = np.log(record.token_count.values[part_S] / record.story_count.values[part_S])
    return LanguageParts(
        language=language,
        part_S=part_S,
        tellings=Tellings(cluster_S=cluster_S, stance_S=record.stance.values[part_S]),
        keys=keys,
        length_P=np.bincount(cluster_S, length_S) / np.bincount(cluster_S),
    )
