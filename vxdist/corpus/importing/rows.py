"""Rows of files of several kinds: (where, {column: cell})."""

import datetime
import decimal
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vxdist.corpus.encoding import decode_text
from vxdist.corpus.lines import find_doubled
from vxdist.errors import UserError

Row = tuple[str, Mapping[str, Any]]
TEXTS = (str, int, float, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta)
"""What a cell may be so that it can be typed."""


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
            # Python has no integers of thousands of digits; as text they are what was typed.
            fields = json.loads(line, object_pairs_hook=_unite, parse_int=str)
        except (json.JSONDecodeError, RecursionError) as error:
            faults.append(f"{file}:{number}: not JSON: {error}")
        except ValueError as error:  # of _unite
            faults.append(f"{file}:{number}: {error}")
        else:
            if isinstance(fields, dict):
                rows.append((f"{file.name}:{number}", fields))
            else:
                faults.append(f"{file}:{number}: found {type(fields).__name__}, expected an object")
    refuse_lines(faults)
    yield from rows


def _unite(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if twice := find_doubled([name for name, _ in pairs]):
        raise ValueError(f"key {twice[0]!r} stands twice in one object; leave one of them")
    return dict(pairs)


def read_parquet(file: Path, wanted: Collection[str] = ()) -> Iterator[Row]:
    """Raises UserError if the file cannot be read, or a column that is wanted stands twice."""
    import pyarrow
    import pyarrow.parquet

    if not file.is_file():
        raise UserError(f"{file} is not a file")
    try:
        table = pyarrow.parquet.ParquetFile(file)
        refuse_doubled(str(file), table.schema_arrow.names, wanted)
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


def is_text(cell: object) -> bool:
    """Whether a cell is empty or can be typed; lists, objects, bytes and yes-or-no cannot."""
    return cell is None or (isinstance(cell, TEXTS) and not isinstance(cell, bool))


def as_text(cell: object) -> str:
    """A cell as one would type it: 3.0 is 3, nothing and NaN are the empty text."""
    if cell is None or (isinstance(cell, float | decimal.Decimal) and math.isnan(cell)):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def refuse_doubled(where: str, names: Sequence[str], wanted: Collection[str]) -> None:
    """Raise UserError if two columns have a name that is wanted: which one is meant?"""
    if twice := [name for name in find_doubled(names) if name in wanted]:
        raise UserError(f"{where}: two columns are named {twice[0]!r}; rename one of them")


def refuse_lines(faults: Iterable[str]) -> None:
    """Raise UserError with a line for each fault, if there are any."""
    found = list(faults)
    if len(found) == 1:
        raise UserError(found[0])
    if found:
        shown = [*found[:20], *([f"and {len(found) - 20} more"] if len(found) > 20 else [])]
        raise UserError("\n  ".join([f"{len(found):,} lines cannot be read", *shown]))
