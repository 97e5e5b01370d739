"""Run the commands of the `console` blocks of these pages again, and put in what they print now.

python docs/refresh.py        (tests/test_docs.py fails where a page is behind)
"""

import contextlib
import io
import os
import re
import shlex
from pathlib import Path
from unittest import mock

from vxdist.cli import main

FOLDER = Path(__file__).parent
WIDTH = "100"
BLOCK = re.compile(r"```console\n\$ (?P<command>.*?[^\\])\n(?P<output>.*?)```\n", re.DOTALL)


def refresh(page: str) -> str:
    """A page with what its commands print now."""
    return BLOCK.sub(_run, page)


def _run(block: re.Match[str]) -> str:
    words = shlex.split(block["command"])
    assert words[0] == "vxdist", words
    with (
        mock.patch.dict(os.environ, {"COLUMNS": WIDTH}),
        contextlib.chdir(FOLDER.parent),
        contextlib.redirect_stdout(io.StringIO()) as printed,
    ):
        assert main(words[1:]) == 0
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    return f"```console\n$ {block['command']}\n" + "\n".join(lines) + "\n```\n"


def refresh_all() -> None:
    """Refresh every page."""
    for file in sorted(FOLDER.glob("*.md")):
        page = file.read_text(encoding="utf-8")
        file.write_text(refresh(page), encoding="utf-8")


if __name__ == "__main__":
    refresh_all()
