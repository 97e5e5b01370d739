"""What is compared in each language: its dilemma clusters, or why they cannot be.

S: part, P: cluster, V: value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from vxdist.errors import UserError
from vxdist.reduce.language_parts import Key, LanguageParts
from vxdist.stats.contrasts import LEAST_LABELS
from vxdist.stats.design import Design, dummies
from vxstore.schema import POOLED

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LEAST_CLUSTERS = 6
"""Clusters of each value without which no test is made."""
MOST_SETTINGS = 12
LEAST_OF_SETTING = 5
"""Clusters that a setting needs to be adjusted for."""


@dataclass(frozen=True, kw_only=True)
class TopicDesign:
    """The clusters whose setting is common, by setting and, to compare with, by value."""

    labels: list[str]
    cluster_P: Integers
    by_setting: Design
    by_value: Design


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The clusters of one language, or those that are in all of them, pooled.

    `stance_P` are the positions of those told in both stances. `untested` says why there is no test
    at all (the design is then None), `absent` why there is none of an array, by name.
    """

    language: str
    keys: list[Key]
    length_P: Floats
    design: Design | None = None
    stance_P: Integers = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    stance: Design | None = None
    topic: TopicDesign | None = None
    untested: str | None = None
    absent: Mapping[str, str] = field(default_factory=dict)

    def length_test(self) -> tuple[float, float]:
        """F and p of the log length of a telling, between values; NaN if it does not vary."""
        assert self.design is not None
        label_P = self.design.label_P
        groups = [self.length_P[label_P == v] for v in range(self.design.num_labels)]
        if np.ptp(self.length_P) < 1e-12:
            return float("nan"), float("nan")
        found = stats.f_oneway(*groups)
        return float(found.statistic), float(found.pvalue)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two languages, by position and name, and the clusters that both tell.

    `at` says where those are among the clusters of each language.
    """

    first: int
    second: int
    names: tuple[str, str]
    design: Design
    at: tuple[Integers, Integers]

    @property
    def label(self) -> str:
        """The pair's name, such as zh-en."""
        return "-".join(self.names)


def compare_clusters(
    record: xr.Dataset, parts: Sequence[LanguageParts], values: Sequence[str], adjust: Sequence[str]
) -> tuple[list[Compared], list[Pair]]:
    """What is compared in each language, and pooled over them all; and the pairs of languages.

    Raises UserError if it is to be adjusted for settings that the store does not record.
    """
    if "setting" in adjust and "setting" not in record.coords:
        raise UserError(
            "reduce.adjust: setting is not recorded, as it is where every part holds one dilemma; "
            "record with locate.parts_per_group: null, or leave it out"
        )
    labels = _Labels.read(record, values, adjust)
    languages = [labels.compare(of.language, of.keys, [of]) for of in parts]
    pairs = [
        Pair(
            first=g,
            second=h,
            names=(one.language, other.language),
            design=both.design,
            at=(one.positions(both.keys), other.positions(both.keys)),
        )
        for (g, one), (h, other) in combinations(enumerate(parts), 2)
        if (both := labels.compare(POOLED, _shared(one, other), [one, other])).design is not None
    ]
    return [*languages, labels.compare(POOLED, _shared(*parts), parts)], pairs


def _shared(*parts: LanguageParts) -> list[Key]:
    """The clusters that all languages tell."""
    return sorted(set(parts[0].keys).intersection(*(of.keys for of in parts[1:])))


