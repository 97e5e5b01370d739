"""What `vxdist run` says at its end, in 80 columns."""

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vxdist.config import Config
from vxdist.ranks import is_first_rank
from vxdist.report.cells import Cell
from vxdist.report.checks import report_path
from vxdist.report.content import Content, gather
from vxdist.report.evaluation import Evaluation
from vxdist.report.findings import claimed, describe_source, finding
from vxdist.report.sections.effect_table import show_tests
from vxdist.report.selection import Selection
from vxdist.report.text import MINUS, interval, percent, printable, signed, span

WIDTH = 80
NAME_WIDTH = 14
LANGUAGE_WIDTH = 6
UNITS_WIDTH = 8


def print_summary(config: Config) -> None:
    """Print, from rank 0, what was selected, its effects, and the paths of store and report.

    Raises UserError (StoreError) if the store, or the score or evaluation asked for, is missing.
    """
    if not is_first_rank():
        return
    content = gather(config)
    console = Console(highlight=False)
    console.print()
    console.print(_table(content, console), width=min(WIDTH, console.width))
    for line in _notes(content):
        console.print(_text(line, console), width=min(WIDTH, console.width))
    # Paths are printed whole, for copying: the terminal wraps a line that is too long.
    for line in (f"store:  {config.store}", f"report: {report_path(config)}"):
        console.print(_text(line, console), soft_wrap=True)


def _text(text: str, console: Console) -> Text:
    """Text that cannot steer a terminal, in characters that the output's encoding has."""
    text = printable(text).translate({ord(MINUS): "-"} if "utf" not in console.encoding else {})
    return Text(text.encode(console.encoding, "replace").decode(console.encoding))


def _table(content: Content, console: Console) -> Table:
    evaluation = content.evaluation
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("value", max_width=NAME_WIDTH, no_wrap=True, overflow="ellipsis")
    table.add_column("lang", max_width=LANGUAGE_WIDTH, no_wrap=True, overflow="ellipsis")
    table.add_column("neurons", justify="right", no_wrap=True)
    table.add_column("top", no_wrap=True)
    for head in () if evaluation is None else _effect_head(evaluation):
        table.add_column(_text(head, console), justify="right", no_wrap=True)
    cells = {(c.mask, c.language): c for c in evaluation.own_cells} if evaluation else {}
    for v, value in enumerate(content.names):
        for selection in content.score.by_language:
            tops = 1 if evaluation else 3 if selection.units else 4
            row = _selected(selection, v, tops=tops)
            if evaluation is not None:
                row += _effect(evaluation, cells.get((value, selection.language)))
            table.add_row(*(_text(t, console) for t in (value, selection.language, *row)))
    return table


def _selected(selection: Selection, value: int, *, tops: int) -> list[str]:
    """How many neurons, and the first of them."""
    top = " ".join(neuron.name for neuron in selection.top(value, tops))
    return [f"{int(selection.count_LV[:, value].sum()):,}", top]


def _effect_head(evaluation: Evaluation) -> list[str]:
    """Headings of `_effect`; units that are too long for a column are in the notes only."""
    units = evaluation.measure.units
    shift = f"own effect, {units}" if 0 < len(units) <= UNITS_WIDTH else "own effect"
    return [shift, *["flips"] * evaluation.measure.has_decision, *_compared(evaluation)]


def _compared(evaluation: Evaluation) -> list[str]:
    """How masks are compared with their control draws: by q, or in earlier versions by rank."""
    if evaluation.is_tested:
        return ["q"]
    return ["rank"] * (evaluation.controls > 0)


def _effect(evaluation: Evaluation, cell: Cell | None) -> list[str]:
    """The mask on the value's own dilemmas; blank if the value has no mask, or it is empty."""
    if cell is None or math.isnan(cell.mean_shift):
        return [""] * len(_effect_head(evaluation))
    digits = min(evaluation.digits, 3)
    shift = signed(cell.mean_shift, digits)
    found = [f"{shift} {interval(cell.shift_low, cell.shift_high, digits)}"]
    if evaluation.measure.has_decision:
        found.append(percent(cell.flip_rate))
    if evaluation.is_tested:
        found.append(show_tests(evaluation, cell)[1])
    elif evaluation.controls:
        found.append(f"{span(cell.draws_below)}/{cell.draws}")
    return found


def _notes(content: Content) -> list[str]:
    """What the columns mean, or why there are none."""
    evaluation = content.evaluation
    tested = claimed(content)
    if evaluation is None:
        return [*tested, content.missing]
    measure = evaluation.measure
    units = f", in {measure.units}" if measure.units else ""
    notes = [
        *tested,
        f"own effect: mean shift of the {measure.long_name}{units}, on the value's own dilemmas, "
        f"with its {percent(evaluation.confidence)} interval",
    ]
    if _compared(evaluation) == ["rank"]:
        notes.append("rank: control draws whose shift is below the mask's, out of all draws")
    if _compared(evaluation) == ["q"]:
        notes.append(
            "q: lowest false discovery rate at which the mask does more than its matched draws"
        )
    source = describe_source(content, evaluation)
    return [*notes, *([source] if source else []), "", finding(evaluation)]
