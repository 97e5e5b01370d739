"""Files that are added to, a JSON object a line, whatever ends the build."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vxdist.corpus.encoding import replace_half_pairs
from vxdist.corpus.write import append_line, cut_torn_line


def append_record(file: Path, record: Mapping[str, Any]) -> None:
    """Add one, flushed to the disk. What is no text becomes a question mark. Raises OSError."""
    line = json.dumps(record, ensure_ascii=False)
    append_line(file, replace_half_pairs(line) + "\n")


def read_records(file: Path) -> list[dict[str, Any]]:
    """All of them; what a killed build left of another is taken off. No file is no fault."""
    cut_torn_line(file)
    if not file.exists():
        return []
    # Not splitlines(): a model may say U+2028 and its like, which JSON leaves as they are.
    lines = file.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]
