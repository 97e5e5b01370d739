"""Rows of files of several kinds: (where, {column: text})."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vxdist.corpus.lines import decode_text
from vxdist.errors import UserError

Row = tuple[str, Mapping[str, Any]]


def read_text(file: Path, encoding: str) -> str:
    """Raises UserError if the file is missing, or is in another encoding."""
    if not file.is_file():
        raise UserError(f"{file} is not a file")
    return decode_text(file, encoding, "--encoding")


def read_jsonl(file: Path, encoding: str) -> Iterator[Row]:
    """One JSON object a line. Raises UserError naming every line that is none."""
    faults, rows = [], []
    for number, line in enumerate(read_text(file, encoding).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            faults.append(f"{file}:{number}: not JSON: {error}")
            continue
        if isinstance(fields, dict):
            rows.append((f"{file.name}:{number}", fields))
        else:
            faults.append(f"{file}:{number}: found {type(fields).__name__}, expected an object")
    _refuse(faults)
    yield from rows


def read_csv(file: Path, encoding: str) -> Iterator[Row]:
    """A table with a head line, apart by comma, semicolon or tab.

    Raises UserError naming every bad line.
    """
    text = read_text(file, encoding)
    head = text.partition("\n")[0]
    comma = max(",;\t", key=head.count)
    csv.field_size_limit(1 << 24)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=comma, strict=True)
    faults, begun, names = [], 1, None
    rows = []
    try:
        for cells in reader:
            where, begun = begun, reader.line_num + 1
            if names is None:
                names = [name.strip() for name in cells]
            elif len(cells) != len(names):
                faults.append(
                    f"{file}:{where}: {len(cells)} cells, expected {len(names)} as in the head"
                )
            else:
                rows.append((f"{file.name}:{where}", dict(zip(names, cells, strict=True))))
    except csv.Error as error:
        faults.append(f"{file}:{reader.line_num}: {error}")
    _refuse(faults)
    yield from rows


def read_excel(file: Path) -> Iterator[Row]:
    """Every sheet of a workbook, each with a head row. Raises UserError if it cannot be read."""
    for sheet, rows in read_sheets(file):
        head = [str(name).strip() for name in rows[0]] if rows else []
        for number, cells in enumerate(rows[1:], start=2):
            fields = {n: as_text(cell) for n, cell in zip(head, cells, strict=False) if n}
            if any(fields.values()):
                yield f"{file.name}:{sheet}:{number}", fields


def read_sheets(file: Path) -> Iterator[tuple[str, list[list[Any]]]]:
    """Names and cells of the sheets of a workbook."""
    from python_calamine import CalamineError, CalamineWorkbook

    if not file.is_file():
        raise UserError(f"{file} is not a file")
    try:
        book = CalamineWorkbook.from_path(str(file))
        for name in book.sheet_names:
            yield name, book.get_sheet_by_name(name).to_python()
    except CalamineError as error:
        raise UserError(f"{file}: not an Excel workbook: {' '.join(str(error).split())}") from error


def read_parquet(file: Path) -> Iterator[Row]:
    """Raises UserError if the file cannot be read."""
    import pyarrow
    import pyarrow.parquet

    if not file.is_file():
        raise UserError(f"{file} is not a file")
    try:
        table = pyarrow.parquet.ParquetFile(file)
        number = 0
        for batch in table.iter_batches():
            for fields in batch.to_pylist():
                number += 1
                yield f"{file.name}:{number}", fields
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise UserError(f"{file}: not a Parquet file: {' '.join(str(error).split())}") from error


def read_hugging_face(name: str, subset: str | None, split: str) -> Iterator[Row]:
    """A data set of the Hub, or of a local folder. No code of its own is run.

    Raises UserError if it cannot be had.
    """
    import datasets

    try:
        found = datasets.load_dataset(name, subset, split=split)
    except (OSError, ValueError, ConnectionError, datasets.exceptions.DatasetsError) as error:
        line = " ".join(str(error).split())[:300]
        raise UserError(f"{name}: cannot be loaded from the Hugging Face Hub: {line}") from error
    for number, fields in enumerate(found, start=1):
        yield f"{name}:{split}:{number}", fields


def as_text(cell: object) -> str:
    """A cell as one would type it: 3.0 is 3, nothing is the empty text."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def _refuse(faults: Iterable[str]) -> None:
    found = list(faults)
    if len(found) == 1:
        raise UserError(found[0])
    if found:
        shown = [*found[:20], *([f"and {len(found) - 20} more"] if len(found) > 20 else [])]
        raise UserError("\n  ".join([f"{len(found):,} lines cannot be read", *shown]))
