"""Each mask on the dilemmas of its own value: a table with a plot in every row."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vxdist.report.cells import Cell
from vxdist.report.content import Content
from vxdist.report.elements import Name
from vxdist.report.evaluation import Evaluation
from vxdist.report.sections.effect_table import cell_head, cell_numbers
from vxdist.report.text import NONE, interval, listing, percent, signed


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Positions along a line of `Scale.WIDTH`: the mean, its interval, the control draws."""

    mean: float | None
    low: float | None
    high: float | None
    controls: tuple[float, ...]
    words: str


@dataclass(frozen=True, kw_only=True)
class OwnRow:
    """One line of the table; grey if its effect is not found."""

    mask: Name
    language: str
    plot: Plot
    numbers: tuple[str, ...]
    is_grey: bool


@dataclass(frozen=True, kw_only=True)
class OwnEffects:
    """The table; `has_draws` if the control draws are drawn."""

    head: tuple[str, ...]
    rows: tuple[OwnRow, ...]
    scale: "Scale"
    level: str
    units: str
    has_draws: bool


def make_own_effects(content: Content, evaluation: Evaluation) -> OwnEffects:
    """The cells on own values, by mask and language."""
    cells = evaluation.own_cells
    cells.sort(key=lambda c: evaluation.masks.index(c.mask))
    scale = Scale.over(cells)
    return OwnEffects(
        head=cell_head(evaluation),
        rows=tuple(
            OwnRow(
                mask=content.name(c.mask),
                language=c.language,
                plot=scale.plot(c, evaluation),
                numbers=cell_numbers(evaluation, c),
                is_grey=evaluation.is_tested and not c.is_found,
            )
            for c in cells
        ),
        scale=scale,
        level=percent(evaluation.confidence),
        units=evaluation.measure.units or "units of the outcome",
        has_draws=any(c.control_shifts for c in cells),
    )


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A line from `low` to `high`, with zero between them."""

    low: float
    high: float
    WIDTH = 210
    MARGIN = 6

    @classmethod
    def over(cls, cells: Sequence[Cell]) -> "Scale":
        """A scale that holds all shifts of `cells`, and zero."""
        all_of = [
            x for c in cells for x in (c.mean_shift, c.shift_low, c.shift_high, *c.control_shifts)
        ]
        known = [0.0, *(x for x in all_of if not math.isnan(x))]
        low, high = min(known), max(known)
        return cls(low=low, high=high if high > low else low + 1.0)

    def at(self, number: float) -> float:
        """The position of a number."""
        fraction = (number - self.low) / (self.high - self.low)
        return round(self.MARGIN + fraction * (self.WIDTH - 2 * self.MARGIN), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Positions of round numbers along the scale, zero among them, and their labels."""
        step = _round_step((self.high - self.low) / 5)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        return [(self.at(n * step), signed(n * step, digits)) for n in range(first, last + 1)]

    def plot(self, cell: Cell, evaluation: Evaluation) -> Plot:
        """One cell along the scale."""
        digits = evaluation.digits + 1
        mean, low, high = (
            None if math.isnan(x) else self.at(x)
            for x in (cell.mean_shift, cell.shift_low, cell.shift_high)
        )
        draws = listing([signed(x, digits) for x in cell.control_shifts]) or NONE
        words = (
            f"{evaluation.measure.with_units(signed(cell.mean_shift, digits))} "
            f"{interval(cell.shift_low, cell.shift_high, digits)}; control draws {draws}"
        )
        controls = tuple(self.at(x) for x in cell.control_shifts)
        return Plot(mean=mean, low=low, high=high, controls=controls, words=words)


def _round_step(rough: float) -> float:
    """The nearest of 1, 2 and 5 times a power of ten at or above `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= rough * 0.999)
