"""Append-only JSON Lines files that survive a killed build."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vxdist.corpus.encoding import replace_lone_surrogates
from vxdist.corpus.write import append_line, cut_torn_line
from vxdist.errors import UserError


def append_record(file: Path, record: Mapping[str, Any]) -> None:
    """Append a record, flushed to disk; lone surrogates become question marks. Raises OSError."""
    line = json.dumps(record, ensure_ascii=False)
    append_line(file, replace_lone_surrogates(line) + "\n")


def read_records(file: Path) -> list[dict[str, Any]]:
    """All records; an unfinished last line is removed. The file may be missing.

    Raises UserError if a line is damaged.
    """
    cut_torn_line(file)
    if not file.exists():
        return []
    # Not splitlines(): answers may contain U+2028 and similar, which JSON does not escape.
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is not UTF-8; give another build.out") from error
    try:
        found = [json.loads(line) for line in lines if line]
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: a line of it is damaged; give another build.out") from error
    if not all(isinstance(record, dict) for record in found):
        raise UserError(f"{file}: a line of it is no record; give another build.out")
    return found
