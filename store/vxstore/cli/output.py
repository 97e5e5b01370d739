"""Printing for the `vxstore` command: safe text, JSON, CSV, and tables that truncate nothing."""

import contextlib
import csv
import json
import math
import os
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from vxstore.text import UNSAFE, as_cell, clean

TINY = 1e-4
"""Smaller numbers are written with an exponent: six decimals would hide them."""


def drop_output() -> None:
    """Discard all further output: the reader, such as `head`, has left."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(data: Any) -> None:
    """Full precision; NaN as null; unsafe characters as escapes, so that nothing is lost.

    A table becomes a list of its rows.
    """
    text = json.dumps(_finite(data), ensure_ascii=False, indent=2, allow_nan=False)
    for line in text.split("\n"):
        print(UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", line))


def print_yaml(data: Any) -> None:
    """Print as YAML, on which controls are escaped."""
    import yaml

    text = yaml.safe_dump(data, allow_unicode=True, sort_keys=False)
    for line in text.rstrip("\n").split("\n"):
        print(UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", line))


def _finite(data: Any) -> Any:
    if isinstance(data, pd.DataFrame):
        return [_finite(row) for row in data.to_dict("records")]
    if isinstance(data, Mapping):
        return {str(key): _finite(item) for key, item in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(item) for item in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data


def print_csv(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Full precision; missing values are empty; list items are separated by spaces."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([as_cell(clean(name)) for name in header])
    writer.writerows([_csv_cell(item) for item in row] for row in rows)


def print_csv_table(table: pd.DataFrame) -> None:
    """Print a table as `print_csv` does."""
    rows = table.to_dict("records")
    print_csv([str(name) for name in table], (row.values() for row in rows))


def _csv_cell(item: Any) -> str:
    if isinstance(item, list | tuple):
        return as_cell(" ".join(clean(_csv_cell(one)) for one in item), numbers=True)
    if item is None or (isinstance(item, float) and math.isnan(item)):
        return ""
    if isinstance(item, float):
        return repr(float(item))
    return as_cell(clean(item)) if isinstance(item, str) else clean(item)


def print_wrapped(console: Console, text: str) -> None:
    """Print `text` on as few lines as possible, broken between words."""
    lines = textwrap.wrap(
        clean(text), console.width, break_long_words=False, break_on_hyphens=False
    )
    console.print("\n".join(lines), soft_wrap=True)


def new_console() -> Console:
    """A console that interprets no markup."""
    return Console(markup=False, highlight=False, emoji=False)


def print_title(console: Console, title: str) -> None:
    """Print one bold line, however long."""
    console.print(clean(title), style="bold", soft_wrap=True)


def print_table(
    console: Console,
    header: Sequence[tuple[str, bool]],
    rows: Sequence[Sequence[Any]],
    ends: Sequence[bool] = (),
    *,
    gap: int = 2,
    whole: Sequence[str] = (),
    dim: Sequence[bool] = (),
) -> None:
    """Print `rows`; columns are (name, whether right-aligned), `ends` says where a section ends.

    `gap` is the space between columns, at least 1. Cells of the columns `whole` are never broken.
    `dim` says which rows are set back.

    Cells and names break between words only. The table may be wider than the terminal: a number
    is never truncated.
    """
    cells = [[clean(name) for name, _ in header], *(list(map(_cell, row)) for row in rows)]
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, gap - 1, 0, 0),
        header_style="bold",
    )
    for (name, is_right), column in zip(header, zip(*cells, strict=True), strict=True):
        words = [w for t in column for w in ([t] if name in whole else t.split() or [""])]
        longest = max(map(cell_len, words))
        justify: Any = "right" if is_right else "left"
        table.add_column(Text(column[0]), justify=justify, min_width=longest)
    for number, row in enumerate(cells[1:]):
        ends_here = number < len(ends) and ends[number]
        style = "dim" if number < len(dim) and dim[number] else None
        table.add_row(*map(Text, row), end_section=ends_here, style=style)
    wide = console.options.update(max_width=10_000)
    needed = Measurement.get(console, wide, table).minimum
    console.print(table, width=max(needed, console.width), crop=False)


def format_numbers(items: Sequence[Any]) -> list[Any]:
    """Numbers of one column, as text where six decimals would hide them or be too many."""
    numbers = [abs(x) for x in items if isinstance(x, float) and math.isfinite(x) and x]
    if not numbers or 1e-2 <= max(numbers) < 1e9:
        return list(items)
    return [f"{x:.5e}" if isinstance(x, float) and math.isfinite(x) else x for x in items]


def _cell(item: Any) -> str:
    if isinstance(item, float):
        hidden = 0 < abs(item) < TINY
        return "-" if math.isnan(item) else f"{item:.2e}" if hidden else f"{item:.6f}"
    if isinstance(item, list):
        return clean(", ".join(map(str, item)))
    return "-" if item is None else f"{item:,}" if type(item) is int else clean(item)
