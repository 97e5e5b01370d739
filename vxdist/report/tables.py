"""The tables of the page, and the lines drawn in them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vxdist.report.content import Content, Name
from vxdist.report.outcome import Cell, Outcome
from vxdist.report.selection import Selection
from vxdist.report.text import NONE, fixed, interval, listing, percent, signed


@dataclass(frozen=True, kw_only=True)
class EffectRow:
    """One line of the tables of effects; `plot` draws it, where it is on own dilemmas."""

    mask: Name
    value: Name
    language: str
    numbers: tuple[str, ...]
    excludes_zero: bool
    beyond_controls: bool
    plot: "Plot | None"


EFFECT_HEAD = ("Neurons off", "Dilemmas", "Mean shift", "Interval", "Flips", "Control mean",
               "Among controls")  # fmt: skip


def effect_rows(content: Content, outcome: Outcome, *, own: bool) -> list[EffectRow]:
    """The cells as lines, all of them or those of each value's own dilemmas."""
    digits = outcome.digits + 1
    cells = [c for c in outcome.cells if c.own or not own]
    if own:
        cells.sort(key=lambda c: outcome.masks.index(c.mask))
    scale = own_scale(outcome)
    return [
        EffectRow(
            mask=content.name(c.mask),
            value=content.name(c.value),
            language=c.language,
            numbers=(
                f"{c.masked_count:,}",
                f"{c.dilemma_count:,}",
                signed(c.mean_shift, digits),
                interval(c.shift_low, c.shift_high, digits),
                percent(c.flip_rate),
                signed(c.control_mean, digits),
                c.among,
            ),
            excludes_zero=c.excludes_zero,
            beyond_controls=c.beyond_controls,
            plot=scale.plot(c, digits) if own else None,
        )
        for c in cells
    ]


def own_scale(outcome: Outcome) -> "Scale":
    """The line on which the shifts on own dilemmas are drawn."""
    return Scale.over([c for c in outcome.cells if c.own])


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Places along a line of `Scale.WIDTH`: the mean, its interval, the control draws."""

    mean: float | None
    low: float | None
    high: float | None
    controls: tuple[float, ...]
    words: str


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A line from `low` to `high`, which holds zero."""

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
        """Where a number lies."""
        share = (number - self.low) / (self.high - self.low)
        return round(self.MARGIN + share * (self.WIDTH - 2 * self.MARGIN), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Round numbers along the scale, with zero, and their places."""
        step = _round_step((self.high - self.low) / 5)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        return [(self.at(n * step), signed(n * step, digits)) for n in range(first, last + 1)]

    def plot(self, cell: Cell, digits: int) -> Plot:
        """One cell along the scale."""
        mean, low, high = (
            None if math.isnan(x) else self.at(x)
            for x in (cell.mean_shift, cell.shift_low, cell.shift_high)
        )
        draws = listing([signed(x, digits) for x in cell.control_shifts]) or NONE
        words = (
            f"{signed(cell.mean_shift, digits)} nats "
            f"{interval(cell.shift_low, cell.shift_high, digits)}; control draws {draws}"
        )
        controls = tuple(self.at(x) for x in cell.control_shifts)
        return Plot(mean=mean, low=low, high=high, controls=controls, words=words)


def _round_step(rough: float) -> float:
    """The nearest of 1, 2 and 5 times a power of ten at or above `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= rough * 0.999)


@dataclass(frozen=True, kw_only=True)
class TopTable:
    """The neurons that one value has in one language."""

    language: str
    rows: tuple[tuple[str, ...], ...]


TOP_HEAD = ("Neuron", "Entropy", "p", "p others", "Values")


def top_tables(content: Content) -> list[tuple[Name, list[TopTable]]]:
    """For each value, the selected neurons of lowest entropy in each language."""
    return [
        (name, [_top_table(content, selection, v) for selection in content.selections])
        for v, name in enumerate(content.names.values())
    ]


def _top_table(content: Content, selection: Selection, value: int) -> TopTable:
    rows = tuple(
        (n.name, fixed(n.entropy, 4), fixed(n.probability, 3), fixed(n.others, 3),
         str(n.value_count))
        for n in selection.top(value, content.top_neurons)
    )  # fmt: skip
    return TopTable(language=selection.language, rows=rows)
