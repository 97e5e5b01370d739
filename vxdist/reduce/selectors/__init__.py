"""Selectors: which neurons carry a value, from the counts of a store alone.

To add one, write a module with its class and its settings, and a line in the table.

L: layer, N: neuron, V: value.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from numpy import bool_
from numpy.typing import NDArray

from vxdist.errors import UserError
from vxdist.reduce.counts import LanguageCounts
from vxstore.schema import ArraySpec

SELECTORS = {
    "contrast": "vxdist.reduce.selectors.claimed:Contrast",
    "exclusive": "vxdist.reduce.selectors.claimed:Exclusive",
    "stance": "vxdist.reduce.selectors.claimed:Stance",
    "attribution": "vxdist.reduce.selectors.attribution:Attribution",
    "vape": "vxdist.reduce.selectors.vape:Vape",
}

ByLayers = Callable[[slice], NDArray[Any]]
"""Computes some layers of an array, for arrays too large to hold for all languages at once."""


def check_top_fraction(selector: str, top_fraction: float) -> None:
    """Raise UserError unless the setting of a selector is a fraction above 0."""
    if not 0 < top_fraction <= 1:
        raise UserError(
            f"reduce.{selector}.top_fraction: found {top_fraction}, expected above 0, at most 1"
        )


def most_of_value(top_fraction: float, neurons: int, values: int) -> int:
    """Neurons of each value, if so many of all may be selected, and as many for each value."""
    return max(1, round(top_fraction * neurons / values))


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a selector found in one language, or in all of them pooled.

    `arrays` holds what the selector declares, by name: all layers, or a function of some of them.
    `thresholds` are numbers to be shown, and kept with the score.
    """

    selected_LNV: NDArray[bool_]
    arrays: Mapping[str, NDArray[Any] | ByLayers] = field(default_factory=dict)
    thresholds: Mapping[str, float | int | None] = field(default_factory=dict)


class Selector(Protocol):
    """Scores every neuron, and selects those of each value.

    A class with settings declares them as the dataclass `Settings`, and is made with an instance.
    It may declare `needs_tests`, arrays of the tests of a score that it selects by
    (`LanguageCounts.tests`): a store that cannot be tested is then refused. `rule` names how the
    stability of its selection is computed (see `vxdist.stats.stability.RULES`), with `most`, a
    method, for the neurons of each value that it selects at most. `describe_source(store)` gives
    attributes of the score beside those, for a selector that reads more than counts; it raises
    UserError if that is missing.
    """

    settings: Any
    """The instance; None if the class has no settings."""

    needs: ClassVar[tuple[str, ...]]
    """Statistics of the store that it reads, such as active_count."""
    arrays: ClassVar[Mapping[str, ArraySpec]]
    """Arrays that it writes beside `selected`, with dimensions layer, neuron, perhaps value, and
    language."""
    ranked_by: ClassVar[str]
    """The array that ranks neurons: one of those, or of the tests."""
    ascending: ClassVar[bool]
    """Whether the lowest number ranks first."""
    ranked_among: ClassVar[str | None]
    """A bool array of those above: the neurons that are ranked; None ranks all with a number."""

    def check(self) -> None:
        """Raise UserError, naming the setting, if a setting is out of range."""

    def select(self, counts: LanguageCounts) -> Selection:
        """Score and select the neurons of one language."""

    def describe(self, thresholds: Mapping[str, float | int | None]) -> str:
        """What was found in one language, as a phrase for the terminal."""
