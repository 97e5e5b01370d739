"""The corpus reader accepts whatever is imported; the rest is dropped with the reason."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vxdist.corpus import Corpus
from vxdist.corpus.items import EvaluationItem
from vxdist.corpus.write import write_corpus

Take = Callable[..., tuple[Corpus, list[dict[str, str]]]]
Refused = Callable[..., str]
TEXT = ["--map", "dilemma=d", "--map", "value=v"]
ENGLISH = [*TEXT, "--set", "language=en"]


@pytest.fixture
def lines(tmp_path: Path) -> Callable[..., Path]:
    """Write a JSONL file of these rows, with non-ASCII characters escaped."""

    def write(*rows: dict[str, object]) -> Path:
        (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / "t.jsonl"

    return write


def test_a_pair_has_one_value(take: Take, lines: Callable[..., Path]) -> None:
    file = lines(
        {"p": "1", "g": "en", "d": "Fair?", "v": "freedom"},
        {"p": "1", "g": "zh", "d": "公正？", "v": "justice"},
        {"p": "2", "g": "zh", "d": "自由？", "v": "freedom"},
    )
    corpus, dropped = take("jsonl", file, *TEXT, "--map", "pair=p", "--map", "language=g")
    assert [item.dilemma for item in corpus.activation] == ["Fair?", "自由？"]
    assert dropped == [
        {
            "where": "t.jsonl:2",
            "reason": "its pair has a different value in another row",
            "found": "1: justice, elsewhere freedom",
        }
    ]


def test_a_lone_surrogate(take: Take, lines: Callable[..., Path]) -> None:
    corpus, (row,) = take(
        "jsonl", lines({"d": "A \ud83d", "v": "freedom"}, {"d": "B", "v": "freedom"}), *ENGLISH
    )
    assert [item.dilemma for item in corpus.activation] == ["B"]
    assert "lone surrogate" in row["reason"]
    assert row["found"] == "A ?"


@pytest.mark.parametrize(
    ("language", "message"), [("pooled", "'pooled' is reserved"), (" ", "is empty")]
)
def test_invalid_languages(
    language: str, message: str, refused: Refused, lines: Callable[..., Path]
) -> None:
    error = refused(
        "jsonl", lines({"d": "A", "v": "freedom"}), *TEXT, "--set", f"language={language}"
    )
    assert "none of 1 row could be imported; t.jsonl:1:" in error
    assert message in error


def test_keys_missing_from_some_rows(
    take: Take, refused: Refused, lines: Callable[..., Path]
) -> None:
    file = lines(
        {"d": "A", "v": "freedom"},
        {"d": "B", "v": "freedom", "s": "a farm"},
        {"v": "freedom"},
        {"d": "D"},
    )
    error = refused("jsonl", file, *ENGLISH, "--map", "rival=r")
    assert error == "t.jsonl:1: no column 'r'; the columns are d, v, s"
    corpus, dropped = take("jsonl", file, *ENGLISH, "--map", "setting=s")
    assert [(item.dilemma, item.setting) for item in corpus.activation] == [
        ("A", ""), ("B", "a farm"),
    ]  # fmt: skip
    assert [(row["where"], row["reason"]) for row in dropped] == [
        ("t.jsonl:3", "dilemma is empty"), ("t.jsonl:4", "no value"),
    ]  # fmt: skip


def test_plain_texts_among_stories(take: Take, lines: Callable[..., Path]) -> None:
    file = lines(
        {"d": "A", "v": "freedom", "c": "", "r": None},
        {"d": "B", "v": "freedom", "c": "x", "r": "y"},
        {"d": "C", "v": "freedom", "c": "x"},
    )
    corpus, (row,) = take("jsonl", file, *ENGLISH, "--map", "choice=c", "--map", "rationale=r")
    assert [(i.dilemma, i.choice, i.rationale) for i in corpus.activation] == [
        ("A", "", ""), ("B", "x", "y"),
    ]  # fmt: skip
    assert (row["where"], row["reason"]) == ("t.jsonl:3", "rationale is empty")


@pytest.mark.parametrize("cell", [["A", "B"], {"role": "x"}, True])
def test_cells_that_are_not_text(cell: object, take: Take, lines: Callable[..., Path]) -> None:
    file = lines({"d": cell, "v": "freedom"}, {"d": "B", "v": [cell]}, {"d": "C", "v": ["freedom"]})
    corpus, dropped = take("jsonl", file, *ENGLISH)
    assert [item.dilemma for item in corpus.activation] == ["C"]
    assert [row["reason"] for row in dropped] == ["dilemma is not text", "value is not text"]


def test_ids_are_kept(take: Take, lines: Callable[..., Path]) -> None:
    file = lines(
        {"i": "x1", "d": "A", "v": "freedom"}, {"i": "x2", "d": "B", "v": "freedom;justice"}
    )
    corpus, _ = take("jsonl", file, *ENGLISH, "--map", "id=i", "--separator", ";")
    assert [(item.id, item.pair) for item in corpus.activation] == [
        ("x1", "x1-freedom"), ("x2-freedom", "x2-freedom"), ("x2-justice", "x2-justice"),
    ]  # fmt: skip


def test_duplicate_ids(refused: Refused, lines: Callable[..., Path]) -> None:
    file = lines(*({"i": "x", "d": text, "v": "freedom"} for text in "ABC"))
    error = refused("jsonl", file, *ENGLISH, "--map", "id=i")
    assert error.startswith(
        "t.jsonl:2: duplicate id 'x', first seen at t.jsonl:1 (and 1 more such row)"
    )


@pytest.mark.parametrize("several", ["justice;freedom", ["justice", "freedom"]])
def test_pairs_of_one_dilemma_match(
    several: object, take: Take, lines: Callable[..., Path]
) -> None:
    """Even if its languages name different numbers of values."""
    file = lines({"n": "1", "g": "en", "d": "Be fair and free.", "v": several},
                 {"n": "1", "g": "zh", "d": "要公正自由。", "v": "公正"},
                 {"n": "2", "g": "zh", "d": "要自由。", "v": "自由"})  # fmt: skip
    options = ["--separator", ";"] if isinstance(several, str) else []
    corpus, _ = take("jsonl", file, *TEXT, "--map", "language=g", "--map", "pair=n", *options)
    assert [(item.pair, item.language) for item in corpus.activation] == [
        ("1-justice", "en"), ("1-freedom", "en"), ("1-justice", "zh"), ("2-freedom", "zh"),
    ]  # fmt: skip


def test_a_field_given_twice(refused: Refused, lines: Callable[..., Path]) -> None:
    error = refused("jsonl", lines({"d": "A", "v": "freedom"}), *ENGLISH, "--set", "value=justice")
    assert error == "--set value: --map value is given too; remove one of them"


def test_nothing_is_written_if_a_text_cannot_be(tmp_path: Path) -> None:
    item = EvaluationItem(id="a", pair="a", value="v", language="en", dilemma="\ud83d",
                          aligned="x", violating="y")  # fmt: skip
    with pytest.raises(UnicodeEncodeError):
        write_corpus(tmp_path / "dst", [], [item], {})
    assert not (tmp_path / "dst").exists()
