"""Models from strangers: what is damaged, or made to harm, is refused in one line and seconds.

What is not refused is what the file says: no weight is random, zero or another's.
"""

import datetime
import json
import os
import shutil
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.hostile import fuzz
from tests.model.tiny_gguf import tensors, write_tiny
from vxdist.asking import template
from vxdist.asking.prompting import Prompter, Today
from vxdist.config import EvaluateConfig, ModelConfig
from vxdist.errors import UserError
from vxdist.model.gguf_header import check_header
from vxdist.model.load import describe_model, load_model, load_tokenizer
from vxdist.model.source import find_model

TODAY = Today(date=datetime.date(2026, 1, 31), given=False)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(1)
    return tmp_path / "cache"


@pytest.fixture
def gguf_file(tmp_path: Path, cache: Path) -> Path:
    return write_tiny(tmp_path / "tiny.gguf")


def weights_held(file: Path) -> list[list[float]]:
    """The numbers of each tensor in the data of the file, sorted, where the writer had put them."""
    data, at, held = file.read_bytes(), 0, []
    size = sum(-(-tensor.nbytes // 32) * 32 for tensor in tensors().values())
    for tensor in tensors().values():
        begins = len(data) - size + at
        numbers = np.frombuffer(data[begins : begins + tensor.nbytes], "<f4")
        held.append(sorted(numbers.tolist()))
        at += -(-tensor.nbytes // 32) * 32
    return sorted(held)


def read_gguf(file: Path) -> str:
    """Load the model as a run does; its weights must be those that the file holds."""
    config = ModelConfig(path=str(file))
    source = find_model(config)
    describe_model(source)
    model = load_model(source, config)
    found = sorted(sorted(w.flatten().tolist()) for w in model.state_dict().values())
    assert found == weights_held(file), "weights that are not in the file"
    return "the file's weights"


def test_mutated_gguf_files(gguf_file: Path, tmp_path: Path, soak: int) -> None:
    assert read_gguf(gguf_file)
    content, number = gguf_file.read_bytes(), fuzz.count(soak)
    files = fuzz.make_files(tmp_path / "m", content, number, seed=soak, name="tiny.gguf")
    found = fuzz.judge(files, read_gguf)
    assert [told for kind, told in found if kind == fuzz.FAILED] == []
    assert Counter(kind for kind, _ in found)[fuzz.REFUSED] > number / 3


def patched(file: Path, old: bytes, new: bytes, shift: int = 0) -> Path:
    """The file with bytes replaced, `shift` bytes behind where `old` ends."""
    content = bytearray(file.read_bytes())
    at = content.index(old) + len(old) + shift
    content[at : at + len(new)] = new
    file.write_bytes(content)
    return file


NAME = b"blk.0.ffn_up.weight"
"""Behind it: 4 bytes number of dimensions, two of 8 bytes, 4 bytes type, 8 bytes place."""


@pytest.mark.parametrize(
    ("shift", "new", "told"),
    [
        (24, struct.pack("<Q", 0), "'blk.0.ffn_up.weight' is at 0, expected at"),
        (24, struct.pack("<Q", 1 << 60), "is at 1,152,921,504,606,846,976, expected at"),
        (4, struct.pack("<Q", 1 << 40), "promises|is at"),
        (4, struct.pack("<Q", 0), "has the shape"),
        (0, struct.pack("<I", 7), "has 7 dimensions"),
        (20, struct.pack("<I", 1), "is at"),
        (20, struct.pack("<I", 77), "unknown type 77"),
        (-len(NAME), b"blk.0.ffn_gat", "weights|have|twice|is at"),
        (-len(NAME), b"blk.1.ffn_up.weight", "occurs twice"),
    ],
)
def test_tensors_that_are_not_where_they_are_said_to_be(
    gguf_file: Path, shift: int, new: bytes, told: str
) -> None:
    with pytest.raises(UserError, match=told) as refusal:
        find_model(ModelConfig(path=str(patched(gguf_file, NAME, new, shift))))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("key", "new", "told"),
    [
        (b"llama.block_count", struct.pack("<I", 4_000_000_000), "block_count is 4000000000"),
        (b"llama.block_count", struct.pack("<I", 1), "block_count is 1, and it holds 2 blocks"),
        (b"llama.embedding_length", struct.pack("<I", 1 << 30), "describes a model of"),
        (b"llama.feed_forward_length", struct.pack("<I", 1 << 30), "describes a model of"),
        (b"llama.context_length", b"", ""),
        (b"llama.attention.layer_norm_rms_epsilon", struct.pack("<f", float("nan")), "is nan"),
    ],
)
def test_keys_that_say_another_model(gguf_file: Path, key: bytes, new: bytes, told: str) -> None:
    patched(gguf_file, key, new, 4)
    if not told:
        assert read_gguf(gguf_file)
        return
    with pytest.raises(UserError, match=told):
        find_model(ModelConfig(path=str(gguf_file)))


def test_a_key_that_transformers_would_guess(gguf_file: Path) -> None:
    file = patched(gguf_file, b"llama.block_coun", b"T")
    with pytest.raises(UserError, match="it has no block_count"):
        check_header(file)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number(gguf_file: Path, number: float) -> None:
    content = bytearray(gguf_file.read_bytes())
    content[-64:-60] = struct.pack("<f", number)
    gguf_file.write_bytes(content)
    with pytest.raises(UserError, match="has a weight that is infinite or no number"):
        find_model(ModelConfig(path=str(gguf_file)))


def test_a_sparse_giant(gguf_file: Path) -> None:
    """Refused without reading it."""
    with gguf_file.open("r+b") as file:
        file.truncate(1 << 42)
    with pytest.raises(UserError, match=r"it has 4,398,046,511,104; download"):
        find_model(ModelConfig(path=str(gguf_file)))


FILES: dict[str, tuple[fuzz.Mutate, ...]] = {
    "model.safetensors": (fuzz.mutate, fuzz.mutate_header),
    "config.json": (fuzz.mutate_json, fuzz.mutate_json, fuzz.mutate),
    "tokenizer.json": (fuzz.mutate_json, fuzz.mutate),
    "tokenizer_config.json": (fuzz.mutate_json, fuzz.mutate_json, fuzz.mutate),
    "chat_template.jinja": (fuzz.mutate,),
}
CHAT = (
    "{% for m in messages %}{% if m.role == 'user' %}[{{ m['content'] | trim }}]{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'A:' * 1 }}{% endif %}"
)


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """A small Llama whose tokenizer has a chat template, saved."""
    folder = tmp_path_factory.mktemp("chat") / "model"
    shutil.copytree(model_folder, folder)
    (folder / "chat_template.jinja").write_text(CHAT)
    return folder


def read_weights(file: Path) -> str:
    """Load the model, and run it."""
    config = ModelConfig(path=str(file.parent))
    source = find_model(config)
    describe_model(source)
    logits = load_model(source, config)(torch.tensor([[1, 2, 3]])).logits
    return f"finite: {bool(logits.isfinite().all())}"


def read_tokenizer(file: Path) -> str:
    """Load the tokenizer, and have it ask a question."""
    source = find_model(ModelConfig(path=str(file.parent)))
    prompter = Prompter(load_tokenizer(source), EvaluateConfig(), TODAY)
    return str(prompter.encode("Keep it? A or B", "en"))


@pytest.mark.parametrize("name", FILES)
def test_a_folder_with_a_mutated_file(
    name: str, chat_folder: Path, tmp_path: Path, soak: int, cache: Path
) -> None:
    content = (chat_folder / name).read_bytes()
    number = fuzz.count(soak)
    files = fuzz.make_files(
        tmp_path / "m", content, number, seed=soak, name=name, mutations=FILES[name]
    )
    for file in files:
        for other in chat_folder.iterdir():
            if other.name != name:
                os.link(other, file.parent / other.name)
    is_model = name in ("model.safetensors", "config.json")
    found = fuzz.judge(files, read_weights if is_model else read_tokenizer)
    assert [told for kind, told in found if kind == fuzz.FAILED] == []
    assert fuzz.REFUSED in {kind for kind, _ in found}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"num_hidden_layers": 10_000_000}, "num_hidden_layers: found 10000000, expected at most"),
        ({"vocab_size": 1 << 50}, "vocab_size: found 1125899906842624"),
        ({"nested": {"deep": [{"n_layer": 10**30}]}}, "n_layer: found 1"),
        (None, "expected a JSON object"),
    ],
)
def test_a_configuration_of_giants(
    change: dict[str, Any] | None, told: str, chat_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in chat_folder.iterdir():
        os.link(file, folder / file.name)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").unlink()
    content = [] if change is None else config | change
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=told):
        find_model(ModelConfig(path=str(folder)))


