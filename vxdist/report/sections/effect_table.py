"""All cells of the effect matrix, in numbers."""

import math
from dataclasses import dataclass

from vxdist.report.cells import Cell
from vxdist.report.content import Content
from vxdist.report.elements import Name
from vxdist.report.evaluation import Evaluation
from vxdist.report.text import NONE, interval, percent, signed
from vxstore.effect_words import show_p, show_q
from vxstore.warrant import why_not

OPEN_ROWS = 40
"""A table of more rows than this starts folded."""


@dataclass(frozen=True, kw_only=True)
class EffectRow:
    """One cell."""

    mask: Name
    value: Name
    language: str
    numbers: tuple[str, ...]
    marks: tuple[bool, ...]
    is_grey: bool


@dataclass(frozen=True, kw_only=True)
class EffectTable:
    """All cells: numbers, and what is true of them. Grey is what is not found."""

    head: tuple[str, ...]
    mark_head: tuple[str, ...]
    rows: tuple[EffectRow, ...]
    is_open: bool


def make_table(content: Content, evaluation: Evaluation) -> EffectTable:
    """The cells in the order of the store."""
    rows = tuple(
        EffectRow(
            mask=content.name(c.mask),
            value=content.name(c.value),
            language=c.language,
            numbers=cell_numbers(evaluation, c),
            marks=_marks(evaluation, c),
            is_grey=evaluation.is_tested and not c.is_found,
        )
        for c in evaluation.cells
    )
    return EffectTable(
        head=cell_head(evaluation),
        mark_head=_mark_head(evaluation),
        rows=rows,
        is_open=len(rows) <= OPEN_ROWS,
    )


def _mark_head(evaluation: Evaluation) -> tuple[str, ...]:
    last = ("Found",) if evaluation.is_tested else ("Outside controls",) * bool(evaluation.controls)
    return ("Excludes zero", *last)


def _marks(evaluation: Evaluation, cell: Cell) -> tuple[bool, ...]:
    if evaluation.is_tested:
        return (cell.excludes_zero, cell.is_found)
    return (cell.excludes_zero, *[cell.beyond_controls] * bool(evaluation.controls))


def cell_head(evaluation: Evaluation) -> tuple[str, ...]:
    """Headings of `cell_numbers`."""
    flips = ("Flips",) if evaluation.measure.has_decision else ()
    tested = ("p", "q", "q beyond others") if evaluation.is_tested else ()
    sets = ("p among matched sets",) if evaluation.warrant else ()
    harm = ("Harm, nats per token", "p of harm") if evaluation.harm_of else ()
    controls = ("Control draws", "Among draws") if evaluation.controls else ()
    shift = ("Neurons", "Dilemmas", "Mean shift", "Interval")
    return (*shift, *flips, *tested, *sets, *harm, *controls)


def cell_numbers(evaluation: Evaluation, cell: Cell) -> tuple[str, ...]:
    """The numbers of a cell; without flips if the outcome is no decision."""
    digits = evaluation.digits + 1
    controls = (_draws(cell, digits), cell.among) if evaluation.controls else ()
    return (
        f"{cell.masked_count:,}",
        f"{cell.dilemma_count:,}",
        signed(cell.mean_shift, digits),
        interval(cell.shift_low, cell.shift_high, digits),
        *[show_flips(cell)] * evaluation.measure.has_decision,
        *show_tests(evaluation, cell),
        *[show_among_sets(cell)] * bool(evaluation.warrant),
        *show_harm(evaluation, cell),
        *controls,
    )


def show_flips(cell: Cell) -> str:
    """The fraction that flips and its interval, which earlier versions did not record."""
    text = percent(cell.flip_rate)
    if math.isnan(cell.flip_low):
        return text
    return f"{text} [{100 * cell.flip_low:.0f}, {100 * cell.flip_high:.0f}]"


def show_tests(evaluation: Evaluation, cell: Cell) -> tuple[str, ...]:
    """p, q, and q of the specific shift; nothing in stores of earlier versions."""
    if not evaluation.is_tested:
        return ()
    found = (cell.p_value, cell.q_value, cell.q_specific)
    return tuple(
        NONE if math.isnan(n) else show_p(n, cell.draws, evaluation.p_source) for n in found
    )


def show_among_sets(cell: Cell) -> str:
    """p among the matched sets that an attribution predicts, or why there is none."""
    if not cell.masked_count:
        return NONE
    are_asked = not math.isnan(cell.control_mean)
    why = why_not(cell.warrant_r, cell.warrant_slope, cell.draws, are_asked=are_asked)
    return f"{NONE} ({why})" if why else show_q(cell.p_attributed)


def show_harm(evaluation: Evaluation, cell: Cell) -> tuple[str, ...]:
    """What the mask does to neutral text, and its p; nothing where that was not measured."""
    if not evaluation.harm_of:
        return ()
    if math.isnan(cell.harm_shift):
        return NONE, NONE
    p = NONE if math.isnan(cell.harm_p) else show_p(cell.harm_p, cell.draws, evaluation.p_source)
    return f"{cell.harm_shift:.2g}", p


def _draws(cell: Cell, digits: int) -> str:
    mean = signed(cell.control_mean, digits)
    return mean if math.isnan(cell.control_sd) else f"{mean} ± {cell.control_sd:.{digits}f}"
