"""Importing: every format from a faithful small file, and the release where it is at hand."""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest

from vxdist.cli import main
from vxdist.config import CorpusConfig
from vxdist.corpus import Corpus, load_corpus
from vxdist.corpus.convert.collect import Labels

RELEASE = Path(__file__).parents[4] / "shared" / "data" / "c-voice-release"
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
def take(tmp_path: Path) -> Take:
    """Import, and read the corpus and the rows dropped."""

    def run(form: str, source: object, *options: str) -> Any:
        target = tmp_path / "dst"
        assert main(["corpus", "import", "--format", form, str(source), str(target), *options]) == 0
        log = json.loads((target / "import.json").read_text(encoding="utf-8"))
        return load_corpus(CorpusConfig(path=str(target))), log["dropped"]

    return run


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The error that an import ends with; nothing is written."""

    def run(form: str, source: object, *options: str) -> str:
        target = tmp_path / "dst"
        assert main(["corpus", "import", "--format", form, str(source), str(target), *options]) == 2
        assert not target.exists()
        return capsys.readouterr().err.strip().removeprefix("error: ")

    return run


def write_sheets(file: Path, sheets: dict[str, list[list[object]]]) -> Path:
    """An Excel workbook."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(file)
    return file


def write_table(folder: Path, form: str) -> Path:
    """TABLE as a file of one of the formats."""
    file = folder / f"table.{form}"
    if form == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in TABLE))
    elif form == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(TABLE), file)
    elif form == "excel":
        file = file.with_suffix(".xlsx")
        write_sheets(file, {"s": [[*TABLE[0]], *([*row.values()] for row in TABLE)]})
    else:
        comma = {"csv": ",", "tsv": "\t"}[form]
        lines = [comma.join(TABLE[0]), *(comma.join(row.values()) for row in TABLE)]
        file.write_text("\n".join(lines) + "\n")
    return file


class TestOwnTables:
    @pytest.mark.parametrize("form", ["jsonl", "csv", "tsv", "excel", "parquet"])
    def test_every_kind_of_file(self, form: str, take: Take, tmp_path: Path) -> None:
        kind = "csv" if form == "tsv" else form
        corpus, dropped = take(kind, write_table(tmp_path, form), *MAPPED)
        assert [(i.value, i.stance, i.dilemma, i.choice) for i in corpus.activation] == [
            ("benevolence", "aligned", "A ferry waits.", "I stayed."),
            ("freedom", "aligned", "A dog barks.", "I went."),
        ]
        assert [row["reason"] for row in dropped] == ["dilemma is empty", "unknown value 'Speed'"]
        third = {"jsonl": ":3", "parquet": ":3"}.get(form, ":4")
        assert dropped[0]["where"].endswith(third), "line, or row, of the file"

    def test_a_local_hugging_face_data_set(self, take: Take, tmp_path: Path) -> None:
        pytest.importorskip("datasets")
        (tmp_path / "set").mkdir()
        write_table(tmp_path / "set", "parquet")
        corpus, dropped = take("hf", tmp_path / "set", *MAPPED)
        assert [i.value for i in corpus.activation] == ["benevolence", "freedom"]
        assert len(dropped) == 2

    def test_values_as_they_are(self, take: Take, tmp_path: Path) -> None:
        corpus, _ = take("jsonl", write_table(tmp_path, "jsonl"), *MAPPED, "--keep-values")
        assert corpus.values == ("Care", "Liberty", "Speed")

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

    def test_two_files_of_stories(self, take: Take, tmp_path: Path) -> None:
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
        assert again.activation == corpus.activation, "what is there is not added again"
        reasons = Counter(row["reason"] for row in dropped)
        assert reasons["the same text of the same value stands there already"] == 3
        assert reasons["unknown value 'Speed'"] == 3, "of all three imports"
        assert len(again.card["sources"]) == 3

    def test_both_splits(self, take: Take, tmp_path: Path) -> None:
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


