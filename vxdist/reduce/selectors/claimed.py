"""Selectors of the neurons of which something can be claimed, as the tests of the score found.

contrast: more active for the value than for the others (level 1). exclusive: than for every other
(level 3). stance: reacts to honouring or breaking the value, unlike for the others (level 4).

L: layer, N: neuron, V: value, K: one (neuron, value).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vxdist.reduce.counts import LanguageCounts
from vxdist.reduce.selectors import Selection, check_top_fraction, most_of_value
from vxstore.schema import ArraySpec
from vxstore.text import plural

Thresholds = Mapping[str, float | int | None]


@dataclass(kw_only=True)
class ContrastSettings:
    """contrast: selecting neurons that are more active for a value than for the others."""

    top_fraction: float = 0.01
    """Fraction of all neurons to select at most, the same number for each value."""
    beyond: bool = False
    """Only neurons that also stand out beyond the spread of the other values (often none)."""


@dataclass(kw_only=True)
class ExclusiveSettings:
    """exclusive: selecting neurons that are more active for a value than for every other."""

    top_fraction: float = 0.01
    """Fraction of all neurons to select at most, the same number for each value."""


@dataclass(kw_only=True)
class StanceSettings:
    """stance: selecting neurons that tell honouring a value from breaking it."""

    top_fraction: float = 0.01
    """Fraction of all neurons to select at most, the same number for each value."""


class Contrast:
    """Neurons of level 1, differs; the largest t first."""

    Settings = ContrastSettings
    needs = ("active_count",)
    needs_tests: ClassVar[tuple[str, ...]] = ("q_value",)
    rule = "contrast"
    arrays: ClassVar[Mapping[str, ArraySpec]] = {}
    ranked_by = "t_value"
    ascending = False
    ranked_among = None

    def __init__(self, settings: ContrastSettings) -> None:
        self.settings = settings

    def check(self) -> None:
        """Raise UserError if a setting is out of range."""
        check_top_fraction("contrast", self.settings.top_fraction)

    def most(self, neurons: int, values: int) -> int:
        """Neurons of each value that may be selected."""
        return most_of_value(self.settings.top_fraction, neurons, values)

    def select(self, counts: LanguageCounts) -> Selection:
        """Of the (neuron, value) that are claimed, those with the largest t."""
        claims = ["q_value", *(["q_beyond"] if self.settings.beyond else [])]
        return _select(counts, claims, "t_value", self.most)

    def describe(self, thresholds: Thresholds) -> str:
        """How many neurons were selected, of how many that could be."""
        return _describe(thresholds, "more active for a value than for the others")


class Exclusive:
    """Neurons of level 3, exclusive; the largest t against all others first."""

    Settings = ExclusiveSettings
    needs = ("active_count",)
    needs_tests: ClassVar[tuple[str, ...]] = ("q_exclusive",)
    rule = "exclusive"
    arrays: ClassVar[Mapping[str, ArraySpec]] = {}
    ranked_by = "t_value"
    ascending = False
    ranked_among = None

    def __init__(self, settings: ExclusiveSettings) -> None:
        self.settings = settings

    def check(self) -> None:
        """Raise UserError if a setting is out of range."""
        check_top_fraction("exclusive", self.settings.top_fraction)

    def most(self, neurons: int, values: int) -> int:
        """Neurons of each value that may be selected."""
        return most_of_value(self.settings.top_fraction, neurons, values)

    def select(self, counts: LanguageCounts) -> Selection:
        """Of the (neuron, value) that are claimed, those with the largest t."""
        return _select(counts, ["q_exclusive"], "t_value", self.most)

    def describe(self, thresholds: Thresholds) -> str:
        """How many neurons were selected, of how many that could be."""
        return _describe(thresholds, "more active for a value than for every other")


class Stance:
    """Neurons of level 4, stance; the largest t in either direction first."""

    Settings = StanceSettings
    needs = ("active_count",)
    needs_tests: ClassVar[tuple[str, ...]] = ("q_stance",)
    rule = "stance"
    arrays: ClassVar[Mapping[str, ArraySpec]] = {
        "stance_size": ArraySpec(
            dims=("layer", "neuron", "value", "language"),
            dtype="float32",
            units="1",
            long_name="t_stance without its sign",
        )
    }
    ranked_by = "stance_size"
    ascending = False
    ranked_among = None

    def __init__(self, settings: StanceSettings) -> None:
        self.settings = settings

    def check(self) -> None:
        """Raise UserError if a setting is out of range."""
        check_top_fraction("stance", self.settings.top_fraction)

    def most(self, neurons: int, values: int) -> int:
        """Neurons of each value that may be selected."""
        return most_of_value(self.settings.top_fraction, neurons, values)

    def select(self, counts: LanguageCounts) -> Selection:
        """Of the (neuron, value) that are claimed, those with the largest t without its sign."""
        found = _select(counts, ["q_stance"], "t_stance", self.most)
        tests, shape_LN = counts.tests, counts.shape_LN

        def size(layers: slice) -> NDArray[np.float32]:
            if tests is None:
                length = len(range(*layers.indices(shape_LN[0])))
                return np.full((length, shape_LN[1], len(counts.values)), np.nan, np.float32)
            return np.abs(tests.read("t_stance", layers))

        return Selection(
            selected_LNV=found.selected_LNV,
            arrays={"stance_size": size},
            thresholds=found.thresholds,
        )

    def describe(self, thresholds: Thresholds) -> str:
        """How many neurons were selected, of how many that could be."""
        return _describe(thresholds, "reacting to stance on a value unlike on the others")


def _select(counts: LanguageCounts, claims: Sequence[str], ranked_by: str, most: Any) -> Selection:
    """Of each value, the first by size of t of the neurons whose q are all at most the FDR."""
    shape_LN, values = counts.shape_LN, len(counts.values)
    selected_LNV = np.zeros((*shape_LN, values), dtype=bool)
    if counts.tests is None:
        return Selection(selected_LNV=selected_LNV, thresholds=_thresholds(selected_LNV, 0, None))
    tests = counts.tests
    number_K, code_K = [np.empty(0, np.float32)], [np.empty(0, np.int64)]
    for layers in counts.blocks():
        claimed = np.all([tests.read(name, layers) <= tests.fdr for name in claims], axis=0)
        number_K.append(np.abs(tests.read(ranked_by, layers)[claimed]))
        code_K.append(np.flatnonzero(claimed) + layers.start * shape_LN[1] * values)
    number, code = np.concatenate(number_K), np.concatenate(code_K)
    least = None
    for value in range(values):
        of_value = np.flatnonzero(code % values == value)
        order = np.argsort(-number[of_value], kind="stable")
        first = of_value[order[: most(counts.num_neurons, values)]]
        selected_LNV.reshape(-1)[code[first]] = True
        if first.size:
            lowest = float(number[first].min())
            least = lowest if least is None else min(least, lowest)
    return Selection(
        selected_LNV=selected_LNV, thresholds=_thresholds(selected_LNV, len(code), least)
    )


def _thresholds(
    selected_LNV: NDArray[np.bool_], claimed: int, least: float | None
) -> dict[str, float | int | None]:
    return {
        "claimed_count": claimed,
        "selected_assignments": int(selected_LNV.sum()),
        "selected_count": int(selected_LNV.any(axis=-1).sum()),
        "least_t": least,
    }


def _describe(thresholds: Thresholds, what: str) -> str:
    selected, claimed = (int(thresholds[k] or 0) for k in ("selected_count", "claimed_count"))
    if not claimed:
        return f"no neuron selected: none is {what}"
    return f"{plural(selected, 'neuron')} selected, from {claimed:,} (neuron, value) {what}"
