"""Building against a real server: nothing is lost or duplicated, whatever goes wrong."""

import json
import re
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

from vxdist.cli import main
from vxdist.config import CorpusConfig
from vxdist.corpus import Corpus, load_corpus
from vxdist.corpus.builder.config import BuildConfig
from vxdist.corpus.builder.topics import make_topics, read_guide

VALUES = ("calm", "zeal")
Serve = Callable[..., str]
SmallDisk = Callable[[str], Path]


def load(folder: Path) -> Corpus:
    """Load the corpus that was built."""
    return load_corpus(CorpusConfig(path=str(folder)))


def count(corpus: Corpus) -> tuple[Counter[Any], Counter[Any]]:
    """Stories by (value, language, stance), dilemmas by (value, language)."""
    return (
        Counter((i.value, i.language, i.stance) for i in corpus.activation),
        Counter((i.value, i.language) for i in corpus.evaluation),
    )


def check_complete(folder: Path) -> None:
    """Every topic was written once, in both languages and stances."""
    stories, dilemmas = count(load(folder))
    assert stories == {(v, g, s): 3 for v in VALUES for g in ("zh", "en")
                       for s in ("aligned", "violating")}  # fmt: skip
    assert dilemmas == {(v, g): 2 for v in VALUES for g in ("zh", "en")}


FAULTS = ("429", "500", "drop", "hang", "half", "malformed")


