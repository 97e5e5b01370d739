"""GGUF files: what they lack is refused, and what was converted of them is verified before use."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.model.tiny_gguf import tensors, write_tiny
from vxdist.config import ModelConfig
from vxdist.errors import UserError
from vxdist.model import gguf as converting
from vxdist.model.cache import is_intact, make_folder
from vxdist.model.load import load_model
from vxdist.model.source import find_model


@pytest.fixture
def write_gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a small Llama as GGUF, with some of its tensors; the cache is empty at first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lambda lost=None: write_tiny(tmp_path / "tiny.gguf", lost)


def converted(cache: Path) -> list[Path]:
    return [folder for folder in (cache / "vxdist" / "gguf").glob("*") if folder.is_dir()]


def test_a_converted_model_has_the_weights_of_its_file(write_gguf: Callable[..., Path]) -> None:
    config = ModelConfig(path=str(write_gguf()))
    model: Any = load_model(find_model(config), config)
    down = model.model.layers[1].mlp.down_proj.weight.numpy()
    np.testing.assert_array_equal(down, tensors()["blk.1.ffn_down.weight"])


@pytest.mark.parametrize("lost", ["blk.1.ffn_gate.weight", "token_embd.weight"])
def test_a_file_without_a_tensor_is_refused_and_not_kept(
    lost: str, write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"tiny\.gguf") as refusal:
        find_model(ModelConfig(path=str(write_gguf(lost))))
    if lost.startswith("blk"):
        assert "does not have: model.layers.1.mlp.gate_proj.weight" in str(refusal.value)
    assert converted(tmp_path / "cache") == []


def test_a_file_that_is_no_gguf(tmp_path: Path, write_gguf: Callable[..., Path]) -> None:
    file = write_gguf()
    for content in (file.read_bytes()[:1000], b"GGUF" + b"\xff" * 100, b""):
        file.write_bytes(content)
        with pytest.raises(UserError, match="is not a whole GGUF file") as refusal:
            find_model(ModelConfig(path=str(file)))
        assert "\n" not in str(refusal.value)


def test_a_changed_conversion_is_made_again(
    write_gguf: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ModelConfig(path=str(write_gguf()))
    whole = (find_model(config).directory / "model.safetensors").read_bytes()
    (folder,) = converted(tmp_path / "cache")
    zeroed = whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2)
    (folder / "model.safetensors").write_bytes(zeroed)
    capsys.readouterr()
    assert (find_model(config).directory / "model.safetensors").read_bytes() == whole
    assert "the cached conversion of tiny.gguf has changed" in capsys.readouterr().err
    for name in ("config.json", "digests.json"):
        (folder / name).unlink()
        assert (find_model(config).directory / "model.safetensors").read_bytes() == whole
        assert (folder / name).is_file()
    assert "converting" in capsys.readouterr().out


def test_another_version_of_the_converter_converts_again(
    write_gguf: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ModelConfig(path=str(write_gguf()))
    first = find_model(config).directory
    monkeypatch.setattr(converting, "version", lambda name: f"{name} of tomorrow")
    assert find_model(config).directory != first
    assert len(converted(tmp_path / "cache")) == 2


def test_folders_of_the_cache(tmp_path: Path) -> None:
    """All bytes are vouched for, and what failed leaves nothing."""
    folder = tmp_path / "made"

    def write(partial: Path) -> None:
        (partial / "a.json").write_text("1")
        (partial / "b.bin").write_bytes(b"2" * 5000)

    make_folder(folder, write)
    assert is_intact(folder)
    assert not is_intact(tmp_path / "other")
    for name in ("a.json", "b.bin"):
        (folder / name).write_bytes(b"3")
        assert not is_intact(folder)
        make_folder(folder, write)
        assert is_intact(folder)
    (folder / "more").touch()
    assert not is_intact(folder)
    (folder / "digests.json").write_text(json.dumps([]))
    assert not is_intact(folder)

    def fail(partial: Path) -> None:
        (partial / "a.json").touch()
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        make_folder(tmp_path / "never", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_types_and_architectures_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named before anything is converted."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "tiny.gguf"
    name = "blk.1.ffn_gate.weight"
    write_tiny(file, packed={name: ("Q8_1", np.zeros((48, 40), dtype=np.uint8))})
    with pytest.raises(UserError, match=rf"the tensor '{name}' .* of the type Q8_1") as refusal:
        find_model(ModelConfig(path=str(file)))
    assert "\n" not in str(refusal.value)
    write_tiny(file, architecture="rwkv7")
    with pytest.raises(UserError, match=r"of the architecture rwkv7, which transformers does not"):
        find_model(ModelConfig(path=str(file)))


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0", "MXFP4", "BF16"])
def test_packed_tensors_are_what_the_package_gguf_makes_of_them(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = pytest.importorskip("gguf")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    name, known = "blk.1.ffn_gate.weight", gguf.GGMLQuantizationType[kind]
    content = gguf.quants.quantize(tensors()[name], known)
    write_tiny(tmp_path / "tiny.gguf", packed={name: (kind, content.view(np.uint8))})
    config = ModelConfig(path=str(tmp_path / "tiny.gguf"))
    found = load_model(find_model(config), config).get_parameter(
        "model.layers.1.mlp.gate_proj.weight"
    )
    expected = gguf.quants.dequantize(content, known)
    np.testing.assert_array_equal(found.numpy(), expected)
