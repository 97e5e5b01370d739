"""Small count files, as LAPE and ValueExploration save them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vxdist.cli import main

NUM_LAYERS, NUM_NEURONS = 3, 40


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[..., str]:
    """Save a sound count file, `changes` made to it (None leaves a key out); returns its path."""
    import torch

    def make(name: str, seed: int = 0, **changes: Any) -> str:
        rng = np.random.default_rng(seed)
        active_LN = rng.integers(0, 900, (NUM_LAYERS, NUM_NEURONS)).astype(np.int32)
        content = {
            "over_zero": torch.from_numpy(active_LN),
            "token_num": 1000.0 + seed,  # a float, as in the published files
            "question_num": 10 + seed,
            **changes,
        }
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save({key: item for key, item in content.items() if item is not None}, file)
        return str(file)

    return make


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Where imports go."""
    return str(tmp_path / "s.zarr")


@pytest.fixture
def files(make_file: Callable[..., str]) -> list[str]:
    """Two values, two languages, two stances, in no order."""
    return [
        make_file(f"{language}/{value}-{stance}.pt", seed)
        for seed, (value, language, stance) in enumerate(
            (value, language, stance)
            for stance in ("support", "conflict")
            for value in ("爱国", "和谐")
            for language in ("zh", "en")
        )
    ]


@pytest.fixture
def run_import(files: list[str], store: str) -> Callable[..., int]:
    """Import these files by their names; the exit code."""

    def run(*options: str) -> int:
        pattern = ("--pattern", "{language}/{value}-{stance}.pt")
        return main(["import", "lape", *files, "--store", store, *pattern, *options])

    return run


@pytest.fixture
def refused(store: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Import, over tokens and in Chinese by default; returns the line it is refused with."""

    def run(*arguments: str, options: tuple[str, ...] = ("--language", "zh")) -> str:
        capsys.readouterr()
        denominator = () if "--denominator" in arguments else ("--denominator", "tokens")
        into = () if "--store" in arguments else ("--store", store)
        assert main(["import", "lape", *arguments, *options, *denominator, *into]) == 2
        captured = capsys.readouterr()
        lines = captured.err.strip().splitlines()
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("error: ")
        assert not Path(store).exists()
        return lines[0]

    return run
