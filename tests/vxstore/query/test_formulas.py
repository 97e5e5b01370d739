"""Names from a stranger's store or corpus are cells of a CSV file, and no formulas."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

import vxstore
from vxstore.cli.main import main
from vxstore.query.export import export
from vxstore.text import as_cell

HARM = ("=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", " =1+1", "＝1+1", "\t=1", "\r=1")

NUMBERS = {"active_count", "token_count", "mean_activation", "activation_sum"}


@pytest.mark.parametrize("text", HARM)
def test_what_a_spreadsheet_would_compute(text: str) -> None:
    assert as_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["calm", "a=b", "1-2", "", "平静", "'=1"])
def test_what_it_would_not(text: str) -> None:
    assert as_cell(text) == text


@pytest.mark.parametrize("value", HARM[:6])
def test_cells_of_files_and_of_the_terminal(
    value: str,
    make_store: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = make_store(values=(value, "calm"))
    export(vxstore.open(path), str(tmp_path / "a.csv"), what="counts")
    assert main(["neuron", path, "0", "0", "--format", "csv"]) == 0
    for text in ((tmp_path / "a.csv").read_text("utf-8"), capsys.readouterr().out):
        table = list(csv.DictReader(io.StringIO(text)))
        assert {row["value"] for row in table} == {f"'{value}", "calm"}
        for row in table:
            for name in NUMBERS & set(row):
                float(row[name])  # numbers stay numbers
    with (tmp_path / "a.csv").open(encoding="utf-8") as file:
        sums = [float(row["activation_sum"]) for row in csv.DictReader(file)]
    assert min(sums) < 0, "those below zero too"
