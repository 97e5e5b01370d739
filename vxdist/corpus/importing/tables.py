"""Reading tables with a header row: CSV files and the sheets of Excel workbooks."""

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from vxdist.corpus.importing.apart import read_workbook
from vxdist.corpus.importing.collect import Collected
from vxdist.corpus.importing.rows import (
    Row,
    as_text,
    check_unique,
    name_columns,
    read_text,
    refuse_lines,
)
from vxdist.errors import UserError

DELIMITERS = ",;\t"
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?(?:\r\n|\n|\r|$)', re.IGNORECASE)
"""Excel's convention: a first line that names the delimiter."""
_HEADER = re.compile(r'\s*(?:"[^"]*"|[^"\r\n])*')
Cells = list[tuple[int, list[Any]]]
"""(row number in the sheet, cells) of each row that is not empty, including the header."""


def read_csv(file: Path, encoding: str, wanted: Collection[str] = ()) -> Iterator[Row]:
    """Read a table with a header line; blank lines are skipped.

    Fields may be separated by commas, semicolons or tabs. Raises UserError naming every invalid
    line, or two columns that have the same name in `wanted`.
    """
    text = read_text(file, encoding)
    delimiter, skipped = _find_delimiter(text), 0
    if line := _SEPARATOR_LINE.match(text):
        text, delimiter, skipped = text[line.end() :], line[1], 1
    csv.field_size_limit(1 << 24)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    faults, next_line, names = [], 1 + skipped, None
    rows = []
    try:
        for cells in reader:
            where, next_line = next_line, reader.line_num + 1 + skipped
            if not any(cell.strip() for cell in cells) and (len(cells) < 2 or names is None):
                continue
            if names is None:
                names = [name.strip() for name in cells]
                check_unique(f"{file}:{where}", names, wanted)
                names = name_columns(names)
            elif len(cells) != len(names):
                faults.append(
                    f"{file}:{where}: {len(cells)} cells, expected {len(names)} as in the header"
                )
            else:
                rows.append((f"{file.name}:{where}", dict(zip(names, cells, strict=True))))
    except csv.Error as error:
        faults.append(f"{file}:{reader.line_num + skipped}: {error}")
    refuse_lines(faults)
    yield from rows


def _find_delimiter(text: str) -> str:
    """The one of DELIMITERS that is most frequent in the header, outside quotes."""
    match = _HEADER.match(text)
    header = re.sub(r'"[^"]*"', "", match[0] if match else "")
    return max(DELIMITERS, key=header.count)


def read_excel(
    file: Path,
    sheet: str | None,
    wanted: Collection[str],
    unique: Collection[str],
    collected: Collected,
) -> Iterator[Row]:
    """Read all visible sheets, each with a header row, or only the one named.

    Raises UserError if the workbook cannot be read, a sheet lacks a column in `wanted`, or two of
    its columns have the same name in `unique`.
    """
    for name, rows in read_sheets(file, collected, sheet):
        if len(rows) < 2:
            if rows:
                collected.drop(
                    f"{file.name}:{name}:{rows[0][0]}",
                    "only row of its sheet, taken for a header",
                    " ".join(map(as_text, rows[0][1])),
                )
            continue
        header = [as_text(cell) for cell in rows[0][1]]
        check_unique(f"{file}:{name}", header, unique)
        if missing := [column for column in wanted if column not in header]:
            known = ", ".join(filter(None, header))
            raise UserError(
                f"{file}:{name}: no column {missing[0]!r}; the columns are {known}; to import only "
                "one sheet, use --sheet NAME"
            )
        names = name_columns(header)
        for number, cells in rows[1:]:
            yield f"{file.name}:{name}:{number}", dict(zip(names, cells, strict=False))


def read_sheets(
    file: Path, collected: Collected, only: str | None = None
) -> Iterator[tuple[str, Cells]]:
    """Names and rows of all visible sheets, or of the one named `only`.

    Raises UserError if the file is not a workbook, or has no such sheet.
    """
    import python_calamine  # noqa: F401  so that a missing package is told here

    if not file.is_file():
        raise UserError(f"{file} is not a file")
    for name, visible, cells in read_workbook(file, only):
        rows = _number(cells)
        if only is None and rows and not visible:
            collected.drop(f"{file.name}:{name}", "hidden sheet (see --sheet)")
        else:
            yield name, rows


def _number(rows: Sequence[list[Any]]) -> Cells:
    return [(n, row) for n, row in enumerate(rows, start=1) if any(as_text(cell) for cell in row)]
