"""What `vxdist run` says at its end, in 80 columns."""

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vxdist.config import Config
from vxdist.ranks import is_first_rank
from vxdist.report.content import Content, gather
from vxdist.report.outcome import Cell
from vxdist.report.selection import Selection
from vxdist.report.stage import report_path
from vxdist.report.text import MINUS, interval, percent, printable, signed
from vxdist.report.words import finding

WIDTH = 80
NAME_WIDTH = 14
LANGUAGE_WIDTH = 6


def print_summary(config: Config) -> None:
    """Print, from rank 0, what was selected and what it did, and where store and report lie.

    Raises UserError (StoreError) if the store or its scores are missing.
    """
    if not is_first_rank():
        return
    content = gather(config)
    console = Console(highlight=False)
    console.print()
    console.print(_table(content, console), width=min(WIDTH, console.width))
    for line in _notes(content):
        console.print(_text(line, console), width=min(WIDTH, console.width))
    # Paths stay whole, for copying: a line too long is for the terminal to wrap.
    for line in (f"store:  {config.store}", f"report: {report_path(config)}"):
        console.print(_text(line, console), soft_wrap=True)


def _text(text: str, console: Console) -> Text:
    """Text that steers no terminal and that the output's encoding holds."""
    text = printable(text).translate({ord(MINUS): "-"} if "utf" not in console.encoding else {})
    return Text(text.encode(console.encoding, "replace").decode(console.encoding))


def _table(content: Content, console: Console) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("value", max_width=NAME_WIDTH, no_wrap=True, overflow="ellipsis")
    table.add_column("lang", max_width=LANGUAGE_WIDTH, no_wrap=True, overflow="ellipsis")
    table.add_column("neurons", justify="right", no_wrap=True)
    table.add_column("top", no_wrap=True)
    outcome = content.outcome
    if outcome is not None:
        for head in ("own effect, nats", "flips"):
            table.add_column(head, justify="right", no_wrap=True)
        table.add_column("rank", justify="right", no_wrap=True)
    cells = {(c.mask, c.language): c for c in outcome.cells if c.own} if outcome else {}
    for v, value in enumerate(content.names):
        for selection in content.by_language:
            tops = 1 if outcome else 3 if selection.units else 4
            row = _selected(selection, v, tops=tops)
            if outcome is not None:
                row += _effect(cells.get((value, selection.language)), outcome.digits)
            table.add_row(*(_text(t, console) for t in (value, selection.language, *row)))
    return table


def _selected(selection: Selection, value: int, *, tops: int) -> list[str]:
    """How many neurons, and the first of them."""
    top = " ".join(neuron.name for neuron in selection.top(value, tops))
    return [f"{int(selection.belongs_SV[:, value].sum()):,}", top]


def _effect(cell: Cell | None, digits: int) -> list[str]:
    """The mask on the value's own dilemmas; blank if the value was not masked."""
    if cell is None:
        return ["", "", ""]
    digits = min(digits, 3)
    shift = signed(cell.mean_shift, digits)
    bounds = interval(cell.shift_low, cell.shift_high, digits)
    rank = (
        "" if math.isnan(cell.control_rank) else f"{cell.control_rank * cell.draws:g}/{cell.draws}"
    )
    return [f"{shift} {bounds}", percent(cell.flip_rate), rank]


def _notes(content: Content) -> list[str]:
    """What the columns mean, or why there are none."""
    if content.outcome is None:
        return [f"no evaluation named {content.evaluation_name} yet: `vxdist evaluate` makes one"]
    level = percent(content.outcome.confidence)
    return [
        f"own effect: mean shift of log-odds on the value's own dilemmas, {level} interval;",
        "rank: draws of random neurons whose shift lies below the mask's, of all draws",
        "",
        finding(content.outcome),
    ]
