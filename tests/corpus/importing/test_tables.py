"""Which cells of a file are read, and the location reported for them."""

import math
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from vxdist.corpus import Corpus

Take = Callable[..., tuple[Corpus, list[dict[str, str]]]]
Refused = Callable[..., str]
Sheets = Callable[..., Path]
MAP = ["--map", "dilemma=d", "--map", "value=v", "--set", "language=en"]
HEAD: list[object] = ["d", "v"]


@pytest.mark.parametrize("form", ["csv", "excel", "parquet"])
def test_duplicate_columns(form: str, refused: Refused, sheets: Sheets, tmp_path: Path) -> None:
    file, head = tmp_path / "t", ["d", "v", "d"]
    cells = ["the text", "freedom", "a note"]
    if form == "csv":
        file.write_text(f"{','.join(head)}\n{','.join(cells)}\n")
    elif form == "excel":
        sheets(file.with_suffix(".xlsx"), {"s": [[*head], [*cells]]}).rename(file)
    else:
        arrays = [pyarrow.array([cell]) for cell in cells]
        pyarrow.parquet.write_table(pyarrow.Table.from_arrays(arrays, names=head), file)
    assert "two columns are named 'd'; rename one of them" in refused(form, file, *MAP)


def test_duplicate_columns_that_are_not_mapped(take: Take, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("d,v,,\nA,freedom,,\n")
    corpus, _ = take("csv", tmp_path / "t.csv", *MAP)
    assert len(corpus.activation) == 1


def test_cells_of_parquet(take: Take, tmp_path: Path) -> None:
    for name, cells, reason in (("n", [math.nan, 1.5], "empty"), ("b", [b"a", None], "not text")):
        table = pyarrow.table({"d": cells, "v": ["freedom"] * 2, "e": ["A", "B"]})
        pyarrow.parquet.write_table(table, tmp_path / f"{name}.parquet")
        options = ["--map", "setting=d", "--map", "dilemma=e"] if name == "b" else []
        more = ["--add"] if name == "b" else []
        _, dropped = take("parquet", tmp_path / f"{name}.parquet", *MAP, *options, *more)
        assert dropped[-1]["where"] == f"{name}.parquet:1"
        assert dropped[-1]["reason"].endswith(f"is {reason}")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("d,v\nA,freedom\n\nB,Speed\n\n", 4),
        ("\nd,v\nA,freedom\nB,Speed\n", 4),
        ("sep=;\nd;v\nA, b;freedom\nB;Speed\n", 4),
        ('"d";"a, b, or c";v\nA;;freedom\nB;;Speed\n', 3),
    ],
)
def test_lines_of_a_csv(text: str, line: int, take: Take, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    corpus, (row,) = take("csv", tmp_path / "t.csv", *MAP)
    assert [item.value for item in corpus.activation] == ["freedom"]
    assert (row["where"], row["reason"]) == (f"t.csv:{line}", "unknown value 'Speed'")


def test_rows_of_a_sheet(take: Take, sheets: Sheets, tmp_path: Path) -> None:
    rows: list[list[object]] = [[], [], HEAD, ["A", "freedom"], ["", ""], ["B", "Speed"]]
    _, (row,) = take("excel", sheets(tmp_path / "t.xlsx", {"s": rows}), *MAP)
    assert row["where"] == "t.xlsx:s:6", "the row number in the sheet"


def test_numbers_as_headers(take: Take, sheets: Sheets, tmp_path: Path) -> None:
    file = sheets(tmp_path / "t.xlsx", {"s": [[1, 2], ["A", "freedom"]]})
    corpus, _ = take(
        "excel", file, "--map", "dilemma=1", "--map", "value=2", "--set", "language=en"
    )
    assert len(corpus.activation) == 1


def test_hidden_sheets(take: Take, sheets: Sheets, tmp_path: Path) -> None:
    tables = {"new": [HEAD, ["A", "freedom"]], "old": [HEAD, ["B", "freedom"]]}
    file = sheets(tmp_path / "t.xlsx", tables, hidden="old")
    corpus, (row,) = take("excel", file, *MAP)
    assert [item.dilemma for item in corpus.activation] == ["A"]
    assert (row["where"], row["reason"]) == ("t.xlsx:old", "hidden sheet (see --sheet)")
    corpus, _ = take("excel", file, *MAP, "--sheet", "old", "--add")
    assert [item.dilemma for item in corpus.activation] == ["A", "B"]


def test_sheets_without_the_columns(
    take: Take, refused: Refused, sheets: Sheets, tmp_path: Path
) -> None:
    tables = {"stories": [HEAD, ["A", "freedom"]], "Notes": [["made by me"], ["in May"]]}
    file = sheets(tmp_path / "t.xlsx", tables)
    error = refused("excel", file, *MAP)
    assert f"{file}:Notes: no column 'd'; the columns are made by me" in error
    assert "--sheet NAME" in error
    error = refused("excel", file, *MAP, "--sheet", "story")
    assert error == f"--sheet: {file} has no sheet 'story'; the sheets are stories, Notes"
    assert "csv files have no sheets" in refused("csv", file, *MAP, "--sheet", "stories")
    corpus, _ = take("excel", file, *MAP, "--sheet", "stories")
    assert len(corpus.activation) == 1


def test_a_duplicate_key(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text('{"d": "first", "v": "freedom", "d": "second"}\n')
    error = refused("jsonl", file, *MAP)
    assert error == f"{file}:1: duplicate key 'd'"


def test_numbers_with_thousands_of_digits(take: Take, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"d": ' + "1" * 5000 + ', "v": "freedom"}\n')
    corpus, _ = take("jsonl", tmp_path / "t.jsonl", *MAP)
    assert corpus.activation[0].dilemma == "1" * 5000
