"""Reading rows, (where, {column: cell}), from files of several formats."""

import datetime
import decimal
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vxdist.corpus.encoding import LARGEST, decode_text
from vxdist.corpus.lines import InvalidItem, find_duplicates, refuse_messages, unique_keys
from vxdist.errors import UserError
from vxdist.limits import limited
from vxstore.text import plural

Row = tuple[str, Mapping[str, Any]]
BATCH, SECONDS, MEMORY = 1_000, 60, 3 << 30
"""Rows of a Parquet file that are read at once; seconds and bytes for these."""
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
            # Numbers as they are written: an id of 1.10 is not 1.1, and Python refuses to parse
            # integers of thousands of digits.
            fields = json.loads(line, object_pairs_hook=unique_keys, parse_int=str, parse_float=str)
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
    number = size = 0
    try:
        with limited(str(file), seconds=SECONDS, memory=MEMORY):
            table = pyarrow.parquet.ParquetFile(file)
        check_unique(str(file), table.schema_arrow.names, wanted)
        names = name_columns(table.schema_arrow.names)
        batches = table.iter_batches(batch_size=BATCH, use_threads=False)
        while True:
            with limited(str(file), seconds=SECONDS, memory=MEMORY):
                batch = next(batches, None)
                rows = [] if batch is None else batch.rename_columns(names).to_pylist()
                # A text that occurs often is held once in the file, and here each time.
                size += sum(len(c) for row in rows for c in row.values() if isinstance(c, str))
                if size > LARGEST:
                    raise UserError(f"{file}: unpacks to more than {LARGEST:,} bytes; split it")
            if batch is None:
                return
            for fields in rows:
                number += 1
                yield f"{file.name}:{number}", fields
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: a text in it is not UTF-8 (after row {number:,})") from error
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise UserError(f"{file}: not a Parquet file: {' '.join(str(error).split())}") from error


def read_hugging_face(
    name: str, subset: str | None, split: str, remarks: list[str]
) -> Iterator[Row]:
    """Read a dataset of the Hugging Face Hub or a local directory, without running its code.

    Class labels are read as their names. Adds to `remarks` if the dataset has other splits. Raises
    UserError if it cannot be loaded.
    """
    import datasets

    try:
        dataset = datasets.load_dataset(name, subset, split=split)
        others = [s for s in datasets.get_dataset_split_names(name, subset) if s != split]
    except (OSError, ValueError, ConnectionError, datasets.exceptions.DatasetsError) as error:
        line = " ".join(str(error).split())[:300]
        raise UserError(f"{name}: cannot load the dataset: {line}") from error
    if others:
        remarks.append(
            f"only the split {split} of {Path(name).name} was imported; it also has "
            f"{', '.join(others)} (--rows SPLIT)"
        )
    for number, fields in enumerate(dataset, start=1):
        named = {key: _name_label(dataset.features[key], cell) for key, cell in fields.items()}
        yield f"{name}:{split}:{number}", named


def _name_label(feature: Any, cell: Any) -> Any:
    """A cell, or the name of the class label that it holds; empty for an unlabelled row."""
    if isinstance(cell, list):
        return [_name_label(getattr(feature, "feature", None), one) for one in cell]
    if isinstance(cell, int) and hasattr(feature, "int2str"):
        return feature.int2str(cell) if cell >= 0 else ""
    return cell


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


def name_columns(header: Sequence[str]) -> list[str]:
    """The names of a header, each once: one that is missing or repeated has its column's number."""
    repeated = set(find_duplicates(header))
    seen: set[str] = set()
    names = []
    for number, name in enumerate(header, start=1):
        again = name in repeated and name in seen
        seen.add(name)
        names.append(f"{name} (column {number})".strip() if again or not name else name)
    return names


def is_unnamed(column: str) -> bool:
    """Whether `name_columns` made this name for a column that has none."""
    return column.startswith("(column ")


def refuse_lines(faults: Sequence[str]) -> None:
    """Raise UserError with a line for each fault, if there are any."""
    refuse_messages(faults, f"{plural(len(faults), 'line')} cannot be read")
