"""Faults of servers, disks and users, one at a time."""

import asyncio
import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import vxdist.corpus.builder
from vxdist.cli import main
from vxdist.config import CorpusConfig
from vxdist.corpus import load_corpus
from vxdist.corpus.builder.budget import RateLimiter
from vxdist.corpus.builder.config import BuildConfig
from vxdist.settings import parse_section

Serve = Callable[..., str]
Build = Callable[..., tuple[int, str]]
PROMPTS = Path(vxdist.corpus.builder.__file__).with_name("prompts")


@pytest.fixture
def build(options: Any, capsys: pytest.CaptureFixture[str]) -> Build:
    """Build; returns the exit code and the error message."""

    def run(url: str, **others: object) -> tuple[int, str]:
        code = main(options(url, **others))
        return code, capsys.readouterr().err.strip().removeprefix("error: ")

    return run


def read_reasons(tmp_path: Path) -> Counter[str]:
    """Count the reasons in rejects.jsonl."""
    text = (tmp_path / "out" / "rejects.jsonl").read_text(encoding="utf-8")
    return Counter(json.loads(line)["reason"] for line in text.split("\n") if line)


def read_requests(tmp_path: Path) -> list[Any]:
    """The requests that the server received."""
    return [json.loads(line) for line in (tmp_path / "log").open()]


def count_requests(tmp_path: Path) -> int:
    """Number of requests that the server received."""
    return sum(1 for _ in (tmp_path / "log").open())


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("cut", "cut off at build.answer_tokens"), ("page", "no chat completion"),
     ("filter", "refused: "), ("error", "no chat completion"), ("parts", "the answer is empty"),
     ("surrogate", "lone surrogate"), ("separator", "not a JSON object")],
)  # fmt: skip
def test_an_unusable_answer_is_requested_again(
    fault: str, reason: str, serve: Serve, build: Build, tmp_path: Path
) -> None:
    assert build(serve(fault, "none"), concurrency=2) == (0, "")
    reasons = read_reasons(tmp_path)
    assert reasons
    assert all(reason in found for found in reasons), reasons
    assert build("http://127.0.0.1:9/v1")[0] == 0, "everything was written and can be read"
    requests = read_requests(tmp_path)
    assert all("response_format" in one for one in requests), "a refusal is not about schemas"
    assert len(load_corpus(CorpusConfig(path=str(tmp_path / "out"))).activation) == 24


def test_a_repeated_request_gives_the_reason(serve: Serve, build: Build, tmp_path: Path) -> None:
    assert build(serve("malformed", "none"), concurrency=1) == (0, "")
    conversations = [request["messages"] for request in read_requests(tmp_path)]
    repeated = [messages for messages in conversations if len(messages) > 1]
    assert repeated
    for question, answer, reason in repeated:
        assert (question["role"], answer["role"], reason["role"]) == ("user", "assistant", "user")
        assert answer["content"] == "Sure! Here is a story about"
        assert "the answer is not a JSON object" in reason["content"]


def test_additional_request_fields_are_sent(serve: Serve, build: Build, tmp_path: Path) -> None:
    extra = {"request": '{"chat_template_kwargs": {"enable_thinking": false}}'}
    few = {"stories_per_value": 0, "dilemmas_per_value": 1}
    assert build(serve(), **extra, **few) == (0, "")
    requests = read_requests(tmp_path)
    assert all(one["chat_template_kwargs"] == {"enable_thinking": False} for one in requests)


def test_a_refusal_quotes_the_server(serve: Serve, build: Build) -> None:
    code, error = build(serve("pinned"))
    assert code == 2
    assert "Server is pinned" in error, "FastAPI servers put it in `detail`"


def test_a_dilemma_in_another_language_is_rejected(
    serve: Serve, build: Build, tmp_path: Path
) -> None:
    assert build(serve("foreign"), concurrency=1) == (0, "")
    assert "dilemma is in language ru, expected" in " ".join(read_reasons(tmp_path))


def test_missing_token_counts_are_estimated(serve: Serve, build: Build, tmp_path: Path) -> None:
    assert build(serve("uncounted")) == (0, "")
    usage = [json.loads(line) for line in (tmp_path / "out" / "usage.jsonl").open()]
    assert all(spent["read"] > 50 and spent["written"] > 20 for spent in usage)


def test_an_endpoint_that_suddenly_refuses_everything_stops_the_build(
    serve: Serve, build: Build, tmp_path: Path
) -> None:
    """Its refusals do not count against the pairs."""
    code, error = build(serve("broke"), concurrency=2, attempts=6)
    assert code == 3
    assert "gave no answer 10 times in a row" in error
    assert "Your credit balance is too low" in error
    assert build(serve(), concurrency=2, attempts=6) == (0, "")
    assert len(load_corpus(CorpusConfig(path=str(tmp_path / "out"))).activation) == 24


