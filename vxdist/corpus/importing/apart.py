"""Workbooks, read in a process of their own, of bounded memory and time.

A small workbook can unpack to, or declare, more than any machine holds, and its reader, which is
not in Python, then ends the process.
"""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

from vxdist.errors import UserError

SECONDS, MEMORY = 120, 6 << 30
"""For one workbook; the largest sheet of Excel's, 17 milliards of cells, takes more."""
MOST_CELLS, MOST_TEXT = 50_000_000, 200_000_000
"""Cells and characters of a sheet."""
Sheet = tuple[str, bool, list[list[Any]]]
"""Name, whether it is visible, and rows of cells."""


def read_workbook(file: Path, only: str | None = None) -> list[Sheet]:
    """All sheets, or the one named `only`, with empty rows and columns.

    Raises UserError if it is no workbook, has no such sheet, or takes too much to read.
    """
    command = [sys.executable, "-m", __name__, str(file), *([] if only is None else [only])]
    # The same packages, wherever this process has them from.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"{file}: is not read within {SECONDS} s; save it as CSV") from None
    if done.returncode:
        raise UserError(
            f"{file}: takes more than {MEMORY >> 30} GiB of memory to read, or is damaged; save it "
            "as CSV"
        )
    fault, sheets = pickle.loads(done.stdout)  # of our own process, which runs nothing of the file
    if fault:
        raise UserError(fault)
    found: list[Sheet] = sheets
    return found


def _read(file: str, only: str | None) -> tuple[str, list[Sheet]]:
    from python_calamine import CalamineError, CalamineWorkbook, SheetVisibleEnum

    try:
        book = CalamineWorkbook.from_path(file)
        if only is not None and only not in book.sheet_names:
            known = ", ".join(book.sheet_names)
            return f"--sheet: {file} has no sheet {only!r}; the sheets are {known}", []
        sheets: list[Sheet] = []
        for sheet in book.sheets_metadata:
            if only in (None, sheet.name):
                read = book.get_sheet_by_name(sheet.name)
                if read.total_height * read.total_width > MOST_CELLS:
                    return f"{file}:{sheet.name}: has more than {MOST_CELLS:,} cells", []
                rows = read.to_python(skip_empty_area=False)
                if sum(len(c) for row in rows for c in row if isinstance(c, str)) > MOST_TEXT:
                    return f"{file}:{sheet.name}: has more than {MOST_TEXT:,} characters", []
                sheets.append((sheet.name, sheet.visible == SheetVisibleEnum.Visible, rows))
        return "", sheets
    except CalamineError as error:
        return f"{file}: not an Excel workbook: {' '.join(str(error).split())}", []


def _main(arguments: list[str]) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    file, *only = arguments
    content = pickle.dumps(_read(file, only[0] if only else None))
    sys.stdout.buffer.write(content)


if __name__ == "__main__":
    _main(sys.argv[1:])
