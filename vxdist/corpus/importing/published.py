"""Published labelled texts: CVC's rules and dilemmas, and ValueCSV's sentences.

They have neither choice nor rationale, so they become stories of plain text.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from vxdist.corpus.importing.collect import Collected
from vxdist.corpus.importing.columns import import_rows
from vxdist.corpus.importing.labels import Labels
from vxdist.corpus.importing.mapping import ColumnMap
from vxdist.corpus.importing.rows import Row, as_text, check_unique, name_columns, read_jsonl
from vxdist.corpus.importing.tables import Cells, read_csv, read_sheets
from vxdist.errors import UserError

SCENE_COLUMNS = ("scene", "core_values_1", "core_values_2")
BOTH_RULES = ", ".join(SCENE_COLUMNS[1:])
"""Column that gathers the values of both rules of a dilemma."""


def read_cvc(
    file: Path, encoding: str, language: str, labels: Labels, collected: Collected
) -> None:
    """Read rules (`rule`, `level`, `core values`, `derived values`), or a table of dilemmas.

    The three options of a dilemma are shuffled, and no column says which one follows which rule,
    so they are dropped; the scene becomes a text for the core values of both rules. Raises
    UserError if the file is neither.
    """
    if file.suffix == ".jsonl":
        columns = {"dilemma": "rule", "value": "core values"}
        _import_texts(read_jsonl(file, encoding), columns, file, language, labels, collected)
        collected.remarks.append(
            "`level` and `derived values` were dropped: a corpus has no such fields"
        )
        return
    rows = _gather_values(read_csv(file, encoding, SCENE_COLUMNS), file)
    columns = {"dilemma": "scene", "value": BOTH_RULES}
    _import_texts(rows, columns, file, language, labels, collected)
    collected.remarks.append(
        "options A, B and C were dropped: their order is random, and no column says which one "
        "follows which rule"
    )


def _gather_values(rows: Iterator[Row], file: Path) -> Iterator[Row]:
    """Rows with the core values of both rules in one column."""
    for where, row in rows:
        missing = set(SCENE_COLUMNS) - row.keys()
        if missing:
            raise UserError(
                f"{file}: no column {', '.join(sorted(missing))}; expected CVC's C-VARC(EN).jsonl "
                "or a table of dilemmas"
            )
        names = [
            name.strip(" []'\"")
            for key in SCENE_COLUMNS[1:]
            for name in as_text(row[key]).replace("，", ",").replace("、", ",").split(",")
        ]
        rest = {name: cell for name, cell in row.items() if name not in SCENE_COLUMNS[1:]}
        yield where, {**rest, BOTH_RULES: names}


def read_valuecsv(file: Path, language: str, labels: Labels, collected: Collected) -> None:
    """Read a workbook with a column `text` and a column of 0 or 1 per value.

    Its last row holds totals and is dropped. Raises UserError if the columns are different.
    """
    for sheet, cells in read_sheets(file, collected):
        if not cells:
            continue
        header = [as_text(name) for name in cells[0][1]]
        values = {n: name for n, name in enumerate(header) if labels.find(name) is not None}
        if "text" not in header or not values:
            raise UserError(
                f"{file}:{sheet}: found the columns {', '.join(header)}; expected text and one "
                "per value"
            )
        check_unique(f"{file}:{sheet}", header, ["text"])
        rows = _read_marks(f"{file.name}:{sheet}", header, cells[1:], values, collected)
        columns = {"dilemma": "text", "value": ", ".join(values.values())}
        _import_texts(rows, columns, file, language, labels, collected)


def _read_marks(
    sheet: str, header: Sequence[str], cells: Cells, values: dict[int, str], collected: Collected
) -> Iterator[Row]:
    """Rows with the names of the values that are marked 1; invalid rows are dropped."""
    gathered = ", ".join(values.values())
    names = name_columns(header)
    for number, row in cells:
        marks = {n: as_text(row[n]) for n in values}
        where, text = f"{sheet}:{number}", as_text(row[header.index("text")])
        wrong = [mark for mark in marks.values() if mark not in ("", "0", "1")]
        if number == cells[-1][0] and wrong:
            collected.drop(where, "last row, which holds totals", text)
        elif wrong:
            collected.drop(where, f"found the mark {wrong[0]!r}, expected 0 or 1", text)
        else:
            others = {names[n]: cell for n, cell in enumerate(row) if n not in values}
            marked = [values[n] for n, mark in marks.items() if mark == "1"]
            yield where, {**others, gathered: marked}


def _import_texts(
    rows: Iterator[Row],
    columns: dict[str, str],
    file: Path,
    language: str,
    labels: Labels,
    collected: Collected,
) -> None:
    mapping = ColumnMap(
        split="activation",
        columns=columns,
        constants={"language": language},
        separator=None,
        source=file.name,
    )
    import_rows(rows, mapping, labels, collected)