def test_one_rationale_for_both_decisions_is_rejected(
    serve: Serve, build: Build, tmp_path: Path
) -> None:
    assert build(serve("echo"), attempts=2, dilemmas_per_value=0)[0] == 0
    assert not (tmp_path / "out" / "activation.jsonl").exists()
    assert "rationale nearly the same as that of the aligned decision" in " ".join(
        read_reasons(tmp_path)
    )


def test_answers_for_a_pair_that_was_given_up_are_kept(
    serve: Serve, build: Build, tmp_path: Path
) -> None:
    few = {"stories_per_value": 1, "dilemmas_per_value": 0}
    assert build(serve("echo"), attempts=1, **few)[0] == 0
    before = count_requests(tmp_path)
    assert build(serve(), attempts=5, **few) == (0, "")
    # Two values: a check, and the requests from the rejected rationale on.
    assert count_requests(tmp_path) - before == 1 + 2 * (6 - 3)


def test_a_server_that_lists_nothing(serve: Serve, build: Build) -> None:
    assert build(serve("nolist"), stories_per_value=1, dilemmas_per_value=0) == (0, "")


def test_bounds_for_each_language_suffice(serve: Serve, build: Build) -> None:
    bounds = {"dilemma_words": '{"zh": [50, 140], "en": [35, 95]}'}
    assert build(serve(), **bounds, stories_per_value=1, dilemmas_per_value=0) == (0, "")


def test_both_rate_limits_hold_and_do_not_add_up() -> None:
    async def ask(limiter: RateLimiter, times: int) -> float:
        began = time.monotonic()
        for _ in range(times):
            await limiter.wait(asyncio.Event())
            limiter.charge(100)
        return time.monotonic() - began

    assert 0.9 <= asyncio.run(ask(RateLimiter(600, 60_000), 11)) < 1.5


def test_sigterm_does_not_wait_for_the_rate_limit(
    serve: Serve, options: Any, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "vxdist", *options(serve(), requests_per_minute=20)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "log").exists() or count_requests(tmp_path) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=20)[1]
    assert process.returncode == 3
    assert error.startswith("stopped; run the same command again to resume")
    assert count_requests(tmp_path) == 2


def test_a_proxy_is_not_used_for_a_server_on_this_machine(
    serve: Serve, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert build(serve(), stories_per_value=1, dilemmas_per_value=0) == (0, "")


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"base_url": "localhost:8000/v1"}, "expected an address such as"),
        ({"base_url": "http://localhost:80x0/v1"}, "expected an address such as"),
        ({"base_url": "http://[::1/v1"}, "expected an address such as"),
        ({"most_cost": 1.0}, "build.most_cost has no effect without them"),
        ({"prompt_price": -1.0}, "found -1.0 and 0.0"),
        ({"timeout": 0.0}, "build.timeout: found 0.0, expected more than 0"),
    ],
)
def test_invalid_settings(others: dict[str, object], message: str, build: Build) -> None:
    code, error = build("http://127.0.0.1:9/v1", **others)
    assert code == 2
    assert message in error
    assert "\n" not in error


def test_a_key_that_was_copied_with_its_quotation_marks(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "“sk-1”")
    code, error = build("https://api.example.org/v1")
    assert (code, "copied with quotation marks" in error) == (2, True)


@pytest.mark.parametrize("topics", [{"settings": [{"work": {"zh": "工作"}}]}, {"settings": "work"}])
def test_topics_that_are_not_lists_of_texts(
    topics: dict[str, object], build: Build, tmp_path: Path
) -> None:
    file = tmp_path / "topics.yaml"
    file.write_text(yaml.safe_dump(topics | {"rivals": ["gain"], "narrators": ["a clerk"]}))
    code, error = build("http://127.0.0.1:9/v1", topics=file)
    assert code == 2
    assert "settings must be a list of texts" in error