class TestPublished:
    def test_the_release(self, take: Take, tmp_path: Path) -> None:
        """As the authors' files: incomplete and mislabelled rows, a letter before the options."""
        folder = tmp_path / "release"
        (folder / "answers").mkdir(parents=True)
        (folder / "data").mkdir()
        question = ["公正 vs 人情", "表弟求我。", "A. 按规矩办", "B. 帮他一次"]
        for kind, answer in (("support", "规矩是大家的。"), ("conflict", "亲情要紧。")):
            lines = [
                {"question": question, "answer": answer},
                {"question": ["和平 vs 人情", "另一件。", "A. 甲", "B. 乙"], "answer": "理由。"},
                {"question": question, "answer": answer},
                {"question": question[:3], "answer": answer},
            ]
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            (folder / "answers" / f"公正-{kind}.json").write_text(text, encoding="utf-8")
        head = ["Type", "Context", "Action1", "Action2"]
        write_sheets(
            folder / "data" / "test-zh-200.xlsx",
            {
                "公正": [head, ["公正 v.s. 人情", "选谁？", "选能干的。", "选熟的。"],
                        ["公正 vs 人情", "没写完", None, None],
                        ["人情冷暖", "贴错了。", "甲", "乙"]],
                "自由": [head, ["自由 vs 安全", "走不走？", "走。", "留。"]],
            },
        )  # fmt: skip
        write_sheets(folder / "data" / "自由-final.xlsx", {"Sheet1": [["冲突类型"]]})
        corpus, dropped = take("cvoice-release", folder)
        stories = [(i.stance, i.choice, i.rationale, i.pair) for i in corpus.activation]
        assert sorted(stories) == [
            ("aligned", "按规矩办", "规矩是大家的。", "justice-a001"),
            ("violating", "帮他一次", "亲情要紧。", "justice-a001"),
        ]
        (dilemma,) = corpus.evaluation
        assert (dilemma.value, dilemma.rival, dilemma.aligned) == ("justice", "人情", "选能干的。")
        reasons = Counter(row["reason"].partition(":")[0] for row in dropped)
        assert reasons == {
            "mislabelled": 3,
            "the same text of the same value stands there already": 2,
            "question is not [type, dilemma, option A, option B]": 2,
            "incomplete": 1,
            "an evaluation dilemma of a value that has no stories": 1,
        }
        assert "test-zh-200.xlsx:公正:3" in [row["where"] for row in dropped]
        assert any("自由" in remark for remark in corpus.card["remarks"])

    @pytest.mark.skipif(not RELEASE.is_dir(), reason="the authors' files are not here")
    def test_the_authors_files(self, take: Take) -> None:
        corpus, dropped = take("cvoice-release", RELEASE)
        assert (len(corpus.activation), len(corpus.evaluation)) == (3395, 1794)
        assert len(corpus.values) == 8
        assert len(dropped) == 912
        stances = Counter((i.pair, i.dilemma) for i in corpus.activation)
        assert set(stances.values()) <= {1, 2}

    def test_rules_of_cvc(self, take: Take, tmp_path: Path) -> None:
        file = tmp_path / "C-VARC(EN).jsonl"
        rule = {"rule": "Keep your word to a friend.", "level": ["Person"],
                "core values": ["Integrity", "Friendship"], "derived values": ["x"]}  # fmt: skip
        file.write_text(json.dumps(rule) + "\n" + json.dumps(rule | {"core values": ["Zeal"]}))
        corpus, dropped = take("cvc", file)
        assert [(i.value, i.language, i.dilemma) for i in corpus.activation] == [
            ("integrity", "en", "Keep your word to a friend."),
            ("friendliness", "en", "Keep your word to a friend."),
        ]
        assert [row["reason"] for row in dropped] == ["unknown value 'Zeal'"]

    def test_dilemmas_of_cvc_in_gbk(
        self, take: Take, refused: Callable[..., str], tmp_path: Path
    ) -> None:
        file = tmp_path / "all_dilemma_1.csv"
        head = "index,scene,options,rot1,core_values_1,rot2,core_values_2"
        row = '0,朋友借车，你借吗？,"A：借\nB：不借\nC：看书",r,"[\'Friendship\']",r,"公正,法治"'
        file.write_bytes(f"{head}\n{row}\n".encode("gbk"))
        told = refused("cvc", file, "--language", "zh")
        assert "not UTF-8" in told
        assert "it reads as GBK: give --encoding gb18030" in told
        corpus, _ = take("cvc", file, "--language", "zh", "--encoding", "gb18030")
        assert [i.value for i in corpus.activation] == ["friendliness", "justice", "rule_of_law"]
        assert {i.dilemma for i in corpus.activation} == {"朋友借车，你借吗？"}

    def test_valuecsv(self, take: Take, tmp_path: Path) -> None:
        head = ["", "text", "富强", "民主", "友善"]
        rows = [head, [1, "邻里互相帮忙。", 0, 0, 1], [2, "大家一起富。", 1, 1, 0],
                [3, "天下雨了。", 0, 0, 0], [4, "记错了。", 2, 0, 0],
                ["", "", 40, 55, 31]]  # fmt: skip
        corpus, dropped = take("valuecsv", write_sheets(tmp_path / "v.xlsx", {"Sheet1": rows}))
        assert [(i.value, i.dilemma) for i in corpus.activation] == [
            ("friendliness", "邻里互相帮忙。"),
            ("prosperity", "大家一起富。"),
            ("democracy", "大家一起富。"),
        ]
        assert {row["where"].rpartition(":")[2]: row["reason"] for row in dropped} == {
            "4": "no value is named",
            "5": "a mark is '2', expected 0 or 1",
            "6": "the last row, which holds totals",
        }


