"""A store of the first edition of the bundled seed goes on when the seed has other texts."""

import dataclasses
import json
from pathlib import Path

import pytest

import vxstore
from vxdist.cli import main
from vxdist.config import Config, CorpusConfig
from vxdist.corpus import load_corpus
from vxdist.corpus.editions import BUILTIN, NEWEST, find_edition
from vxdist.corpus.write import write_corpus
from vxdist.report.content import gather
from vxstore.cli.main import main as ask
from vxstore.write import Recorder

FIRST = "builtin:cvoice-seed-1"
SMALL = ["--corpus.values", "[justice,freedom]", "--corpus.stories_per_group", "2"]
SMALL += ["--corpus.dilemmas_per_value", "2"]


@pytest.fixture
def options(run_options: list[str], long_model_folder: Path) -> list[str]:
    """A run of a few texts of the bundled seed under its ordinary name."""
    batches = ["--locate.tokens_per_batch", "4096", "--evaluate.tokens_per_batch", "4096"]
    changed = [*run_options, *SMALL, *batches]
    changed[changed.index("--model.path") + 1] = str(long_model_folder)
    changed[changed.index("--corpus.path") + 1] = NEWEST
    return changed


def put_newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put other texts under the name of the newest edition."""
    first = load_corpus(CorpusConfig(path=FIRST))
    stories = [dataclasses.replace(i, rationale=f"{i.rationale} 。") for i in first.activation]
    dilemmas = [dataclasses.replace(i, dilemma=f"{i.dilemma} 。") for i in first.evaluation]
    write_corpus(tmp_path / "newer", stories, dilemmas, {"limits": "Newer limits."})
    monkeypatch.setitem(BUILTIN, NEWEST, str(tmp_path / "newer"))


def with_path(options: list[str], path: str) -> list[str]:
    """The options with another corpus."""
    changed = [*options]
    changed[changed.index("--corpus.path") + 1] = path
    return changed


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command is refused with."""
    capsys.readouterr()
    assert main(words) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    return error


def test_all_stages_go_on_with_the_first_edition(
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(BUILTIN, NEWEST, BUILTIN[FIRST])  # as it was when the store was made
    assert main(["run", *options]) == 0
    path = str(tmp_path / "run.zarr")
    kept = vxstore.open(path).attrs
    put_newer(tmp_path, monkeypatch)

    Recorder(path).unseal(1)
    line = refusal(["locate", *options], capsys)
    advice = f"the first edition of the bundled seed, and {NEWEST} is the newest edition"
    assert line == f"error: {path} was made with {advice}; give --corpus.path {FIRST}"
    line = refusal(
        ["locate", *with_path(options, FIRST), "--corpus.stories_per_group", "1"], capsys
    )
    other = "corpus.stories_per_group is 2 there, 1 here: restore that"
    assert line == f"error: {path} was made with other texts of {FIRST}; {other}"
    first = with_path(options, FIRST)
    assert main(["locate", *first]) == 0
    assert "resuming: 1 of 16 parts are missing" in capsys.readouterr().out
    assert vxstore.open(path).attrs["corpus_digest"] == kept["corpus_digest"]

    line = refusal(["evaluate", *options], capsys)
    assert line == (
        f"error: {path}/evaluation/choice was made with {advice}; give --corpus.path {FIRST}"
    )
    for stage in ("evaluate", "run"):
        assert main([stage, *first]) == 0
        assert "evaluate: evaluation/choice exists already" in capsys.readouterr().out
    assert main(["reduce", *first, "--reduce.name", "again"]) == 0
    config = Config(store=path, corpus=CorpusConfig(path=NEWEST))
    assert "Newer limits" not in gather(config).corpus_limits, "the card is of the first edition"
    capsys.readouterr()
    assert ask(["effects", path, "--dilemmas", "--format", "json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["texts"] is None
    assert answer["dilemmas"]
    assert not [row for row in answer["dilemmas"] if row["dilemma"].endswith(" 。")]
    assert main(["evaluate", *options, "--evaluate.name", "newer"]) == 0
    expected = f"warning: {path} was recorded with the first edition of the bundled seed"
    assert expected in capsys.readouterr().err


def test_the_edition_is_told_by_its_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_newer(tmp_path, monkeypatch)
    few = CorpusConfig(path=FIRST, values=["freedom"], dilemmas_per_value=3)
    corpus = load_corpus(few)
    kept = {
        "corpus_digest": corpus.activation_digest(),
        "evaluation_digest": corpus.evaluation_digest(),
    }
    alike = dataclasses.replace(few, path=NEWEST)
    for key in ("corpus_digest", "evaluation_digest"):
        assert find_edition(alike, kept, key) == FIRST
        assert find_edition(CorpusConfig(path=NEWEST), kept, key) is None
        saved = {**kept, "config": {"corpus": {**dataclasses.asdict(alike), "unknown": 1}}}
        assert find_edition(CorpusConfig(path=NEWEST), saved, key) == FIRST
        assert find_edition(alike, {}, key) is None