@pytest.mark.parametrize("faults", [(), FAULTS, ("noschema",)], ids=["none", "all", "noschema"])
def test_a_corpus_is_built(
    faults: tuple[str, ...], serve: Serve, options: Any, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main(options(serve(*faults), timeout=1)) == 0
    check_complete(tmp_path / "out")
    output = capsys.readouterr().out
    assert "12 stories" not in output
    assert "24 stories and 8 evaluation dilemmas for 2 values" in output
    assert re.search(
        r"\(100%\), [0-9.,]+ pairs/min, 0 s left; \d+ rejected; [0-9,]+ tokens of", output
    )
    card = yaml.safe_load((tmp_path / "out" / "card.yaml").read_text())
    assert (card["stories"], card["dilemmas"]) == (24, 8)
    rejects = tmp_path / "out" / "rejects.jsonl"
    reasons = [json.loads(line)["reason"] for line in rejects.open()] if rejects.exists() else []
    if faults == FAULTS:
        assert any("the answer" in reason for reason in reasons)
    else:
        assert reasons == []
    requests = [json.loads(line) for line in (tmp_path / "log").open()]
    assert all("response_format" in request for request in requests) == (faults != ("noschema",))
    # What is complete is not written again.
    assert main(options("http://127.0.0.1:9/v1")) == 0


def test_killed_again_and_again(serve: Serve, options: Any, tmp_path: Path) -> None:
    """kill -9 during a run: what was accepted is kept, and no topic is written twice."""
    url = serve("slow", "none", "none", "malformed")
    words = [sys.executable, "-m", "vxdist", *options(url, concurrency=3)]
    lines = tmp_path / "out" / "activation.jsonl"
    kept: list[str] = []
    for _ in range(2):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        before = len(kept)
        while process.poll() is None and (
            not lines.exists() or len(lines.read_text().splitlines()) <= before
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = [line for line in lines.read_text().split("\n")[:-1] if line]
        assert set(kept) <= set(now)
        kept = now
    with lines.open("a") as stream:
        stream.write('{"id": "torn')
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    check_complete(tmp_path / "out")
    assert {line for line in kept if line} <= set(lines.read_text().splitlines())


def test_a_kill_loses_no_answer_received(serve: Serve, options: Any, tmp_path: Path) -> None:
    """Answers for an incomplete pair are not requested again."""
    words = [sys.executable, "-m", "vxdist", *options(serve("slow"), concurrency=3)]
    log, kills = tmp_path / "log", 2
    for kill in range(1, kills + 1):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        while not log.exists() or len(log.read_text().splitlines()) < 10 * kill:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.wait()
    assert main(words[3:]) == 0
    check_complete(tmp_path / "out")
    needed = 6 * (2 + 4) + 4 * 2
    checks = kills + 1
    assert needed <= len(log.read_text().splitlines()) - checks <= needed + 3 * kills
    assert not (tmp_path / "out" / "drafts.jsonl").exists()


def test_topics_are_the_same_each_time_and_a_larger_build_keeps_them() -> None:
    small = BuildConfig(stories_per_value=3, dilemmas_per_value=2)
    large = BuildConfig(stories_per_value=50, dilemmas_per_value=40)
    guide = read_guide(small)
    few, many = make_topics(small, guide), make_topics(large, guide)
    assert make_topics(small, guide) == few
    assert set(few) <= set(many)
    freedom = [t for t in many if t.value == "freedom" and t.split == "activation"]
    assert len({t.setting for t in freedom[: len(guide.settings)]}) == len(guide.settings)
    assert make_topics(BuildConfig(seed=1), guide)[0] != few[0]


def test_topics_suffice_for_the_papers_scale() -> None:
    config = BuildConfig(stories_per_value=3000, dilemmas_per_value=200)
    topics = [t for t in make_topics(config, read_guide(config)) if t.value == "freedom"]
    assert len({(t.setting, t.rival, t.narrator) for t in topics}) > 0.85 * len(topics)


def test_a_budget_stops_the_build_and_covers_restarts(
    serve: Serve, options: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = serve()
    assert main(options(url, most_tokens=3000, concurrency=2)) == 3
    assert "build.most_tokens" in capsys.readouterr().err
    spent = sum(1 for _ in (tmp_path / "out" / "usage.jsonl").open())
    assert 20 <= spent <= 22
    assert main(options(url, most_tokens=3000)) == 3
    assert sum(1 for _ in (tmp_path / "out" / "usage.jsonl").open()) == spent
    prices = {"prompt_price": 10.0, "answer_price": 20.0}
    assert main(options(url, most_cost=0.0001, **prices)) == 3
    assert "build.most_cost" in capsys.readouterr().err
    assert main(options(url)) == 0
    check_complete(tmp_path / "out")


def test_a_build_resumes_after_the_server_died(
    serve: Serve, options: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options(serve("dead"), retries=1)) == 3
    assert "run the same command again to resume" in capsys.readouterr().err
    assert main(options(serve())) == 0
    check_complete(tmp_path / "out")


def test_pairs_that_are_given_up_are_reported(
    serve: Serve, options: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    impossible = options(serve(), attempts=2, option_ratio=0.5)
    assert main(impossible) == 0
    output = capsys.readouterr().out
    assert "gave up on 10 pairs after 2 rejected answers each" in output
    assert "20 answers rejected" in output


def test_the_rate_limit_holds(serve: Serve, options: Any, tmp_path: Path) -> None:
    began = time.monotonic()
    few = {"stories_per_value": 0, "dilemmas_per_value": 2}
    assert main(options(serve(), requests_per_minute=240, **few)) == 0
    assert time.monotonic() - began >= 7 * 0.25


class TestRefused:
    @pytest.mark.parametrize(
        ("others", "message"),
        [
            ({"model": "other"}, "has no model 'other'; it has tiny"),
            ({"base_url": "http://127.0.0.1:9/v1"}, "does not respond"),
            ({"base_url": "https://api.example.org/v1", "key_variable": "NO_SUCH_KEY"},
             "NO_SUCH_KEY is not set in the environment"),
            ({"languages": "[zh,fr]"}, "dilemma.fr.txt is missing"),
            ({"stances": "[maybe]"}, "build.stances"),
            ({"modle": "x"}, "did you mean build.model?"),
            ({"concurrency": "0"}, "build.concurrency: found 0"),
        ],
    )  # fmt: skip
    def test_before_any_work(
        self, others: dict[str, str], message: str, serve: Serve, options: Any, tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        assert main(options(serve(), **others)) == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith("error: ")
        assert message in error
        assert "\n" not in error
        assert not (tmp_path / "log").exists(), "no answer was requested"

    def test_another_corpus_in_the_folder(
        self, serve: Serve, options: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        url = serve()
        assert main(options(url)) == 0
        assert main(options(url, seed=5)) == 2
        assert "was started with different build.seed (0, now 5)" in capsys.readouterr().err

    def test_two_builds_at_once(
        self, serve: Serve, options: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = options(serve("slow"), requests_per_minute=60)
        first = subprocess.Popen([sys.executable, "-m", "vxdist", *words])
        try:
            while not (tmp_path / "log").exists():
                time.sleep(0.05)
            assert main(words) == 2
            assert "another build is writing to" in capsys.readouterr().err
        finally:
            first.kill()
            first.wait()

    def test_a_full_disk_leaves_a_readable_corpus(
        self, serve: Serve, options: Any, small_disk: SmallDisk, capsys: pytest.CaptureFixture[str]
    ) -> None:
        disk = small_disk("160k")
        assert main(options(serve(), out=disk / "out", stories_per_value=40)) == 2
        assert "No space left" in capsys.readouterr().err
        corpus = load(disk / "out")
        pairs = Counter(i.pair for i in corpus.activation)
        assert set(pairs.values()) == {4}
