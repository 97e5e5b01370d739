"""Tokenising once: what is kept equals what was made, and another corpus has its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vxdist.cli import main
from vxdist.corpus import load_corpus
from vxdist.locate import token_cache as tokens
from vxdist.model.load import describe_model
from vxdist.model.source import find_model
from vxdist.settings import parse


@pytest.fixture
def read(
    run_options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Read the stories of a configuration, with a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def of(*options: str) -> Any:
        config = parse("locate", [*run_options, *options])
        source = find_model(config.model)
        return tokens.read_stories(
            config, load_corpus(config.corpus), source, describe_model(source)
        )

    return of


def kept(tmp_path: Path) -> list[Path]:
    return [entry for entry in (tmp_path / "cache/vxdist/tokens").iterdir() if entry.is_dir()]


def test_what_is_kept_is_what_was_made(
    read: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = read()
    assert len(kept(tmp_path)) == 1
    monkeypatch.setattr(tokens, "load_tokenizer", None)  # the second time none is needed
    again = read()
    assert [story.id for story in made] == [story.id for story in again]
    for first, second in zip(made, again, strict=True):
        np.testing.assert_array_equal(first.token_ids_T, second.token_ids_T)
        np.testing.assert_array_equal(first.counted_T, second.counted_T)


def test_what_decides_the_tokens_is_told_apart(read: Callable[..., Any], tmp_path: Path) -> None:
    everything = read()
    response = read("--locate.span", "response")
    fewer = read("--corpus.stories_per_group", "2")
    assert len(kept(tmp_path)) == 3
    assert sum(s.counted for s in response) < sum(s.counted for s in everything)
    assert len(fewer) == len(everything) / 2


def test_without_a_cache_it_goes_on(read: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    assert len(read()) == 48


def test_a_second_run_tokenises_nothing(
    run_options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(["locate", *run_options]) == 0
    before = {f: f.stat().st_mtime_ns for f in kept(tmp_path)[0].iterdir()}
    assert main(["locate", *run_options, "--store", str(tmp_path / "again.zarr")]) == 0
    assert before == {f: f.stat().st_mtime_ns for f in kept(tmp_path)[0].iterdir()}
