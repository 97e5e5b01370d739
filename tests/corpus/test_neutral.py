"""Neutral passages: a file that a corpus need not have, read as strictly as the others."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from vxdist.cli import main
from vxdist.config import CorpusConfig
from vxdist.corpus import Corpus, NeutralItem, load_corpus
from vxdist.corpus.read import read_corpus
from vxdist.corpus.write import write_corpus

Write = Callable[[Path, Iterable[dict[str, str]]], None]
PASSAGES = [
    {"id": "n1-en", "pair": "n1", "language": "en", "text": "The river bends twice before town."},
    {"id": "n1-zh", "pair": "n1", "language": "zh", "text": "河水流到镇上以前要拐两个弯。"},
    {"id": "n2-en", "pair": "n2", "language": "en", "text": "Soak the beans overnight in water."},
    {"id": "n2-zh", "pair": "n2", "language": "zh", "text": "豆子要在清水里泡上一整夜。"},
]


@pytest.fixture
def folder(tmp_path: Path, corpus_folder: Path) -> Path:
    """The small corpus, without neutral passages."""
    corpus = load_corpus(CorpusConfig(path=str(corpus_folder)))
    write_corpus(tmp_path / "c", corpus.activation, corpus.evaluation, {})
    return tmp_path / "c"


def load(folder: Path, **settings: Any) -> Corpus:
    """The corpus with some settings."""
    return load_corpus(CorpusConfig(path=str(folder), **settings))


def test_they_are_read_and_never_enter_the_digests_of_the_splits(
    folder: Path, write_lines: Write
) -> None:
    before = load(folder)
    assert before.neutral == ()
    write_lines(folder / "neutral.jsonl", PASSAGES)
    after = load(folder)
    assert [item.text for item in after.neutral] == [row["text"] for row in PASSAGES]
    assert after.activation_digest() == before.activation_digest()
    assert after.evaluation_digest() == before.evaluation_digest()
    assert after.neutral_digest() != before.neutral_digest()


def test_languages_select(folder: Path, write_lines: Write) -> None:
    write_lines(folder / "neutral.jsonl", PASSAGES)
    chosen = load(folder, languages=["zh"], values=["thrift"], dilemmas_per_value=1)
    assert [item.id for item in chosen.neutral] == ["n1-zh", "n2-zh"]
    assert chosen.neutral_digest() != load(folder).neutral_digest()


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"text": " "}, "'text' is empty"),
        ({"value": "thrift"}, "unknown field 'value', expected one of id, pair, language, text"),
        ({"id": "n1-en"}, "duplicate id 'n1-en', first seen on line 1"),
        ({"pair": "n1"}, "duplicate pair, language and stance"),
        ({"language": "fr"}, "n2-en has language 'fr', which has no stories in activation.jsonl"),
        ({"language": "pooled"}, "language 'pooled' is reserved"),
        ({"text": 3}, "'text' is int, expected a string"),
    ],
)
def test_faults_name_the_line(
    folder: Path,
    write_lines: Write,
    changed: dict[str, Any],
    fault: str,
) -> None:
    rows = [*PASSAGES]
    rows[2] = rows[2] | changed
    write_lines(folder / "neutral.jsonl", rows)
    (found,) = read_corpus(str(folder)).faults
    assert str(found).startswith(f"{folder / 'neutral.jsonl'}:3: {fault}")


def test_written_and_read_again(folder: Path, tmp_path: Path) -> None:
    corpus, items = load(folder), [NeutralItem(**row) for row in PASSAGES]
    write_corpus(tmp_path / "d", corpus.activation, corpus.evaluation, {}, items)
    assert load(tmp_path / "d").neutral == tuple(items)
    write_corpus(tmp_path / "d", corpus.activation, corpus.evaluation, {})
    assert load(tmp_path / "d").neutral == tuple(items), "those that are there stay"


class TestCheck:
    def check(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
        """What `vxdist corpus check` prints as JSON."""
        main(["corpus", "check", str(folder), "--format", "json"])
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    def test_table_and_totals(
        self, folder: Path, write_lines: Write, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_lines(folder / "neutral.jsonl", PASSAGES)
        found = self.check(folder, capsys)
        assert found["neutral"] == 4
        row = {"language": "en", "passages": 2, "mean": 6.0, "shortest": 6, "longest": 6}
        assert found["tables"]["neutral"][0] == row
        main(["corpus", "check", str(folder)])
        assert "18 evaluation dilemmas, 4 neutral passages\n" in capsys.readouterr().out

    def test_faults_of_texts(
        self,
        folder: Path,
        write_lines: Write,
        stories: list[dict[str, str]],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        english = next(row for row in stories if row["language"] == "en")
        long = "The river bends twice before it reaches the town, and then it runs straight on."
        extra = {
            "token": {"id": "a", "pair": "a", "language": "en", "text": f"{long} <|im_end|>"},
            "language": {"id": "b", "pair": "b", "language": "zh", "text": long},
            "leaks": {**PASSAGES[0], "id": "c", "pair": "c", "text": english["dilemma"]},
            "argues": {**PASSAGES[0], "id": "e", "pair": "e", "text": english["rationale"]},
            "twice": {**PASSAGES[0], "id": "d", "pair": "d"},
        }
        write_lines(folder / "neutral.jsonl", [*PASSAGES, *extra.values()])
        told = [f"{f['level']}, {f['message']}" for f in self.check(folder, capsys)["findings"]]
        for expected in (
            "warning, a: text spells <|im_end|>",
            "warning, b: text seems to be in en, not zh",
            f"error, the same dilemma in activation and neutral: {english['id']} and c",
            "error, the same rationale in activation and neutral: ",
            "warning, the same text twice in neutral: n1-en and d",
            "warning, a (neutral) is only in en, not in zh",
        ):
            assert any(line.startswith(expected) for line in told), expected