@dataclass(frozen=True, kw_only=True)
class _Labels:
    """What the record says of its clusters, whatever the language."""

    values: Sequence[str]
    adjust: Sequence[str]
    named: bool
    one_stance: bool
    stratum: Mapping[Key, str]
    setting: Mapping[Key, str]

    @classmethod
    def read(cls, record: xr.Dataset, values: Sequence[str], adjust: Sequence[str]) -> "_Labels":
        named = "cluster" in record.coords
        number_S = record.cluster.values if named else np.arange(record.sizes["part"])
        value_S = [values.index(str(value)) for value in record.value.values]
        keys = list(zip(value_S, number_S.tolist(), strict=True))
        told: dict[Key, set[str]] = {}
        languages, stances = record.language.values, record.stance.values
        for key, language, stance in zip(keys, languages, stances, strict=True):
            told.setdefault(key, set()).add(f"{language}/{stance}")
        settings: dict[Key, set[str]] = {}
        if named and "setting" in record.coords:
            for key, setting in zip(keys, record.setting.values, strict=True):
                settings.setdefault(key, set()).add(str(setting))
        return cls(
            values=values,
            adjust=adjust,
            named=named,
            one_stance=len({str(stance) for stance in stances}) == 1,
            stratum={key: " ".join(sorted(of)) for key, of in told.items()},
            setting={key: next(iter(of)) if len(of) == 1 else "" for key, of in settings.items()},
        )

    def compare(self, language: str, keys: list[Key], parts: Sequence[LanguageParts]) -> Compared:
        """What is compared in one language, or pooled over the languages of `parts`."""
        length_P = np.mean([of.length_P[of.positions(keys)] for of in parts], axis=0)
        if reason := self._why_untested(language, keys):
            return Compared(language=language, keys=keys, length_P=length_P, untested=reason)
        told = set(parts[0].told_in_both()).intersection(*(of.told_in_both() for of in parts[1:]))
        stance_P = np.array([n for n, key in enumerate(keys) if key in told], dtype=np.int64)
        stance_keys = [keys[p] for p in stance_P.tolist()]
        absent = self._absent(stance_keys)
        return Compared(
            language=language,
            keys=keys,
            length_P=length_P,
            design=self._design(keys, self._confounds(keys, length_P)),
            stance_P=stance_P,
            stance=None if "q_stance" in absent else self._design(stance_keys, None),
            topic=None if language == POOLED else self._topic(keys, length_P),
            absent=absent,
        )

    def _why_untested(self, language: str, keys: Sequence[Key]) -> str | None:
        if not self.named and language == POOLED:
            return "the store does not say which parts tell the same dilemma in each language"
        if not self.named and not self.one_stance:
            return "the store does not say which parts tell the same dilemma in each stance"
        return self._few(keys, "dilemma clusters")

    def _few(self, keys: Sequence[Key], what: str) -> str | None:
        count_V = np.bincount([v for v, _ in keys], minlength=len(self.values))
        least = int(count_V.argmin())
        if count_V[least] >= LEAST_CLUSTERS:
            return None
        return f"fewer than {LEAST_CLUSTERS} {what} of {self.values[least]} ({count_V[least]})"

    def _absent(self, stance_keys: Sequence[Key]) -> dict[str, str]:
        absent = {}
        if len(self.values) < LEAST_LABELS:
            absent["q_beyond"] = f"fewer than {LEAST_LABELS} values ({len(self.values)})"
        if few := self._few(stance_keys, "dilemma clusters in both stances"):
            absent["q_stance"] = few
        return absent

    def _design(self, keys: Sequence[Key], confounds_PK: Floats | None) -> Design:
        strata = [self.stratum[key] for key in keys]
        return Design(
            label_P=np.array([value for value, _ in keys], dtype=np.int64),
            stratum_P=np.unique(strata, return_inverse=True)[1].reshape(-1).astype(np.int64),
            num_labels=len(self.values),
            confounds_PK=np.empty((len(keys), 0)) if confounds_PK is None else confounds_PK,
        )

    def _confounds(self, keys: Sequence[Key], length_P: Floats) -> Floats:
        columns = [np.empty((len(keys), 0))]
        if "length" in self.adjust:
            columns.append(length_P[:, None])
        if "setting" in self.adjust:
            columns.append(dummies([self.setting[key] for key in keys], LEAST_OF_SETTING))
        return np.hstack(columns)

    def _topic(self, keys: Sequence[Key], length_P: Floats) -> TopicDesign | None:
        """Clusters of the commonest settings that enough of them have; None without two such."""
        setting_P = np.array([self.setting.get(key, "") for key in keys])
        names, count = np.unique(setting_P[setting_P != ""], return_counts=True)
        common = [str(names[n]) for n in np.argsort(-count, kind="stable")[:MOST_SETTINGS]]
        common = [name for name in common if (setting_P == name).sum() >= LEAST_CLUSTERS]
        if len(common) < 2:
            return None
        cluster_P = np.flatnonzero(np.isin(setting_P, common))
        kept = [keys[p] for p in cluster_P.tolist()]
        length = length_P[cluster_P][:, None] if "length" in self.adjust else None
        by_value = self._design(kept, length)
        return TopicDesign(
            labels=common,
            cluster_P=cluster_P,
            by_setting=Design(
                label_P=np.array([common.index(name) for name in setting_P[cluster_P]]),
                stratum_P=by_value.stratum_P,
                num_labels=len(common),
                confounds_PK=by_value.confounds_PK,
            ),
            by_value=by_value,
        )
