"""What a server, a disk and a tired person do wrong, one at a time."""

import json
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
from vxdist.config import BuildConfig, CorpusConfig
from vxdist.corpus import load_corpus
from vxdist.settings import parse_section

Serve = Callable[..., str]
Build = Callable[..., tuple[int, str]]
PROMPTS = Path(vxdist.corpus.builder.__file__).with_name("prompts")


@pytest.fixture
def build(options: Any, capsys: pytest.CaptureFixture[str]) -> Build:
    """Build; exit code and what was said of errors."""

    def run(url: str, **others: object) -> tuple[int, str]:
        code = main(options(url, **others))
        return code, capsys.readouterr().err.strip().removeprefix("error: ")

    return run


def read_reasons(tmp_path: Path) -> Counter[str]:
    """Of rejects."""
    file = tmp_path / "out" / "rejects.jsonl"
    return Counter(json.loads(line)["reason"] for line in file.open(encoding="utf-8"))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("cut", "cut off at build.answer_tokens"), ("page", "no chat completion"),
     ("filter", "refused: ")],
)  # fmt: skip
def test_an_answer_that_is_none_is_asked_for_again(
    fault: str, reason: str, serve: Serve, build: Build, tmp_path: Path
) -> None:
    assert build(serve(fault, "none"), concurrency=2) == (0, "")
    reasons = read_reasons(tmp_path)
    assert all(reason in told for told in reasons), reasons
    asked = [json.loads(line) for line in (tmp_path / "log").open()]
    assert all("response_format" in one for one in asked), "one refusal says nothing of schemas"
    assert len(load_corpus(CorpusConfig(path=str(tmp_path / "out"))).activation) == 24


def test_the_model_is_told_why_it_is_asked_again(
    serve: Serve, build: Build, tmp_path: Path
) -> None:
    assert build(serve("malformed", "none"), concurrency=1) == (0, "")
    talks = [json.loads(line)["messages"] for line in (tmp_path / "log").open()]
    again = [talk for talk in talks if len(talk) > 1]
    assert again
    for question, answer, reason in again:
        assert (question["role"], answer["role"], reason["role"]) == ("user", "assistant", "user")
        assert answer["content"] == "Sure! Here is a story about"
        assert "an answer that is no JSON object" in reason["content"]


def test_fields_of_the_servers_own_are_sent(serve: Serve, build: Build, tmp_path: Path) -> None:
    extra = {"request": '{"chat_template_kwargs": {"enable_thinking": false}}'}
    few = {"stories_per_value": 0, "dilemmas_per_value": 1}
    assert build(serve(), **extra, **few) == (0, "")
    asked = [json.loads(line) for line in (tmp_path / "log").open()]
    assert all(one["chat_template_kwargs"] == {"enable_thinking": False} for one in asked)


def test_a_refusal_is_told_in_the_servers_words(serve: Serve, build: Build) -> None:
    code, error = build(serve("pinned"))
    assert code == 2
    assert "Server is pinned" in error, "FastAPI's servers say it in `detail`"


def test_a_dilemma_in_another_language_is_not_let_in(
    serve: Serve, build: Build, tmp_path: Path
) -> None:
    assert build(serve("foreign"), concurrency=1) == (0, "")
    assert "dilemma in ru, expected" in " ".join(read_reasons(tmp_path))


def test_a_model_that_thinks_aloud(serve: Serve, build: Build, tmp_path: Path) -> None:
    assert build(serve("thinks")) == (0, "")
    assert not (tmp_path / "out" / "rejects.jsonl").exists()


def test_a_server_of_the_new_name_for_max_tokens(serve: Serve, build: Build) -> None:
    assert build(serve("newname")) == (0, "")


def test_one_dilemma_is_let_in_once_however_many_are_told_at_once(
    serve: Serve, build: Build, tmp_path: Path
) -> None:
    assert build(serve("twins", "slow"), attempts=2, concurrency=8, dilemmas_per_value=0)[0] == 0
    corpus = load_corpus(CorpusConfig(path=str(tmp_path / "out")))
    assert len({item.pair for item in corpus.activation}) == 1