def test_a_folder_below_a_file(build: Build, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, error = build("http://127.0.0.1:9/v1", out=tmp_path / "file" / "out")
    assert code == 2
    assert "is a file; give a new directory" in error


def test_a_model_that_thinks_aloud(serve: Serve, build: Build, tmp_path: Path) -> None:
    assert build(serve("thinks")) == (0, "")
    assert not (tmp_path / "out" / "rejects.jsonl").exists()


def test_a_server_with_the_new_name_for_max_tokens(serve: Serve, build: Build) -> None:
    assert build(serve("newname")) == (0, "")


def test_a_dilemma_written_concurrently_is_accepted_once(
    serve: Serve, build: Build, tmp_path: Path
) -> None:
    assert build(serve("twins", "slow"), attempts=2, concurrency=8, dilemmas_per_value=0)[0] == 0
    corpus = load_corpus(CorpusConfig(path=str(tmp_path / "out")))
    assert len({item.pair for item in corpus.activation}) == 1


def test_a_typo_in_the_models_name_is_not_kept(serve: Serve, build: Build, tmp_path: Path) -> None:
    url = serve()
    assert build(url, model="tinny")[0] == 2
    assert build(url, stories_per_value=1, dilemmas_per_value=0) == (0, "")


def test_a_model_that_is_not_listed_may_exist(serve: Serve, build: Build) -> None:
    assert build(serve(), model="/models/mine", stories_per_value=1, dilemmas_per_value=0)[0] == 0


def test_a_build_that_ended_before_it_began_resumes(
    serve: Serve, build: Build, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".build.lock").touch()
    assert build(serve(), stories_per_value=1, dilemmas_per_value=0) == (0, "")
    more = {"stories_per_value": 2, "dilemmas_per_value": 0, "answer_tokens": 3000}
    assert build(serve(), **more) == (0, ""), "the answer limit may change"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks(
    build: Build, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As NFS can be."""

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    code, error = build("http://127.0.0.1:9/v1")
    assert code == 2
    assert "cannot be locked" in error
    assert "\n" not in error


def test_sigterm_stops_the_build(serve: Serve, options: Any, tmp_path: Path) -> None:
    url = serve("slow")
    words = [sys.executable, "-m", "vxdist", *options(url, stories_per_value=40)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "log").exists() or count_requests(tmp_path) < 4:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=30)[1]
    assert (process.returncode, error) == (3, "stopped; run the same command again to resume\n")
    spent = sum(1 for _ in (tmp_path / "out" / "usage.jsonl").open())
    assert count_requests(tmp_path) == spent, "requests in flight are paid for and counted"


@pytest.mark.parametrize(
    ("values", "message"),
    [("calm: Calm", "calm has no name and meaning in language 'zh'"),
     ("calm: {zh: 静, en: Calm}", "calm has no name and meaning in language 'zh'"),
     ("- calm", "expected a mapping")],
)  # fmt: skip
def test_invalid_values(values: str, message: str, build: Build, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(values, encoding="utf-8")
    code, error = build("http://127.0.0.1:9/v1", values=file)
    assert code == 2
    assert message in error
    assert "\n" not in error


def test_topics_are_texts(build: Build, tmp_path: Path) -> None:
    file = tmp_path / "topics.yaml"
    file.write_text(yaml.safe_dump({"settings": [911], "rivals": ["gain"]}))
    code, error = build("http://127.0.0.1:9/v1", topics=file)
    assert code == 2
    assert "settings must be a list of texts" in error


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("写 $valeu。".encode(), "unknown placeholder $valeu, expected $value, $meaning"),
     ("写 $value。".encode("gb18030"), "not UTF-8 (byte")],
)  # fmt: skip
def test_an_invalid_prompt(prompt: bytes, message: str, build: Build, tmp_path: Path) -> None:
    shutil.copytree(PROMPTS, tmp_path / "prompts")
    (tmp_path / "prompts" / "dilemma.zh.txt").write_bytes(prompt)
    code, error = build("http://127.0.0.1:9/v1", prompts=tmp_path / "prompts")
    assert code == 2
    assert message in error
    assert "dilemma.zh.txt" in error


def test_bounds_are_needed_for_every_language(build: Build) -> None:
    code, error = build("http://127.0.0.1:9/v1", dilemma_words='{"en": [40, 90]}')
    assert code == 2
    assert "build.dilemma_words: found [] for 'zh'" in error


def test_the_example_settings_are_valid() -> None:
    file = Path(__file__).parents[3] / "docs" / "examples" / "build.yaml"
    config = parse_section("corpus build", "build", BuildConfig, ["--config", str(file)])
    assert config.stories_per_value == 3000


def test_a_file_instead_of_a_directory(build: Build, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    assert build("http://127.0.0.1:9/v1") == (
        2, f"build.out: {tmp_path / 'out'} is a file; give a new directory"
    )  # fmt: skip


def test_chinese_prompts_name_settings_in_chinese(
    serve: Serve, build: Build, tmp_path: Path
) -> None:
    assert build(serve(), stories_per_value=0, dilemmas_per_value=1)[0] == 0
    prompts = [request["messages"][0]["content"] for request in read_requests(tmp_path)]
    places = [line for prompt in prompts for line in prompt.split("\n") if line.startswith("场合")]
    assert len(places) == 2
    assert all(place.isprintable() and not place.isascii() for place in places)
    assert not any("a" <= letter <= "z" for letter in "".join(places))
