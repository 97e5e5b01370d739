"""Nothing of a source is lost without a word: columns, rows, labels and characters."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from vxdist.corpus import Corpus

Take = Callable[..., tuple[Corpus, list[dict[str, str]]]]
Refused = Callable[..., str]
Sheets = Callable[..., Path]
STORY = {"dilemma": "A ferry waits.", "choice": "I stay.", "rationale": "Storm.",
         "value": "freedom", "language": "en"}  # fmt: skip


@pytest.fixture
def log(tmp_path: Path) -> Callable[[], Any]:
    """What the import recorded."""
    return lambda: json.loads((tmp_path / "dst" / "import.json").read_text(encoding="utf-8"))


@pytest.fixture
def write(tmp_path: Path, sheets: Sheets) -> Callable[..., Path]:
    """Write rows, all with the same keys, in a format."""

    def make(form: str, rows: list[dict[str, str]]) -> Path:
        file = tmp_path / "t"
        if form == "jsonl":
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        elif form == "parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
        elif form == "excel":
            table = [[*rows[0]], *([*row.values()] for row in rows)]
            sheets(file.with_suffix(".xlsx"), {"s": table}).rename(file)
        else:
            lines = ["\t".join(cells) for cells in (rows[0], *(row.values() for row in rows))]
            file.write_text("\n".join(lines) + "\n")
        return file

    return make


FORMATS = ("csv", "jsonl", "parquet", "excel")


class TestColumns:
    @pytest.mark.parametrize("form", FORMATS)
    @pytest.mark.parametrize("header", ["stance", "Stance"])
    def test_a_field_s_name_is_enough(
        self, form: str, header: str, take: Take, write: Callable[..., Path]
    ) -> None:
        """Violating stories used to become aligned ones if stance was not mapped."""
        rows = [
            {**STORY, "dilemma": f"Ferry {n} waits.", header: stance}
            for n, stance in enumerate(("aligned", "violating") * 2)
        ]
        corpus, _ = take(form, write(form, rows))
        assert [item.stance for item in corpus.activation] == ["aligned", "violating"] * 2
        assert corpus.activation[0].rationale == "Storm."

    @pytest.mark.parametrize("form", FORMATS)
    def test_the_others_are_listed(
        self,
        form: str,
        take: Take,
        write: Callable[..., Path],
        log: Callable[[], Any],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        rows = [STORY | {"annotator": "bob", "note": ""}, STORY | {"annotator": "", "note": ""}]
        take(form, write(form, rows))
        assert {c["column"]: (c["field"], c["cells"]) for c in log()["columns"]} == {
            **dict.fromkeys(STORY, None) | {name: (name, 2) for name in STORY},
            "annotator": ("", 1),
            "note": ("", 0),
        }
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ["annotator", "unused", "1"] in lines
        assert ["(no", "column)", "stance=aligned,", "for", "all", "-"] in lines
        assert ["Dropped"] in lines, "although only a duplicate was"

    def test_tables_show_even_if_nothing_is_lost(
        self, take: Take, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        take("jsonl", write("jsonl", [STORY]))
        out = capsys.readouterr().out
        assert out.count("nothing") == 2
        assert "1 story and 0 evaluation dilemmas from 1 row in" in out

    def test_choices_without_rationales(
        self, take: Take, refused: Refused, write: Callable[..., Path]
    ) -> None:
        rows = [{key: text for key, text in STORY.items() if key != "rationale"}]
        error = refused("jsonl", write("jsonl", rows))
        assert "the column 'choice' is taken for choice: add --map" in error
        assert "no column 'x'" in refused("jsonl", write("jsonl", rows), "--leave-out", "x")
        corpus, _ = take("jsonl", write("jsonl", rows), "--leave-out", "choice")
        assert corpus.activation[0].choice == ""

    def test_a_column_that_is_mapped_is_not_taken_twice(
        self, take: Take, write: Callable[..., Path]
    ) -> None:
        rows = [{"dilemma": "A short title", "choice": "A ferry waits.", "value": "freedom"}]
        options = ["--map", "dilemma=choice", "--set", "language=en"]
        corpus, _ = take("jsonl", write("jsonl", rows), *options)
        assert [(i.dilemma, i.choice) for i in corpus.activation] == [("A ferry waits.", "")]

    def test_two_columns_for_one_field(self, refused: Refused, write: Callable[..., Path]) -> None:
        rows = [STORY | {"Stance": "aligned", "STANCE": "violating"}]
        error = refused("jsonl", write("jsonl", rows))
        assert error.startswith("--map: stance may be the column 'Stance' or 'STANCE'")

    def test_cells_below_no_name(self, take: Take, tmp_path: Path, log: Callable[[], Any]) -> None:
        (tmp_path / "t.csv").write_text("dilemma,value,x,,x,\nA,freedom,1,2,3,\n")
        take("csv", tmp_path / "t.csv", "--set", "language=en")
        unused = {c["column"]: c["cells"] for c in log()["columns"] if not c["field"]}
        assert unused == {"x": 1, "(column 4)": 1, "x (column 5)": 1}

    def test_a_sheet_of_one_row(self, take: Take, sheets: Sheets, tmp_path: Path) -> None:
        rows = [[*STORY], [*STORY.values()]]
        file = sheets(tmp_path / "t.xlsx", {"s": rows, "more": [[*STORY.values()]]})
        _, (row,) = take("excel", file)
        assert row["where"] == "t.xlsx:more:1"
        assert row["reason"] == "only row of its sheet, taken for a header"

    def test_later_imports_add_to_the_log(
        self, take: Take, write: Callable[..., Path], log: Callable[[], Any]
    ) -> None:
        take("jsonl", write("jsonl", [STORY | {"x": "1", "value": "Freedom"}]))
        take("jsonl", write("jsonl", [STORY | {"y": "1", "value": "Freedom "}]), "--add")
        assert [c["column"] for c in log()["columns"] if not c["field"]] == ["x", "y"]
        changed = {c["what"]: c["cells"] for c in log()["changed"]}
        assert changed["value 'Freedom' is called 'freedom'"] == 2


class TestCharacters:
    def test_what_is_changed_is_counted(
        self, take: Take, write: Callable[..., Path], log: Callable[[], Any]
    ) -> None:
        rows = [
            STORY | {"value": "Liberty"},
            STORY | {"dilemma": " B\n", "value": "Liberty"},
            STORY | {"dilemma": "x" * 32767},
        ]
        take("jsonl", write("jsonl", rows))
        assert {
            c["what"].partition(",")[0]: (c["cells"], c["first"]) for c in log()["changed"]
        } == {
            "value 'Liberty' is called 'freedom'": (2, "t:1"),
            "dilemma: spaces at its ends removed": (1, "t:2"),
            "dilemma: 32": (1, "t:3"),
        }

    def test_numbers_of_json_are_as_written(self, take: Take, tmp_path: Path) -> None:
        lines = [json.dumps(STORY)[:-1] + f', "id": {n}}}\n' for n in ("1.10", "1.1")]
        (tmp_path / "t.jsonl").write_text("".join(lines).replace("Storm", "Rain", 1))
        corpus, _ = take("jsonl", tmp_path / "t.jsonl")
        assert [item.id for item in corpus.activation] == ["1.10", "1.1"]

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "gb18030"])
    def test_a_byte_order_mark_is_no_part_of_a_name(
        self, encoding: str, take: Take, tmp_path: Path
    ) -> None:
        text = "dilemma,value,language\n我,freedom,zh\n"
        mark = "\ufeff" if encoding in ("utf-16-le", "gb18030") else ""
        (tmp_path / "t.csv").write_bytes((mark + text).encode(encoding))
        name = encoding.removesuffix("-sig")
        corpus, _ = take("csv", tmp_path / "t.csv", "--encoding", name)
        assert [item.dilemma for item in corpus.activation] == ["我"]

    def test_class_labels_have_names(self, take: Take, tmp_path: Path) -> None:
        datasets = pytest.importorskip("datasets")
        features = datasets.Features(
            {
                "dilemma": datasets.Value("string"),
                "value": datasets.ClassLabel(names=["justice", "freedom"]),
            }
        )
        rows = {"dilemma": ["A", "B", "C"], "value": [0, 1, -1]}
        dataset = datasets.Dataset.from_dict(rows, features=features)
        (tmp_path / "set").mkdir()
        dataset.to_parquet(tmp_path / "set" / "train.parquet")
        dataset.to_parquet(tmp_path / "set" / "test.parquet")
        corpus, (row,) = take("hf", tmp_path / "set", "--set", "language=en", "--keep-values")
        assert [item.value for item in corpus.activation] == ["justice", "freedom"]
        assert row["reason"] == "no value"
        assert any("it also has test" in remark for remark in corpus.card["remarks"])

    def test_parquet_that_is_not_utf8(self, refused: Refused, tmp_path: Path) -> None:
        bad = pyarrow.array([b"\xff\xfe"]).cast(pyarrow.binary())
        array = pyarrow.Array.from_buffers(pyarrow.string(), 1, bad.buffers())
        table = pyarrow.table({"dilemma": array, "value": ["freedom"], "language": ["en"]})
        pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
        assert "is not UTF-8 (after row 0)" in refused("parquet", tmp_path / "t.parquet")


class TestOtherFiles:
    @pytest.mark.parametrize("form", ["csv", "jsonl"])
    def test_a_workbook_is_named(
        self, form: str, refused: Refused, sheets: Sheets, tmp_path: Path
    ) -> None:
        file = sheets(tmp_path / "t.xlsx", {"s": [["dilemma"], ["A"]]})
        error = refused(form, file)
        assert error == f"{file}:1: is an Excel workbook, not text; import it with --format excel"

    def test_so_are_others(self, refused: Refused, tmp_path: Path) -> None:
        for content, name in (
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1..", "an Excel workbook of the old kind (.xls)"),
            (b"PAR1....", "a Parquet file, not text; import it with --format parquet"),
            (b"\x1f\x8b\x08", "a gzip file, not text; save it as text in UTF-8"),
        ):
            (tmp_path / "t").write_bytes(content)
            assert name in refused("csv", tmp_path / "t")
        (tmp_path / "t").write_bytes("dilemma\n".encode("utf-16"))
        assert "it looks like UTF-16: use --encoding utf-16" in refused("csv", tmp_path / "t")


def test_other_keys_of_the_release(
    take: Take, sheets: Sheets, tmp_path: Path, log: Callable[[], Any]
) -> None:
    folder = tmp_path / "release"
    (folder / "answers").mkdir(parents=True)
    (folder / "data").mkdir()
    line = {
        "question": ["公正 vs 人情", "表弟求我。", "A. 按", "B. 帮"],
        "answer": "理由。",
        "by": "x",
    }
    text = json.dumps(line, ensure_ascii=False) + "\n"
    (folder / "answers" / "公正-support.json").write_text(text, encoding="utf-8")
    (folder / "answers" / "notes.txt").write_text("")
    rows = [["公正 vs 人情", "选谁？", "选甲。", "选乙。", "a note"]]
    sheets(folder / "data" / "test-zh-200.xlsx", {"公正": rows})
    corpus, _ = take("cvoice-release", folder)
    assert len(corpus.evaluation) == 1, "a sheet without a header begins with a dilemma"
    columns = {c["column"]: c["field"] for c in log()["columns"]}
    assert columns["question"] == "dilemma, choice, rival"
    assert columns["by"] == columns["a note"] == ""
    assert any("not read: answers/notes.txt" in remark for remark in corpus.card["remarks"])
    assert "letter in front" in log()["changed"][0]["what"]
