"""Writing an exported file: whole and under its name, or not at all."""

import contextlib
import importlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from vxstore.errors import StoreError
from vxstore.io.scratch import write_whole
from vxstore.text import as_cell, clean

ENDINGS = (".parquet", ".csv", ".json")


def check_out(store: str, out: str, *, force: bool) -> str:
    """The ending of `out`, one of `ENDINGS`. Raises StoreError if it cannot be written there."""
    path = Path(out)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise StoreError(f"{out}: ending {ending!r} is not known; there are {', '.join(ENDINGS)}")
    if not path.parent.is_dir():
        raise StoreError(f"{out}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise StoreError(f"{out} is a folder; give a file")
    if Path(store).resolve() in path.resolve().parents:
        raise StoreError(f"{out} is inside the store; choose a path outside it")
    if os.path.lexists(path) and not force:
        raise StoreError(f"{out} already exists; choose another name, or replace it with --force")
    if ending == ".parquet":
        _import_pyarrow()
    return ending


def write_json(out: str, content: Mapping[str, Any]) -> None:
    """Write JSON, each list of numbers on one line, and everything but ASCII as escapes."""
    text = json.dumps(content, indent=1)
    text = re.sub(r"\[\n[\d,\s]+\]", lambda found: " ".join(found[0].split()), text)
    with _whole(out) as partial:
        partial.write_text(text + "\n", encoding="ascii")


def write_rows(out: str, ending: str, blocks: Iterable[pd.DataFrame]) -> int:
    """Write tables of the same columns one after another; returns the number of rows.

    CSV has full precision, no control characters in names and labels, and an apostrophe before
    those that a spreadsheet would take for a formula; Parquet has a row group per table.
    """
    with _whole(out) as partial:
        write = _write_parquet if ending == ".parquet" else _write_csv
        return write(partial, blocks)


def _write_csv(partial: Path, blocks: Iterable[pd.DataFrame]) -> int:
    rows = 0
    with partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as opened:
        for number, block in enumerate(blocks):
            labels = block.select_dtypes(["category", "object", "string"])
            cleaned = {str(name): labels[name].map(_cell).astype(object) for name in labels}
            block.assign(**cleaned).rename(columns=_cell).to_csv(
                opened, index=False, header=number == 0, lineterminator="\n"
            )
            rows += len(block)
    return rows


def _cell(item: Any) -> Any:
    """A text as a cell that no spreadsheet computes; numbers as they are."""
    return as_cell(clean(item)) if isinstance(item, str) else item


def _write_parquet(partial: Path, blocks: Iterable[pd.DataFrame]) -> int:
    arrow, parquet = _import_pyarrow()
    rows, writer = 0, None
    try:
        for block in blocks:
            table = arrow.Table.from_pandas(block, preserve_index=False)
            if writer is None:
                writer = parquet.ParquetWriter(partial, table.schema, compression="zstd")
            writer.write_table(table, row_group_size=max(1, len(block)))
            rows += len(block)
    finally:
        if writer is not None:
            writer.close()
    return rows


def _import_pyarrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise StoreError(
            "a .parquet file needs pyarrow, which is not installed; "
            "`pip install 'vxdist[parquet]'`, or export .csv"
        ) from error


@contextlib.contextmanager
def _whole(out: str) -> Iterator[Path]:
    """A temporary path beside `out`: renamed to `out` on success, removed on failure."""
    try:
        with write_whole(Path(out)) as partial:
            yield partial
    except OSError as error:
        raise StoreError(f"{out} was not written: {error.strerror or error}") from error
