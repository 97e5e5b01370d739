"""A model's digest changes with any byte that can decide a number, and is read once."""

import os
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from vxdist.config import ModelConfig
from vxdist.model import identify
from vxdist.model.identify import digest_model
from vxdist.model.source import find_model


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(model_folder, tmp_path / "model")
    return tmp_path / "model"


def digest(folder: Path) -> str:
    return digest_model(find_model(ModelConfig(path=str(folder))))


def test_one_number_of_one_neuron(folder: Path) -> None:
    before, file = digest(folder), folder / "model.safetensors"
    weights = load_file(file)
    weights["model.layers.1.mlp.down_proj.weight"][3, 5] += 1
    save_file(weights, file, metadata={"format": "pt"})
    assert digest(folder) != before


def test_a_copy_is_the_same_model(folder: Path) -> None:
    shutil.copytree(folder, folder.parent / "copy")
    assert digest(folder.parent / "copy") == digest(folder)


def test_what_decides_no_number_does_not_count(folder: Path) -> None:
    before = digest(folder)
    (folder / "README.md").write_text("about it")
    (folder / "helper.py").write_text("# not run, as config.json names no code")
    assert digest(folder) == before
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    assert digest(folder) != before


def test_files_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest(folder)
    monkeypatch.setattr(identify, "hash_file", None)  # the second time none is read
    assert digest(folder) == before
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)  # no folder
    assert digest(folder) == before
