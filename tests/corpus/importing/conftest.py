"""Import into an empty directory, and write workbooks to import."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from vxdist.cli import main
from vxdist.config import CorpusConfig
from vxdist.corpus import Corpus, load_corpus

Take = Callable[..., tuple[Corpus, list[dict[str, str]]]]


@pytest.fixture
def take(tmp_path: Path) -> Take:
    """Import; returns the corpus and the rows dropped."""

    def run(form: str, source: object, *options: str) -> Any:
        target = tmp_path / "dst"
        assert main(["corpus", "import", "--format", form, str(source), str(target), *options]) == 0
        log = json.loads((target / "import.json").read_text(encoding="utf-8"))
        return load_corpus(CorpusConfig(path=str(target))), log["dropped"]

    return run


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Import with an error; returns it, after checking that nothing was written."""

    def run(form: str, source: object, *options: str) -> str:
        target = tmp_path / "dst"
        assert main(["corpus", "import", "--format", form, str(source), str(target), *options]) == 2
        assert not target.exists()
        return capsys.readouterr().err.strip().removeprefix("error: ")

    return run


@pytest.fixture
def sheets() -> Callable[..., Path]:
    """Write an Excel workbook of {sheet name: rows}."""

    def write(file: Path, sheets: dict[str, list[list[object]]], hidden: str = "") -> Path:
        book = openpyxl.Workbook()
        book.remove(book.active)
        for name, rows in sheets.items():
            sheet = book.create_sheet(name)
            sheet.sheet_state = "hidden" if name == hidden else "visible"
            for row in rows:
                sheet.append(row)
        book.save(file)
        return file

    return write