def test_a_slip_in_the_models_name_does_not_stay(
    serve: Serve, build: Build, tmp_path: Path
) -> None:
    url = serve()
    assert build(url, model="tinny")[0] == 2
    assert build(url, stories_per_value=1, dilemmas_per_value=0) == (0, "")


def test_a_model_that_is_not_listed_may_be_there(serve: Serve, build: Build) -> None:
    assert build(serve(), model="/models/mine", stories_per_value=1, dilemmas_per_value=0)[0] == 0


def test_a_build_that_ended_before_it_began_goes_on(
    serve: Serve, build: Build, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".build.lock").touch()
    assert build(serve(), stories_per_value=1, dilemmas_per_value=0) == (0, "")
    more = {"stories_per_value": 2, "dilemmas_per_value": 0, "answer_tokens": 3000}
    assert build(serve(), **more) == (0, ""), "longer answers change nothing that is written"


def test_sigterm_stops_it_and_it_goes_on(serve: Serve, options: Any, tmp_path: Path) -> None:
    url = serve("slow")
    words = [sys.executable, "-m", "vxdist", *options(url, stories_per_value=40)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "log").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=30)[1]
    assert (process.returncode, told) == (3, "stopped; the same command goes on from here\n")
    asked = sum(1 for _ in (tmp_path / "log").open())
    spent = sum(1 for _ in (tmp_path / "out" / "usage.jsonl").open())
    assert asked == spent, "what was on its way is paid for, and counted"


@pytest.mark.parametrize(
    ("values", "told"),
    [("calm: Calm", "calm has no name and meaning in language 'zh'"),
     ("calm: {zh: 静, en: Calm}", "calm has no name and meaning in language 'zh'"),
     ("- calm", "expected a mapping")],
)  # fmt: skip
def test_values_that_will_not_do(values: str, told: str, build: Build, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(values, encoding="utf-8")
    code, error = build("http://127.0.0.1:9/v1", values=file)
    assert code == 2
    assert told in error
    assert "\n" not in error


def test_topics_are_texts(build: Build, tmp_path: Path) -> None:
    file = tmp_path / "topics.yaml"
    file.write_text(yaml.safe_dump({"settings": [911], "rivals": ["gain"]}))
    code, error = build("http://127.0.0.1:9/v1", topics=file)
    assert code == 2
    assert "settings must be a list of texts" in error


@pytest.mark.parametrize(
    ("prompt", "told"),
    [("写 $valeu。".encode(), "$valeu is not known; expected $value, $meaning"),
     ("写 $value。".encode("gb18030"), "cannot be read")],
)  # fmt: skip
def test_a_prompt_that_will_not_do(prompt: bytes, told: str, build: Build, tmp_path: Path) -> None:
    shutil.copytree(PROMPTS, tmp_path / "prompts")
    (tmp_path / "prompts" / "dilemma.zh.txt").write_bytes(prompt)
    code, error = build("http://127.0.0.1:9/v1", prompts=tmp_path / "prompts")
    assert code == 2
    assert told in error
    assert "dilemma.zh.txt" in error


def test_bounds_of_every_language(build: Build) -> None:
    code, error = build("http://127.0.0.1:9/v1", dilemma_words='{"en": [40, 90]}')
    assert code == 2
    assert "build.dilemma_words: found [] for 'zh'" in error


def test_the_settings_we_ship_are_read() -> None:
    file = Path(__file__).parents[3] / "docs" / "examples" / "build.yaml"
    config = parse_section("corpus build", "build", BuildConfig, ["--config", str(file)])
    assert config.stories_per_value == 3000


def test_a_file_is_no_folder(build: Build, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    assert build("http://127.0.0.1:9/v1") == (
        2, f"build.out: {tmp_path / 'out'} is a file; give a new directory"
    )  # fmt: skip


def test_chinese_prompts_are_told_of_settings_in_chinese(
    serve: Serve, build: Build, tmp_path: Path
) -> None:
    assert build(serve(), stories_per_value=0, dilemmas_per_value=1)[0] == 0
    asked = [json.loads(line)["messages"][0]["content"] for line in (tmp_path / "log").open()]
    places = [line for prompt in asked for line in prompt.split("\n") if line.startswith("场合")]
    assert len(places) == 2
    assert all(place.isprintable() and not place.isascii() for place in places)
    assert not any("a" <= letter <= "z" for letter in "".join(places))