class TestRefused:
    def test_every_bad_line_at_once(self, refused: Callable[..., str], tmp_path: Path) -> None:
        file = tmp_path / "x.jsonl"
        file.write_text('{"a": 1}\nno\n[1]\n')
        told = refused("jsonl", file, "--map", "dilemma=a", "--set", "value=freedom",
                       "--set", "language=en").splitlines()  # fmt: skip
        assert told[0] == "2 lines cannot be read"
        assert f"{file}:2: not JSON" in told[1]
        assert f"{file}:3: found list, expected an object" in told[2]

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (["--map", "dilema=situation"], "no field 'dilema'"),
            (["--map", "dilemma=situation", "--set", "language=en"], "no column for value"),
            ([*MAPPED, "--map", "dilemma=where"], "there is no column 'where'; there are"),
            ([*MAPPED, "--map", "pair=label", "--keep-values"], "id 'Care-en-aligned' would stand"),
            (["--map", "dilemma"], "expected FIELD=NAME"),
            (["--map", "dilemma=situation", "--map", "choice=did", "--set", "value=freedom",
              "--set", "language=en"], "a choice and a rationale, or neither"),
            (["--set", "value=Speed", "--map", "dilemma=situation", "--set", "language=en"],
             "no item could be made of 4 rows"),
        ],
    )  # fmt: skip
    def test_options(
        self, options: list[str], told: str, refused: Callable[..., str], tmp_path: Path
    ) -> None:
        rows = [*TABLE, TABLE[0] | {"situation": "Another."}] if "pair=label" in options else TABLE
        file = tmp_path / "t.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        error = refused("jsonl", file, *options)
        assert told in error
        assert "\n" not in error

    def test_what_is_there_is_kept(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "dst").mkdir()
        (tmp_path / "dst" / "mine.txt").write_text("keep")
        words = ["corpus", "import", "--format", "jsonl", "x", str(tmp_path / "dst")]
        assert main(words) == 2
        assert "is there already" in capsys.readouterr().err
        assert (tmp_path / "dst" / "mine.txt").read_text() == "keep"

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk")
    def test_a_full_disk_leaves_the_corpus_that_was_there(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        disk, file = tmp_path / "disk", tmp_path / "t.jsonl"
        disk.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)],
            check=False, capture_output=True,
        )  # fmt: skip
        if mounted.returncode:
            pytest.skip("mounting is not permitted here")
        words = ["corpus", "import", "--format", "jsonl", str(file), str(disk / "dst"), *MAPPED]
        try:
            file.write_text(json.dumps(TABLE[0]) + "\n")
            assert main(words) == 0
            many = [TABLE[0] | {"situation": f"Ferry {n} waits."} for n in range(2000)]
            file.write_text("".join(json.dumps(row) + "\n" for row in many))
            assert main([*words, "--add"]) == 2
            assert "No space left" in capsys.readouterr().err
            corpus = load_corpus(CorpusConfig(path=str(disk / "dst")))
            assert [item.dilemma for item in corpus.activation] == ["A ferry waits."]
        finally:
            subprocess.run(["umount", str(disk)], check=True)

    @pytest.mark.parametrize("form", ["valuecsv", "parquet", "cvoice-release"])
    def test_files_of_another_kind(
        self, form: str, refused: Callable[..., str], tmp_path: Path
    ) -> None:
        (tmp_path / "x").write_text("hello")
        given = MAPPED if form == "parquet" else []
        assert str(tmp_path / "x") in refused(form, tmp_path / "x", *given)


def test_names_of_values() -> None:
    labels = Labels({"Selbstbestimmung": "self_direction"})
    for name, value in (
        ("Friendship", "friendliness"), ("Friendliness", "friendliness"), ("友善", "friendliness"),
        ("Civility", "civility"), ("文明", "civility"), ("Rule of Law", "rule_of_law"),
        ("rule_of_law", "rule_of_law"), (" 富強 ", "prosperity"),
        ("selbstbestimmung", "self_direction"), ("nonsense", None),
    ):  # fmt: skip
        assert labels.find(name) == value
