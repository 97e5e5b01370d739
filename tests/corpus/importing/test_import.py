"""Importing your own tables: every file format, several values, both splits, errors."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from vxdist.cli import main
from vxdist.config import CorpusConfig
from vxdist.corpus import Corpus, load_corpus

Write = Callable[..., Path]
Take = Callable[..., tuple[Corpus, list[dict[str, str]]]]
TABLE = [
    {"situation": "A ferry waits.", "did": "I stayed.", "because": "Storm.", "label": "Care"},
    {"situation": "A dog barks.", "did": "I went.", "because": "Late.", "label": "Liberty"},
    {"situation": "", "did": "I sang.", "because": "Joy.", "label": "Care"},
    {"situation": "A bus left.", "did": "I ran.", "because": "Work.", "label": "Speed"},
]
MAPPED = ["--map", "dilemma=situation", "--map", "choice=did", "--map", "rationale=because",
          "--map", "value=label", "--set", "language=en",
          "--value", "Care=benevolence"]  # fmt: skip


@pytest.fixture
def write_table(sheets: Callable[..., Path]) -> Callable[..., Path]:
    """Write TABLE as a file of a given format."""

    def write(folder: Path, form: str) -> Path:
        file = folder / f"table.{form}"
        if form == "jsonl":
            file.write_text("".join(json.dumps(row) + "\n" for row in TABLE))
        elif form == "parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(TABLE), file)
        elif form == "excel":
            file = file.with_suffix(".xlsx")
            sheets(file, {"s": [[*TABLE[0]], *([*row.values()] for row in TABLE)]})
        else:
            delimiter = {"csv": ",", "tsv": "\t"}[form]
            lines = [delimiter.join(TABLE[0]), *(delimiter.join(row.values()) for row in TABLE)]
            file.write_text("\n".join(lines) + "\n")
        return file

    return write


class TestOwnTables:
    @pytest.mark.parametrize("form", ["jsonl", "csv", "tsv", "excel", "parquet"])
    def test_every_file_format(
        self, form: str, take: Take, write_table: Write, tmp_path: Path
    ) -> None:
        kind = "csv" if form == "tsv" else form
        corpus, dropped = take(kind, write_table(tmp_path, form), *MAPPED)
        assert [(i.value, i.stance, i.dilemma, i.choice) for i in corpus.activation] == [
            ("benevolence", "aligned", "A ferry waits.", "I stayed."),
            ("freedom", "aligned", "A dog barks.", "I went."),
        ]
        assert [row["reason"] for row in dropped] == ["dilemma is empty", "unknown value 'Speed'"]
        third = {"jsonl": ":3", "parquet": ":3"}.get(form, ":4")
        assert dropped[0]["where"].endswith(third), "line, or row, of the file"

    def test_a_local_hugging_face_dataset(
        self, take: Take, write_table: Write, tmp_path: Path
    ) -> None:
        pytest.importorskip("datasets")
        (tmp_path / "set").mkdir()
        write_table(tmp_path / "set", "parquet")
        corpus, dropped = take("hf", tmp_path / "set", *MAPPED)
        assert [i.value for i in corpus.activation] == ["benevolence", "freedom"]
        assert len(dropped) == 2

    def test_values_as_written(self, take: Take, write_table: Write, tmp_path: Path) -> None:
        corpus, _ = take("jsonl", write_table(tmp_path, "jsonl"), *MAPPED, "--keep-values")
        assert corpus.values == ("benevolence", "Liberty", "Speed"), "--value still applies"

    def test_several_values_and_languages(self, take: Take, tmp_path: Path) -> None:
        rows = [
            {"n": "1", "g": "en", "t": "Be fair and free.", "v": "Justice; Freedom"},
            {"n": "1", "g": "zh", "t": "要公正自由。", "v": "公正;自由"},
        ]
        file = tmp_path / "x.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        corpus, _ = take(
            "jsonl", file, "--map", "dilemma=t", "--map", "value=v", "--map", "language=g",
            "--map", "pair=n", "--separator", ";",
        )  # fmt: skip
        pairs = Counter((i.pair, i.value) for i in corpus.activation)
        assert pairs == {("1-justice", "justice"): 2, ("1-freedom", "freedom"): 2}
        assert {i.choice for i in corpus.activation} == {""}, "plain texts"

    def test_two_files_of_stories(self, take: Take, write_table: Write, tmp_path: Path) -> None:
        take("jsonl", write_table(tmp_path, "jsonl"), *MAPPED)
        (tmp_path / "more").mkdir()
        rows = [row | {"situation": f"{row['situation']} Again."} for row in TABLE]
        file = tmp_path / "more" / "table.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        corpus, _ = take("jsonl", file, *MAPPED, "--add")
        assert [item.pair for item in corpus.activation] == [
            "a1-benevolence", "a2-freedom", "a3-benevolence", "a4-freedom", "a5-benevolence",
        ]  # fmt: skip
        again, dropped = take("jsonl", file, *MAPPED, "--add")
        assert again.activation == corpus.activation, "existing items are not added again"
        reasons = Counter(row["reason"] for row in dropped)
        assert reasons["duplicate: same text and value as another item"] == 3
        assert reasons["unknown value 'Speed'"] == 3, "of all three imports"
        assert len(again.card["sources"]) == 3

    def test_both_splits(self, take: Take, write_table: Write, tmp_path: Path) -> None:
        take("jsonl", write_table(tmp_path, "jsonl"), *MAPPED)
        file = tmp_path / "e.jsonl"
        file.write_text(json.dumps({"d": "It rains.", "a": "I wait.", "b": "I go."}) + "\n")
        corpus, _ = take(
            "jsonl", file, "--split", "evaluation", "--add", "--map", "dilemma=d",
            "--map", "aligned=a", "--map", "violating=b", "--set", "value=freedom",
            "--set", "language=en",
        )  # fmt: skip
        assert len(corpus.activation) == 2
        assert [i.aligned for i in corpus.evaluation] == ["I wait."]


class TestRefused:
    def test_every_bad_line_at_once(self, refused: Callable[..., str], tmp_path: Path) -> None:
        file = tmp_path / "x.jsonl"
        file.write_text('{"a": 1}\nno\n[1]\n')
        lines = refused("jsonl", file, "--map", "dilemma=a", "--set", "value=freedom",
                        "--set", "language=en").splitlines()  # fmt: skip
        assert lines[0] == "2 lines cannot be read"
        assert f"{file}:2: not JSON" in lines[1]
        assert f"{file}:3: found list, expected an object" in lines[2]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--map", "dilema=situation"], "no field 'dilema'"),
            (["--map", "dilemma=situation", "--set", "language=en"], "no column for value"),
            ([*MAPPED, "--map", "dilemma=where"], "no column 'where'; the columns are"),
            ([*MAPPED, "--map", "pair=label", "--keep-values"],
             "t.jsonl:5: duplicate id 'Care-en-aligned', first seen at t.jsonl:1"),
            (["--map", "dilemma"], "expected FIELD=NAME"),
            (["--map", "dilemma=situation", "--map", "choice=did", "--set", "value=freedom",
              "--set", "language=en"], "a story needs both choice and rationale, or neither"),
            (["--set", "value=Speed", "--map", "dilemma=situation", "--set", "language=en"],
             "none of 4 rows could be imported"),
        ],
    )  # fmt: skip
    def test_options(
        self, options: list[str], message: str, refused: Callable[..., str], tmp_path: Path
    ) -> None:
        rows = [*TABLE, TABLE[0] | {"situation": "Another."}] if "pair=label" in options else TABLE
        file = tmp_path / "t.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        error = refused("jsonl", file, *options)
        assert message in error
        assert "\n" not in error

    def test_existing_files_are_kept(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "dst").mkdir()
        (tmp_path / "dst" / "mine.txt").write_text("keep")
        words = ["corpus", "import", "--format", "jsonl", "x", str(tmp_path / "dst")]
        assert main(words) == 2
        assert "already exists" in capsys.readouterr().err
        assert (tmp_path / "dst" / "mine.txt").read_text() == "keep"

    def test_a_full_disk_leaves_the_existing_corpus(
        self,
        small_disk: Callable[[str], Path],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        disk, file = small_disk("64k"), tmp_path / "t.jsonl"
        words = ["corpus", "import", "--format", "jsonl", str(file), str(disk / "dst"), *MAPPED]
        file.write_text(json.dumps(TABLE[0]) + "\n")
        assert main(words) == 0
        many = [TABLE[0] | {"situation": f"Ferry {n} waits."} for n in range(2000)]
        file.write_text("".join(json.dumps(row) + "\n" for row in many))
        assert main([*words, "--add"]) == 2
        assert "No space left" in capsys.readouterr().err
        corpus = load_corpus(CorpusConfig(path=str(disk / "dst")))
        assert [item.dilemma for item in corpus.activation] == ["A ferry waits."]

    @pytest.mark.parametrize("form", ["valuecsv", "parquet", "cvoice-release"])
    def test_files_of_another_format(
        self, form: str, refused: Callable[..., str], tmp_path: Path
    ) -> None:
        (tmp_path / "x").write_text("hello")
        given = MAPPED if form == "parquet" else []
        assert str(tmp_path / "x") in refused(form, tmp_path / "x", *given)
