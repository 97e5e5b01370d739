"""`--add`: the existing corpus may be incomplete, and what its owner wrote is kept."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from vxdist.cli import main
from vxdist.config import CorpusConfig
from vxdist.corpus import load_corpus

TEXT = ["--map", "dilemma=d", "--map", "value=v"]
ROW = "d,v\nA,freedom\n"


@pytest.fixture
def put(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Import this CSV into DST; returns the error message, if any."""

    def run(text: str, *options: str, language: str = "en", target: str = "") -> str:
        (tmp_path / "t.csv").write_text(text, encoding="utf-8")
        into = target or str(tmp_path / "dst")
        words = ["import", "--format", "csv", str(tmp_path / "t.csv"), into, *TEXT]
        code = main(["corpus", *words, "--set", f"language={language}", *options])
        error = capsys.readouterr().err.strip().removeprefix("error: ")
        assert (code, "\n" in error) == (2 if error else 0, False)
        return error

    return run


def test_evaluation_first(put: Callable[..., str], tmp_path: Path) -> None:
    columns = ["--map", "aligned=a", "--map", "violating=b"]
    assert not put("d,v,a,b\nE,freedom,x,y\n", "--split", "evaluation", *columns)
    assert not put(ROW, "--add")
    corpus = load_corpus(CorpusConfig(path=str(tmp_path / "dst")))
    assert (len(corpus.activation), len(corpus.evaluation)) == (1, 1)


def test_one_file_per_value_and_language(put: Callable[..., str], tmp_path: Path) -> None:
    assert not put("d,v\nA,freedom\nB,justice\n")
    assert not put("d,v\n自由。,freedom\n", "--add", language="zh")
    assert not put("d,v\n公正。,justice\n", "--add", language="zh")
    corpus = load_corpus(CorpusConfig(path=str(tmp_path / "dst")))
    assert len(corpus.activation) == 4
    card = yaml.safe_load((tmp_path / "dst" / "card.yaml").read_text(encoding="utf-8"))
    assert card["values"] == ["freedom", "justice"]


def test_invalid_lines(put: Callable[..., str], tmp_path: Path) -> None:
    assert not put(ROW)
    file = tmp_path / "dst" / "activation.jsonl"
    file.write_text("no\n")
    assert f"{file}:1: not JSON" in put(ROW, "--add")
    assert file.read_text() == "no\n"


@pytest.mark.parametrize(
    ("sources", "kept"),
    [(None, []), ("my notes", ["my notes"]), ([{"name": "a"}], [{"name": "a"}])],
)
def test_the_card_is_kept(
    sources: object, kept: list[object], put: Callable[..., str], tmp_path: Path
) -> None:
    assert not put(ROW)
    card = {
        "name": "Mine", "licence": "CC0", "languages": ["en"], "values": {"freedom": {"en": "F"}},
        "remarks": "mind the gap", "sources": sources,
    }  # fmt: skip
    file = tmp_path / "dst" / "card.yaml"
    file.write_text(yaml.safe_dump(card, sort_keys=False))
    assert not put("d,v\nB,justice\n", "--add", "--licence", "MIT")
    source = {"name": "t.csv", "format": "csv", "licence": "MIT"}
    assert yaml.safe_load(file.read_text()) == card | {
        "sources": [*kept, source], "remarks": ["mind the gap"],
    }  # fmt: skip


def test_a_card_that_cannot_be_read_is_not_replaced(
    put: Callable[..., str], tmp_path: Path
) -> None:
    assert not put(ROW)
    file = tmp_path / "dst" / "card.yaml"
    file.write_text("name: [")
    assert f"{file}: not YAML" in put(ROW, "--add")
    assert file.read_text() == "name: ["


@pytest.mark.parametrize(
    "log",
    ["[]", '{"dropped": [{"row": 1}]}', '{"rows": "many"}', '{"remarks": [1]}', "{", "[" * 9999],
)
def test_a_log_of_another_shape(log: str, put: Callable[..., str], tmp_path: Path) -> None:
    assert not put(ROW)
    file = tmp_path / "dst" / "import.json"
    file.write_text(log)
    error = put("d,v\nB,justice\n", "--add")
    assert error.startswith(f"{file}: not ")
    assert "remove it to continue without it" in error


def test_existing_dilemmas_are_kept(put: Callable[..., str], tmp_path: Path) -> None:
    """Importing the release drops dilemmas of values without stories, but only its own."""
    from vxdist.corpus.importing.collect import Collected
    from vxdist.corpus.items import EvaluationItem
    from vxdist.corpus.read import read_corpus

    columns = ["--map", "aligned=a", "--map", "violating=b"]
    assert not put("d,v,a,b\nE,freedom,x,y\n", "--split", "evaluation", *columns)
    read, collected = read_corpus(str(tmp_path / "dst")), Collected()
    collected.begin_with(read.activation, read.evaluation)
    collected.add_dilemma(
        EvaluationItem(id="n", pair="n", value="justice", language="en", dilemma="D", aligned="x",
                       violating="y"),
        "t.xlsx:s:2",
    )  # fmt: skip
    collected.drop_values_without_stories()
    assert [item.dilemma for item in collected.evaluation] == ["E"]
    assert [row.where for row in collected.dropped] == ["t.xlsx:s:2"]


def test_invalid_targets(put: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for target, message in (
        ("builtin:cvoice-seed", "is bundled with vxdist and read-only"),
        (str(tmp_path / "nowhere"), "is not a directory; omit --add"),
        (str(tmp_path / "empty"), "has no activation.jsonl"),
        (str(tmp_path / "file" / "x"), f"{tmp_path / 'file'} is a file; give a directory"),
    ):
        assert message in put(ROW, "--add", target=target)
    assert "is a file" in put(ROW, target=str(tmp_path / "file" / "x" / "y"))
    assert "is bundled with vxdist" in put(ROW, target="builtin:mine")
