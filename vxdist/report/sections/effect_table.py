"""All cells of the effect matrix, in numbers."""

from dataclasses import dataclass

from vxdist.report.content import Content
from vxdist.report.elements import Name
from vxdist.report.evaluation import Cell, Evaluation
from vxdist.report.text import interval, percent, signed

OPEN_ROWS = 40
"""A table of more rows than this starts folded."""


@dataclass(frozen=True, kw_only=True)
class EffectRow:
    """One cell."""

    mask: Name
    value: Name
    language: str
    numbers: tuple[str, ...]
    excludes_zero: bool
    beyond_controls: bool


@dataclass(frozen=True, kw_only=True)
class EffectTable:
    """All cells; `has_draws` if there are controls to compare with."""

    head: tuple[str, ...]
    rows: tuple[EffectRow, ...]
    is_open: bool
    has_draws: bool


def make_table(content: Content, evaluation: Evaluation) -> EffectTable:
    """The cells in the order of the store."""
    rows = tuple(
        EffectRow(
            mask=content.name(c.mask),
            value=content.name(c.value),
            language=c.language,
            numbers=cell_numbers(evaluation, c),
            excludes_zero=c.excludes_zero,
            beyond_controls=c.beyond_controls,
        )
        for c in evaluation.cells
    )
    return EffectTable(
        head=cell_head(evaluation),
        rows=rows,
        is_open=len(rows) <= OPEN_ROWS,
        has_draws=bool(evaluation.controls),
    )


def cell_head(evaluation: Evaluation) -> tuple[str, ...]:
    """Headings of `cell_numbers`."""
    flips = ("Flips",) if evaluation.measure.has_decision else ()
    controls = ("Control mean", "Among controls") if evaluation.controls else ()
    return ("Neurons", "Dilemmas", "Mean shift", "Interval", *flips, *controls)


def cell_numbers(evaluation: Evaluation, cell: Cell) -> tuple[str, ...]:
    """The numbers of a cell; without flips if the outcome is no decision."""
    digits = evaluation.digits + 1
    flips = (percent(cell.flip_rate),) if evaluation.measure.has_decision else ()
    controls = (signed(cell.control_mean, digits), cell.among) if evaluation.controls else ()
    return (
        f"{cell.masked_count:,}",
        f"{cell.dilemma_count:,}",
        signed(cell.mean_shift, digits),
        interval(cell.shift_low, cell.shift_high, digits),
        *flips,
        *controls,
    )
