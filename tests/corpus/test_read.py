"""Reading a corpus: every fault is reported with its location."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vxdist.config import CorpusConfig
from vxdist.corpus import Corpus, load_corpus
from vxdist.errors import UserError

Row = dict[str, Any]
VALUES, LANGUAGES, STANCES = ("calm", "zeal"), ("zh", "en"), ("aligned", "violating")
FILES = ("activation.jsonl", "evaluation.jsonl")


def good_rows() -> dict[str, list[Row]]:
    """Both splits: 2 pairs per value in both languages, and both stances for the stories."""
    rows: dict[str, list[Row]] = {name: [] for name in FILES}
    for value in VALUES:
        for number in range(2):
            pair = f"{value}-{number}"
            for language in LANGUAGES:
                shared = {"pair": pair, "value": value, "language": language, "dilemma": "一 one"}
                rows[FILES[1]].append(
                    {"id": f"{pair}-{language}", **shared, "aligned": "yes", "violating": "no"}
                )
                for stance in STANCES:
                    rows[FILES[0]].append(
                        {"id": f"{pair}-{language}-{stance}", **shared, "stance": stance,
                         "choice": "go", "rationale": "why"}
                    )  # fmt: skip
    return rows


def write(folder: Path, rows: dict[str, list[Row]]) -> Path:
    """Write a corpus directory of these rows."""
    for name, of_file in rows.items():
        # A lone surrogate can only be written as an escape.
        escape = any("\ud800" in row.get("dilemma", "") for row in of_file)
        lines = (json.dumps(row, ensure_ascii=escape) + "\n" for row in of_file)
        (folder / name).write_text("".join(lines), encoding="utf-8")
    return folder


def load(folder: Path, **chosen: Any) -> Corpus:
    """Read the corpus in `folder`."""
    return load_corpus(CorpusConfig(path=str(folder), **chosen))


def refusal(folder: Path, **chosen: Any) -> str:
    """The one-line error that refuses the corpus in `folder`."""
    with pytest.raises(UserError) as caught:
        load(folder, **chosen)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def rows() -> dict[str, list[Row]]:
    """Valid rows to modify: 16 stories and 8 dilemmas."""
    return good_rows()


class TestGood:
    def test_all_is_read_in_order(self, tmp_path: Path, rows: dict[str, list[Row]]) -> None:
        corpus = load(write(tmp_path, rows))
        assert (corpus.values, corpus.languages) == (VALUES, LANGUAGES)
        assert [i.id for i in corpus.activation] == [row["id"] for row in rows[FILES[0]]]
        assert [i.id for i in corpus.evaluation] == [row["id"] for row in rows[FILES[1]]]
        assert corpus.activation[0].dilemma == "一 one"

    def test_evaluation_and_card_may_be_left_out(
        self, tmp_path: Path, rows: dict[str, list[Row]]
    ) -> None:
        del rows[FILES[1]]
        corpus = load(write(tmp_path, rows))
        assert (corpus.evaluation, corpus.card) == ((), {})

    def test_blank_lines_byte_order_marks_and_line_separators_are_accepted(
        self, tmp_path: Path, rows: dict[str, list[Row]]
    ) -> None:
        r"""A byte-order mark, \r\n, and U+2028 within a text, which splitlines() would cut at."""
        rows[FILES[0]][0]["dilemma"] = "one\u2028two"
        file = write(tmp_path, rows) / FILES[0]
        text = file.read_text(encoding="utf-8").replace("\n", "\r\n\r\n")
        file.write_bytes(b"\xef\xbb\xbf" + text.encode())
        corpus = load(tmp_path)
        assert len(corpus.activation) == 16
        assert corpus.activation[0].dilemma == "one\u2028two"

    def test_setting_and_rival_may_be_empty(
        self, tmp_path: Path, rows: dict[str, list[Row]]
    ) -> None:
        rows[FILES[0]][0] |= {"setting": "", "rival": "rest"}
        assert load(write(tmp_path, rows)).activation[0].rival == "rest"

    def test_choosing(self, tmp_path: Path, rows: dict[str, list[Row]]) -> None:
        folder = write(tmp_path, rows)
        corpus = load(folder, values=["zeal"], languages=["en", "zh"], stories_per_group=1,
                      dilemmas_per_value=1)  # fmt: skip
        assert (corpus.values, corpus.languages) == (("zeal",), ("en", "zh"))
        assert [i.id for i in corpus.activation] == [
            f"zeal-0-{g}-{s}" for g in LANGUAGES for s in STANCES
        ]
        assert [i.id for i in corpus.evaluation] == ["zeal-0-zh", "zeal-0-en"]

    @settings(max_examples=40, deadline=None)
    @given(at=st.integers(0, 15), field=st.sampled_from(["dilemma", "choice", "rationale", "id"]))
    def test_the_digest_depends_on_the_text(
        self, tmp_path_factory: pytest.TempPathFactory, at: int, field: str
    ) -> None:
        rows = good_rows()
        first = load(write(tmp_path_factory.mktemp("a"), rows))
        rows[FILES[0]][at][field] += "!"
        second = load(write(tmp_path_factory.mktemp("b"), rows))
        assert first.activation_digest() != second.activation_digest()
        assert first.evaluation_digest() == second.evaluation_digest()

    def test_the_digest_depends_on_content_not_on_path(
        self, tmp_path_factory: pytest.TempPathFactory, rows: dict[str, list[Row]]
    ) -> None:
        first, second = (load(write(tmp_path_factory.mktemp("c"), rows)) for _ in range(2))
        assert first.path != second.path
        assert first.activation_digest() == second.activation_digest()
        assert first.evaluation_digest() == second.evaluation_digest()


class TestMissing:
    def test_no_folder(self, tmp_path: Path) -> None:
        message = refusal(tmp_path / "none")
        assert message.startswith("corpus.path: ")
        assert str(tmp_path / "none") in message

    def test_a_folder_without_stories(self, tmp_path: Path) -> None:
        assert f"{tmp_path} has no activation.jsonl" in refusal(tmp_path)

    @pytest.mark.parametrize("text", ["", "\n \n"])
    def test_an_empty_file(self, tmp_path: Path, text: str) -> None:
        (tmp_path / FILES[0]).write_text(text)
        assert f"{tmp_path / FILES[0]}: has no items" in refusal(tmp_path)

    def test_no_such_builtin(self) -> None:
        with pytest.raises(UserError, match=r"builtin:other.*builtin:cvoice-seed"):
            load_corpus(CorpusConfig(path="builtin:other"))


def spoil_field(row: Row) -> None:
    row["dilema"] = row.pop("dilemma")


SPOILED: dict[str, tuple[Callable[[Row], Any], str]] = {
    "a field is missing": (lambda row: row.pop("dilemma"), "'dilemma' is missing"),
    "a field is misspelt": (spoil_field, "'dilemma' is missing"),
    "a field is unknown": (
        lambda row: row.update(mood="glad"),
        "unknown field 'mood', expected one of",
    ),
    "a field is empty": (lambda row: row.update(dilemma=""), "'dilemma' is empty"),
    "a field is blank": (lambda row: row.update(value=" \n"), "'value' is empty"),
    "a field is a number": (lambda row: row.update(pair=7), "'pair' is int, expected a string"),
    "a field is null": (lambda row: row.update(id=None), "'id' is NoneType"),
    "a text is not Unicode": (lambda row: row.update(dilemma="a\ud800b"), "'dilemma'"),
    "the language is reserved": (lambda row: row.update(language="pooled"), "language 'pooled'"),
}


class TestBadLines:
    @pytest.mark.parametrize("what", SPOILED)
    @pytest.mark.parametrize(("name", "line"), [(FILES[0], 3), (FILES[1], 2)])
    def test_is_reported_with_file_line_and_field(
        self, tmp_path: Path, rows: dict[str, list[Row]], what: str, name: str, line: int
    ) -> None:
        spoil, expected = SPOILED[what]
        spoil(rows[name][line - 1])
        message = refusal(write(tmp_path, rows))
        assert message.startswith(f"{tmp_path / name}:{line}: ")
        assert expected in message

    def test_an_unknown_stance(self, tmp_path: Path, rows: dict[str, list[Row]]) -> None:
        rows[FILES[0]][4]["stance"] = "neutral"
        message = refusal(write(tmp_path, rows))
        assert message.startswith(f"{tmp_path / FILES[0]}:5: ")
        assert "stance 'neutral', expected aligned or violating" in message

    @pytest.mark.parametrize("name", FILES)
    def test_a_duplicate_id(self, tmp_path: Path, rows: dict[str, list[Row]], name: str) -> None:
        rows[name][5]["id"] = rows[name][1]["id"]
        message = refusal(write(tmp_path, rows))
        assert message.startswith(f"{tmp_path / name}:6: duplicate id {rows[name][1]['id']!r}")
        assert "first seen on line 2" in message

    @pytest.mark.parametrize("name", FILES)
    def test_a_duplicate_story(self, tmp_path: Path, rows: dict[str, list[Row]], name: str) -> None:
        rows[name].append({**rows[name][1], "id": "new"})
        message = refusal(write(tmp_path, rows))
        assert message.startswith(f"{tmp_path / name}:{len(rows[name])}: duplicate pair")
        assert "first seen on line 2" in message

    @pytest.mark.parametrize(
        "line", ["{", '{"id": "a",}', "id: a", '"text"', "[]", "null", "{} {}"]
    )
    @pytest.mark.parametrize("name", FILES)
    def test_not_a_json_object(
        self, tmp_path: Path, rows: dict[str, list[Row]], name: str, line: str
    ) -> None:
        file = write(tmp_path, rows) / name
        lines = file.read_text(encoding="utf-8").split("\n")
        file.write_text("\n".join([lines[0], "", line, *lines[1:]]), encoding="utf-8")
        message = refusal(tmp_path)
        assert message.startswith(f"{file}:3: ")
        assert "JSON" in message

    @pytest.mark.parametrize("name", FILES)
    def test_not_utf8(self, tmp_path: Path, rows: dict[str, list[Row]], name: str) -> None:
        file = write(tmp_path, rows) / name
        lines = file.read_bytes().split(b"\n")
        # Not every GBK text is bad UTF-8: 一 alone reads as another letter.
        lines[1] = lines[1].decode().replace("一", "敬业").encode("gb18030")
        file.write_bytes(b"\n".join(lines))
        message = refusal(tmp_path)
        assert message.startswith(f"{file}:2: ")
        assert "UTF-8" in message


class TestBadWhole:
    def test_a_value_without_one_language(self, tmp_path: Path, rows: dict[str, list[Row]]) -> None:
        rows[FILES[0]] = [
            row for row in rows[FILES[0]] if (row["value"], row["language"]) != ("zeal", "zh")
        ]
        message = refusal(write(tmp_path, rows))
        assert str(tmp_path) in message
        assert "value 'zeal' has no stories in language 'zh'" in message

    @pytest.mark.parametrize(("name", "line"), [(FILES[0], 3), (FILES[1], 2)])
    def test_a_pair_across_values(
        self, tmp_path: Path, rows: dict[str, list[Row]], name: str, line: int
    ) -> None:
        """The English text of the first pair gets another value than the Chinese one."""
        rows[name][line - 1]["value"] = "zeal"
        message = refusal(write(tmp_path, rows))
        assert message.startswith(f"{tmp_path / name}:{line}: ")
        assert "pair 'calm-0'" in message
        assert "has value 'zeal', but 'calm' on line" in message

    @pytest.mark.parametrize("key", ["values", "languages"])
    @pytest.mark.parametrize("wanted", [["fury"], [], ["calm", "calm"], ["zh", "zh"]])
    def test_a_choice_that_does_not_exist(
        self, tmp_path: Path, rows: dict[str, list[Row]], key: str, wanted: list[str]
    ) -> None:
        message = refusal(write(tmp_path, rows), **{key: wanted})
        assert message.startswith(f"corpus.{key}: ")

    def test_the_known_values_are_listed(self, tmp_path: Path, rows: dict[str, list[Row]]) -> None:
        message = refusal(write(tmp_path, rows), values=["calm", "fury"])
        assert "'fury' is not in the corpus, expected calm, zeal" in message

    @pytest.mark.parametrize("key", ["stories_per_group", "dilemmas_per_value"])
    def test_none_of_a_group(self, tmp_path: Path, rows: dict[str, list[Row]], key: str) -> None:
        assert refusal(write(tmp_path, rows), **{key: 0}).startswith(f"corpus.{key}: found 0")

    @pytest.mark.parametrize("card", ["{", "- a\n- b\n", "a: b: c", "made: 2024-02-30"])
    def test_a_bad_card(self, tmp_path: Path, rows: dict[str, list[Row]], card: str) -> None:
        (write(tmp_path, rows) / "card.yaml").write_text(card)
        assert refusal(tmp_path).startswith(f"{tmp_path / 'card.yaml'}: ")


def test_no_names_are_assumed(tmp_path: Path) -> None:
    """Values and languages are whatever the corpus says."""
    rows = good_rows()
    for of_file in rows.values():
        for row in of_file:
            row["value"] = {"calm": "静/..", "zeal": "a b"}[row["value"]]
            row["language"] = {"zh": "tlh", "en": "x-1"}[row["language"]]
    corpus = load(write(tmp_path, rows))
    assert (corpus.values, corpus.languages) == (("静/..", "a b"), ("tlh", "x-1"))
    assert dataclasses.asdict(corpus.activation[0])["value"] == "静/.."


class TestAllFaultsAtOnce:
    def test_every_line_and_field_is_named(self, tmp_path: Path) -> None:
        rows = good_rows()
        del rows[FILES[0]][1]["stance"]
        rows[FILES[0]][3] |= {"dilemma": " ", "author": "me"}
        rows[FILES[1]][2]["aligned"] = 7
        write(tmp_path, rows)
        with pytest.raises(UserError) as caught:
            load(tmp_path)
        lines = str(caught.value).splitlines()
        assert lines[0] == "the corpus has 3 faults"
        first, second, third = (line.strip() for line in lines[1:])
        assert first.startswith(f"{tmp_path / FILES[0]}:2: field 'stance' is missing")
        assert second.startswith(f"{tmp_path / FILES[0]}:4: ")
        assert "'dilemma' is empty" in second
        assert "unknown field 'author'" in second
        assert third == f"{tmp_path / FILES[1]}:3: 'aligned' is int, expected a string"

    def test_only_the_first_of_many_are_shown(self, tmp_path: Path) -> None:
        (tmp_path / FILES[0]).write_text("nothing\n" * 100)
        with pytest.raises(UserError) as caught:
            load(tmp_path)
        lines = str(caught.value).splitlines()
        assert lines[0] == "the corpus has 100 faults"
        assert lines[-1].strip() == "and 80 more; `vxdist corpus check` lists all"
        assert len(lines) == 22

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ('{"id": "a", "id": "b"}', "duplicate key 'id'"),
            ('{"id": ' + "1" * 5000 + "}", "unreadable JSON"),
        ],
    )
    def test_valid_json_that_is_not_accepted(
        self, tmp_path: Path, rows: dict[str, list[Row]], line: str, message: str
    ) -> None:
        file = write(tmp_path, rows) / FILES[0]
        file.write_text(f"{line}\n{file.read_text()}")
        assert refusal(tmp_path).startswith(f"{file}:1: {message}")

    def test_a_directory_instead_of_a_file(
        self, tmp_path: Path, rows: dict[str, list[Row]]
    ) -> None:
        file = write(tmp_path, rows) / FILES[1]
        file.unlink()
        file.mkdir()
        assert refusal(tmp_path) == f"{file}: is a directory, expected a file"


class TestEncoding:
    @pytest.fixture
    def gbk(self, tmp_path: Path) -> Path:
        """A corpus in GBK, as a Chinese Windows writes it."""
        for file in write(tmp_path, good_rows()).iterdir():
            text = file.read_text(encoding="utf-8").replace("一", "两难")
            file.write_bytes(text.encode("gbk"))
        (tmp_path / "card.yaml").write_bytes("name: 两难\n".encode("gbk"))
        return tmp_path

    def test_gbk_is_recognised_and_the_setting_suggested(self, gbk: Path) -> None:
        with pytest.raises(UserError, match=r"activation\.jsonl:1: not UTF-8 .*gb18030") as caught:
            load(gbk)
        assert "evaluation.jsonl:1: not UTF-8" in str(caught.value)
        assert "card.yaml:1: not UTF-8" in str(caught.value)
        assert "corpus.encoding: gb18030 (or --encoding gb18030, for" in str(caught.value)

    def test_gbk_is_read_on_request(self, gbk: Path) -> None:
        corpus = load(gbk, encoding="gb18030")
        assert corpus.activation[0].dilemma == "两难 one"
        assert corpus.card == {"name": "两难"}

    @pytest.mark.parametrize("name", ["utf-8", "UTF-8", "utf8", "U8"])
    def test_a_byte_order_mark_by_any_name_of_utf_8(self, tmp_path: Path, name: str) -> None:
        for file in write(tmp_path, good_rows()).iterdir():
            file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
        assert load(tmp_path, encoding=name).activation

    def test_other_encodings_are_not_taken_for_gbk(self, tmp_path: Path) -> None:
        text = "Für mich ist das schön, die Tür geht auf"
        assert text.encode("cp1252").decode("gb18030"), "it could be read as GBK"
        write(tmp_path, good_rows())
        for name in FILES:
            file = tmp_path / name
            file.write_bytes(file.read_text("utf-8").replace("一", text).encode("cp1252", "ignore"))
        with pytest.raises(UserError, match="not UTF-8") as caught:
            load(tmp_path)
        assert "looks like GBK" not in str(caught.value)
        assert "cp1252" in str(caught.value)

    def test_an_unknown_encoding(self, gbk: Path) -> None:
        assert "corpus.encoding: unknown encoding 'undefined'" in refusal(gbk, encoding="undefined")
        assert "corpus.encoding: unknown encoding 'klingon'" in refusal(gbk, encoding="klingon")
