"""Rows of tables with a head: CSV files, and the sheets of Excel workbooks."""

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from vxdist.corpus.importing.collect import Collected
from vxdist.corpus.importing.rows import Row, as_text, read_text, refuse_doubled, refuse_lines
from vxdist.errors import UserError

COMMAS = ",;\t"
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?(?:\r\n|\n|\r|$)', re.IGNORECASE)
"""Excel's own: a first line that tells what stands between cells."""
_HEAD = re.compile(r'\s*(?:"[^"]*"|[^"\r\n])*')
Cells = list[tuple[int, list[Any]]]
"""(number in the sheet, cells) of each row that is not empty; the head comes first."""


def read_csv(file: Path, encoding: str, wanted: Collection[str] = ()) -> Iterator[Row]:
    """A table with a head line, apart by comma, semicolon or tab; blank lines are passed over.

    Raises UserError naming every bad line, or a column that is wanted and stands twice.
    """
    text = read_text(file, encoding)
    comma, before = _find_comma(text), 0
    if told := _SEPARATOR_LINE.match(text):
        text, comma, before = text[told.end() :], told[1], 1
    csv.field_size_limit(1 << 24)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=comma, strict=True)
    faults, begun, names = [], 1 + before, None
    rows = []
    try:
        for cells in reader:
            where, begun = begun, reader.line_num + 1 + before
            if not any(cell.strip() for cell in cells) and (len(cells) < 2 or names is None):
                continue
            if names is None:
                names = [name.strip() for name in cells]
                refuse_doubled(f"{file}:{where}", names, wanted)
            elif len(cells) != len(names):
                faults.append(
                    f"{file}:{where}: {len(cells)} cells, expected {len(names)} as in the head"
                )
            else:
                rows.append((f"{file.name}:{where}", dict(zip(names, cells, strict=True))))
    except csv.Error as error:
        faults.append(f"{file}:{reader.line_num + before}: {error}")
    refuse_lines(faults)
    yield from rows


def _find_comma(text: str) -> str:
    """The one of COMMAS that stands most often in the head, outside of quotes."""
    found = _HEAD.match(text)
    head = re.sub(r'"[^"]*"', "", found[0] if found else "")
    return max(COMMAS, key=head.count)


def read_excel(
    file: Path, sheet: str | None, wanted: Collection[str], into: Collected
) -> Iterator[Row]:
    """The sheets that can be seen, each with a head row, or only the one named.

    Raises UserError if the workbook cannot be read, or a sheet lacks a column that is wanted.
    """
    for name, rows in read_sheets(file, into, sheet):
        if len(rows) < 2:
            continue
        head = [as_text(cell) for cell in rows[0][1]]
        refuse_doubled(f"{file}:{name}", head, wanted)
        if missing := [column for column in wanted if column not in head]:
            have = ", ".join(filter(None, head))
            raise UserError(
                f"{file}:{name}: there is no column {missing[0]!r}; there are {have}; to take "
                "another sheet only, give --sheet NAME"
            )
        for number, cells in rows[1:]:
            fields = {n: cell for n, cell in zip(head, cells, strict=False) if n}
            yield f"{file.name}:{name}:{number}", fields


def read_sheets(
    file: Path, into: Collected, only: str | None = None
) -> Iterator[tuple[str, Cells]]:
    """Names and rows of the sheets that can be seen, or of the one named `only`.

    Raises UserError if the file is no workbook, or has no such sheet.
    """
    from python_calamine import CalamineError, CalamineWorkbook, SheetVisibleEnum

    if not file.is_file():
        raise UserError(f"{file} is not a file")
    try:
        book = CalamineWorkbook.from_path(str(file))
        if only is not None and only not in book.sheet_names:
            have = ", ".join(book.sheet_names)
            raise UserError(f"--sheet: {file} has no sheet {only!r}; there are {have}")
        for about in book.sheets_metadata:
            if only not in (None, about.name):
                continue
            rows = _number(book.get_sheet_by_name(about.name).to_python(skip_empty_area=False))
            if only is None and rows and about.visible != SheetVisibleEnum.Visible:
                into.drop(f"{file.name}:{about.name}", "a hidden sheet (see --sheet)")
            else:
                yield about.name, rows
    except CalamineError as error:
        raise UserError(f"{file}: not an Excel workbook: {' '.join(str(error).split())}") from error


def _number(rows: Sequence[list[Any]]) -> Cells:
    return [(n, row) for n, row in enumerate(rows, start=1) if any(as_text(cell) for cell in row)]
