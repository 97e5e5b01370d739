"""Reading rows, (where, {column: cell}), from files of several formats."""

import datetime
import decimal
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vxdist.corpus.encoding import decode_text
from vxdist.corpus.lines import InvalidItem, find_duplicates, refuse_messages, unique_keys
from vxdist.errors import UserError

Row = tuple[str, Mapping[str, Any]]
TEXT_TYPES = (
    str, int, float, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta,
)  # fmt: skip
"""Types of cells that have an obvious text form."""


def read_text(file: Path, encoding: str) -> str:
    """Read a text file. Raises UserError if it is missing or in another encoding."""
    if not file.is_file():
        raise UserError(f"{file} is not a file")
    return decode_text(file, encoding, "--encoding")


def read_jsonl(file: Path, encoding: str) -> Iterator[Row]:
    """Read one JSON object per line. Raises UserError naming every invalid line."""
    faults, rows = [], []
    for number, line in enumerate(read_text(file, encoding).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            # Integers as text: Python refuses to parse those of thousands of digits.
            fields = json.loads(line, object_pairs_hook=unique_keys, parse_int=str)
        except (json.JSONDecodeError, RecursionError) as error:
            faults.append(f"{file}:{number}: not JSON: {error}")
        except InvalidItem as error:
            faults.append(f"{file}:{number}: {error}")
        else:
            if isinstance(fields, dict):
                rows.append((f"{file.name}:{number}", fields))
            else:
                faults.append(f"{file}:{number}: found {type(fields).__name__}, expected an object")
    refuse_lines(faults)
    yield from rows


def read_parquet(file: Path, wanted: Collection[str] = ()) -> Iterator[Row]:
    """Read a Parquet file.

    Raises UserError if it cannot be read, or two columns have the same name in `wanted`.
    """
    import pyarrow
    import pyarrow.parquet

    if not file.is_file():
        raise UserError(f"{file} is not a file")
    try:
        table = pyarrow.parquet.ParquetFile(file)
        check_unique(str(file), table.schema_arrow.names, wanted)
        number = 0
        for batch in table.iter_batches():
            for fields in batch.to_pylist():
                number += 1
                yield f"{file.name}:{number}", fields
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise UserError(f"{file}: not a Parquet file: {' '.join(str(error).split())}") from error


def read_hugging_face(name: str, subset: str | None, split: str) -> Iterator[Row]:
    """Read a dataset of the Hugging Face Hub or a local directory, without running its code.

    Raises UserError if it cannot be loaded.
    """
    import datasets

    try:
        dataset = datasets.load_dataset(name, subset, split=split)
    except (OSError, ValueError, ConnectionError, datasets.exceptions.DatasetsError) as error:
        line = " ".join(str(error).split())[:300]
        raise UserError(f"{name}: cannot load the dataset: {line}") from error
    for number, fields in enumerate(dataset, start=1):
        yield f"{name}:{split}:{number}", fields


def is_text(cell: object) -> bool:
    """Whether a cell is empty or text-like; lists, objects, bytes and booleans are not."""
    return cell is None or (isinstance(cell, TEXT_TYPES) and not isinstance(cell, bool))


def as_text(cell: object) -> str:
    """A cell as text: 3.0 becomes 3; None and NaN become the empty text."""
    if cell is None or (isinstance(cell, float | decimal.Decimal) and math.isnan(cell)):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def check_unique(where: str, names: Sequence[str], wanted: Collection[str]) -> None:
    """Raise UserError if two columns have the same name in `wanted`."""
    if duplicates := [name for name in find_duplicates(names) if name in wanted]:
        raise UserError(f"{where}: two columns are named {duplicates[0]!r}; rename one of them")


def refuse_lines(faults: Sequence[str]) -> None:
    """Raise UserError with a line for each fault, if there are any."""
    refuse_messages(faults, f"{len(faults):,} lines cannot be read")