def test_a_header_nested_too_deeply(chat_folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        folder = tmp_path / name[:5]
        folder.mkdir()
        for file in chat_folder.iterdir():
            os.link(file, folder / file.name)
        (folder / name).unlink()
        head = b"[" * 1_000_000
        size = len(head).to_bytes(8, "little") if name != "config.json" else b""
        (folder / name).write_bytes(size + head)
        with pytest.raises(UserError, match=r"nested too deeply|header is unreadable"):
            describe_model(find_model(ModelConfig(path=str(folder))))


ENDLESS = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{{ 'x' * 10000000000 }}",
    "{{ 9**9**9**9 }}",
    "{{ 1|round(1000000000, 'ceil') }}",
    "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "{% set n = namespace(s=9) %}{% for i in range(99) %}{% set n.s = n.s * n.s %}{% endfor %}",
    "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "{{ '%1000000000000d' % 3 }}",
    "{{ 'x'|center(100000000000) }}",
    "{{ lipsum(n=1000000000) }}",
    "{{ messages|tojson(indent=100000000000) }}",
    "{{ ''.__class__.__mro__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{% include '/etc/passwd' %}",
    "{{ messages[0]['content'] }}{{ 'y' * 30000000 }}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{% if 1 %}" * 2000 + "{% endif %}" * 2000,
)


def test_chat_templates_that_mean_harm(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template, "SECONDS", 0.2)
    files = [tmp_path / f"{n}.jinja" for n in range(len(ENDLESS))]
    for file, text in zip(files, ENDLESS, strict=True):
        file.write_text(text)

    def read(file: Path) -> int:
        tokenizer.chat_template = file.read_text()
        return len(Prompter(tokenizer, EvaluateConfig(), TODAY).encode("Keep it?", "en"))

    found = fuzz.judge(files, read, memory=4 << 30)
    assert [(k, told) for k, told in found if k != fuzz.REFUSED] == []
    assert "did not end within 0.2 s" in found[0][1]
    assert "asks for more than 2 GiB of memory" in found[1][1]
