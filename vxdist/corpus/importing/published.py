"""Labelled texts that others published: CVC's rules and dilemmas, ValueCSV's sentences.

They have neither choice nor rationale, so they become stories of plain text.
"""

from collections.abc import Iterator
from pathlib import Path

from vxdist.corpus.importing.collect import Collected
from vxdist.corpus.importing.columns import ColumnMap, take
from vxdist.corpus.importing.labels import Labels
from vxdist.corpus.importing.rows import Row, as_text, read_jsonl, refuse_doubled
from vxdist.corpus.importing.tables import Cells, read_csv, read_sheets
from vxdist.errors import UserError

ARRAY = "values"
"""A column made of several."""
SCENE = ("scene", "core_values_1", "core_values_2")


def read_cvc(file: Path, encoding: str, language: str, labels: Labels, into: Collected) -> None:
    """Rules (`rule`, `level`, `core values`, `derived values`), or the dilemma table.

    A dilemma's three options are shuffled, and no column says which follows which rule, so options
    are left out; the scene is a text of the core values of both rules. Raises UserError if the
    file is neither.
    """
    if file.suffix == ".jsonl":
        columns = {"dilemma": "rule", "value": "core values"}
        _plain(read_jsonl(file, encoding), columns, language, labels, into)
        into.remarks.append(
            "`level` and `derived values` are not kept: a corpus has no such fields"
        )
        return
    rows = _of_both(read_csv(file, encoding, SCENE), file)
    _plain(rows, {"dilemma": "scene", "value": ARRAY}, language, labels, into)
    into.remarks.append(
        "options A, B and C are left out: their order is random, and no column tells which one "
        "follows which rule"
    )


def _of_both(rows: Iterator[Row], file: Path) -> Iterator[Row]:
    for where, row in rows:
        missing = set(SCENE) - row.keys()
        if missing:
            raise UserError(
                f"{file}: no column {', '.join(sorted(missing))}; expected CVC's C-VARC(EN).jsonl "
                "or its table of dilemmas"
            )
        names = [
            name.strip(" []'\"")
            for key in SCENE[1:]
            for name in as_text(row[key]).replace("，", ",").replace("、", ",").split(",")
        ]
        yield where, {**row, ARRAY: names}


def read_valuecsv(file: Path, language: str, labels: Labels, into: Collected) -> None:
    """A column `text` and one of 0 or 1 for each value. Its last row is a total, not an item.

    Raises UserError if the columns are others.
    """
    for sheet, cells in read_sheets(file, into):
        if not cells:
            continue
        head = [as_text(name) for name in cells[0][1]]
        values = {n: name for n, name in enumerate(head) if labels.find(name) is not None}
        if "text" not in head or not values:
            raise UserError(
                f"{file}:{sheet}: found the columns {', '.join(head)}; expected text, and one for "
                "each value"
            )
        refuse_doubled(f"{file}:{sheet}", head, ["text"])
        rows = _marked(f"{file.name}:{sheet}", cells[1:], head.index("text"), values, into)
        _plain(rows, {"dilemma": "text", "value": ARRAY}, language, labels, into)


def _marked(
    where: str, cells: Cells, text: int, values: dict[int, str], into: Collected
) -> Iterator[Row]:
    for number, row in cells:
        marks = {n: as_text(row[n]) for n in values}
        place, told = f"{where}:{number}", as_text(row[text])
        wrong = [mark for mark in marks.values() if mark not in ("", "0", "1")]
        if number == cells[-1][0] and wrong:
            into.drop(place, "the last row, which holds totals", told)
        elif wrong:
            into.drop(place, f"a mark is {wrong[0]!r}, expected 0 or 1", told)
        elif told or any(marks.values()):
            yield (
                place,
                {"text": row[text], ARRAY: [values[n] for n, m in marks.items() if m == "1"]},
            )


def _plain(
    rows: Iterator[Row], columns: dict[str, str], language: str, labels: Labels, into: Collected
) -> None:
    how = ColumnMap(
        split="activation", columns=columns, constants={"language": language}, separator=None
    )
    take(rows, how, labels, into)
