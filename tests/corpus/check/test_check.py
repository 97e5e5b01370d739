"""Every fault put into a sound corpus is found, and the seed has no errors."""

import dataclasses
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from vxdist.cli import main
from vxdist.corpus import Corpus, EvaluationItem
from vxdist.corpus.check.cues import follow_length, follow_mention, follow_words, interval
from vxdist.corpus.check.duplicates import Text, find_similar, jaccard
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.check.text import shingle, split_words
from vxdist.corpus.editions import BUILTIN

A, E = "activation.jsonl", "evaluation.jsonl"
Change = Callable[..., None]
Look = Callable[..., Any]


class TestSeed:
    @pytest.mark.parametrize("path", BUILTIN)
    def test_it_has_no_errors(self, look: Look, path: str) -> None:
        report = look(path=path)
        assert (report.code, report.counts["error"]) == (0, 0)

    def test_what_the_first_edition_is_warned_of(self, look: Look) -> None:
        report = look(path="builtin:cvoice-seed-1")
        found = {(f["level"], f["kind"]) for f in report.findings}
        warned = {("warning", kind) for kind in ("cue", "length", "drift")}
        assert found == {*warned, ("note", "stance")}
        lengths = report.messages("length")
        assert any("zh, by value: stories of equality are the longest" in line for line in lengths)
        assert any("F 7.8, p 8.9e-12" in line for line in lengths)
        assert len(report.messages("drift")) == 4
        (row, _) = report.tables["settings"]
        assert row["p"] == 1.0, "settings vary more within values than shuffled ones do"

    def test_as_a_card(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["corpus", "check", str(folder), "--format", "card"]) == 0
        measured = yaml.safe_load(capsys.readouterr().out)["measured"]
        assert measured["splits"]["activation"]["dilemmas"] == 72
        assert measured["stance_pairs"]["integrity"] == {"zh": 12, "en": 12}

    def test_as_tables(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["corpus", "check", str(folder)]) == 0
        output = capsys.readouterr().out
        for title in ("Items per value", "Lengths", "Cues", "found: 0 errors"):
            assert title in output


class TestFaults:
    @pytest.mark.parametrize(
        "spelled",
        ["<|im_end|>", "<|endoftext|>", "<s>", "[INST]", "<start_of_turn>", "<|eot_id|>", "<think>",
         "<｜end▁of▁sentence｜>", "<<SYS>>", "<eos>", "[TOOL_CALLS]"],
    )  # fmt: skip
    def test_control_tokens(self, change: Change, look: Look, spelled: str) -> None:
        change(A, 3, rationale=f"So be it. {spelled} user")
        change(E, 2, violating=f"I go {spelled}")
        change(E, 4, aligned="I say a < b > c, [sic] and <i>go</i>.")
        first, second = look().messages("token")
        assert f"rationale spells {spelled}, control tokens" in first
        assert f"violating spells {spelled}" in second

    @pytest.mark.parametrize("name", ["Freedom", "FREEDOM", "freedom ", "ｆreedom"])
    def test_one_value_written_in_two_ways(
        self, change: Change, look: Look, name: str, folder: Path
    ) -> None:
        lines = (folder / A).read_text(encoding="utf-8").splitlines()
        at = [n for n, line in enumerate(lines) if '"value": "freedom"' in line]
        for n in at[:8]:
            change(A, n, value=name)
        report = look()
        (message,) = report.messages("label")
        assert report.code == 2
        assert f"error: values {name!r} and 'freedom' differ only in case or spacing" in message

    def test_one_language_written_in_two_ways(self, change: Change, look: Look) -> None:
        change(E, 0, language="ZH")
        assert "languages 'zh' and 'ZH'" in look().messages("label")[0]

    def test_every_schema_fault_is_an_error(self, change: Change, look: Look, folder: Path) -> None:
        change(A, 3, stance="maybe")
        change(A, 5, dilemma=" ")
        change(E, 2, id="prosperity-e01-zh")
        report = look()
        assert report.code == 2
        messages = report.messages("schema")
        assert [text.split(": ")[1] for text in messages] == [f"{folder / A}:4", f"{folder / A}:6",
                                                    f"{folder / E}:3"]  # fmt: skip

    def test_leakage_word_for_word_is_an_error(
        self, change: Change, look: Look, seed: Corpus
    ) -> None:
        change(E, 6, dilemma=seed.activation[0].dilemma)
        report = look()
        assert report.code == 2
        (message,) = report.messages("leakage")
        assert message.startswith("error: the same dilemma in both splits")
        assert seed.evaluation[6].id in message
        assert seed.activation[0].id in message
        assert report.findings[0]["kind"] == "leakage", "errors come first"

    @pytest.mark.parametrize("pair", ["", "the story's own"])
    @pytest.mark.parametrize("text", ["{}", "{} "], ids=["the same", "an extra space"])
    def test_leakage_is_an_error_whatever_obscures_it(
        self, pair: str, text: str, change: Change, look: Look, seed: Corpus, folder: Path
    ) -> None:
        """The same pair, an extra space, or another text that is nearly the same."""
        story = seed.activation[0]
        change(A, 0, add=True, id="near", pair="near", dilemma=f"{story.dilemma}！")
        leaked = {"dilemma": text.format(story.dilemma)} | ({"pair": story.pair} if pair else {})
        change(E, 6, **leaked)
        report = look()
        assert report.code == 2
        messages = report.messages("leakage")
        assert any(text.startswith("error: the same dilemma") for text in messages)

    def test_a_pair_in_both_splits(self, change: Change, look: Look, seed: Corpus) -> None:
        change(E, 6, pair=seed.activation[0].pair)
        (message,) = look().messages("leakage")
        assert message.startswith(f"warning: pair {seed.activation[0].pair} is in both splits")

    def test_options_that_are_the_same(self, change: Change, look: Look, seed: Corpus) -> None:
        change(E, 6, violating=f"{seed.evaluation[6].aligned} ")
        report = look()
        assert report.code == 2
        assert f"error: {seed.evaluation[6].id}: both options are the same" in report.messages(
            "duplicate"
        )

    def test_stances_that_say_the_same(self, change: Change, look: Look, seed: Corpus) -> None:
        one, other = seed.activation[:2]
        assert (one.pair, one.language) == (other.pair, other.language)
        change(A, 1, choice=one.choice, rationale=one.rationale)
        messages = look().messages("duplicate")
        assert f"warning: {one.pair}: both stances make the same choice in zh" in messages
        same = f"warning: the same rationale twice in activation: {one.id} and {other.id}"
        assert same in messages

    def test_few_dilemmas(self, look: Look, folder: Path, seed: Corpus) -> None:
        from vxdist.corpus.write import write_corpus

        few = [item for item in seed.evaluation if item.pair.endswith(("1", "2", "3"))]
        write_corpus(folder, seed.activation, few, {})
        few_found = [text for text in look().messages("variety") if "evaluation dilemmas" in text]
        assert len(few_found) == 3
        expected = "warning: freedom has 6 evaluation dilemmas, expected at least 12"
        assert expected in few_found

    def test_near_leakage_is_a_warning(self, change: Change, look: Look, seed: Corpus) -> None:
        change(E, 6, dilemma=seed.activation[0].dilemma[:-6] + "另外再说吧。")
        report = look()
        assert report.code == 0
        (message,) = report.messages("leakage")
        assert message.startswith("warning: nearly the same")

    def test_a_copy_within_a_split(self, change: Change, look: Look, seed: Corpus) -> None:
        change(E, 0, add=True, id="copy", pair="copy")
        (message,) = look().messages("duplicate")
        assert message.startswith("warning: the same dilemma twice in evaluation")

    def test_a_pair_without_a_language(self, change: Change, look: Look) -> None:
        change(E, 0, pair="alone")
        messages = look().messages("pair")
        assert any("alone is only in zh, not in en" in text for text in messages)

    def test_a_text_in_another_language(self, change: Change, look: Look, seed: Corpus) -> None:
        english = next(i for i in seed.activation if i.language == "en")
        number = next(n for n, i in enumerate(seed.activation) if i.language == "zh")
        change(A, number, rationale=english.rationale)
        messages = look().messages("language")
        assert any("rationale seems to be in en, not zh" in text for text in messages)

    def test_traditional_characters_are_chinese(self, change: Change, look: Look) -> None:
        change(E, 0, aligned="接 受 培 訓 機會 , 實 現 個 人 職 業 發 展 。")  # as in C-Voice
        assert look().messages("language") == []

    def test_options_of_different_lengths(self, look: Look, folder: Path, seed: Corpus) -> None:
        from vxdist.corpus.write import write_corpus

        longer = [dataclasses.replace(i, aligned=i.aligned * 2) for i in seed.evaluation]
        write_corpus(folder, seed.activation, longer, {})
        report = look()
        assert any("by option: aligned is 2.0" in line for line in report.messages("length"))
        assert any("length alone gives away the aligned option in zh for all" in line
                   for line in report.messages("cue"))  # fmt: skip

    def test_findings_on_all_results_come_before_those_on_one_item(
        self, change: Change, look: Look, folder: Path, seed: Corpus
    ) -> None:
        from vxdist.corpus.write import write_corpus

        longer = [dataclasses.replace(i, aligned=i.aligned * 2) for i in seed.evaluation]
        write_corpus(folder, seed.activation, longer, {})
        change(E, 0, add=True, id="copy", pair="copy")
        report = look()
        kinds = [f["kind"] for f in report.findings if f["level"] == "warning"]
        assert kinds[0] == "cue"
        assert "for all values" in report.messages("cue")[0]
        assert kinds.index("length") > max(n for n, kind in enumerate(kinds) if kind == "cue")
        assert kinds[-1] == "duplicate"

    def test_few_settings(self, look: Look, folder: Path, seed: Corpus) -> None:
        from vxdist.corpus.write import write_corpus

        same = [dataclasses.replace(i, setting="school") for i in seed.activation]
        write_corpus(
            folder, same, [dataclasses.replace(i, setting="") for i in seed.evaluation], {}
        )
        assert (
            sum("has 1 setting, expected at least 8" in line for line in look().messages("variety"))
            == 3
        )


class TestBadInput:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["check", "nowhere"], "nowhere is not a directory"),
            (["check"], "PATH"),
            (["chekc", "x"], "expected check, build, import"),
            (["check", "x", "--similarity", "2"], "expected a number between 0 and 1"),
            (["check", "x", "--level", "0"], "--level: found 0.0, expected a number between 0"),
            (["check", "x", "--shuffles", "0"], "--shuffles: found 0, expected at least 1"),
            (["check", "x", "--drift-dilemmas", "3"], "--drift-dilemmas: found 3, expected at"),
        ],
    )
    def test_one_line(
        self, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["corpus", *words]) == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith("error: ")
        assert message in error
        assert "\n" not in error

    def test_a_closed_pipe_is_not_an_error(self, folder: Path) -> None:
        command = f"{sys.executable} -m vxdist corpus check {folder} | head -n 1"
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        assert done.stdout.startswith("comparing")
        assert done.stderr == ""

    def test_it_starts_without_torch(self, folder: Path) -> None:
        code = (
            "import sys; from vxdist.cli import main; "
            "main(['corpus', 'check', sys.argv[1], '--format', 'json']); "
            "sys.exit('torch' in sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder)], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr


class TestSimilar:
    @settings(max_examples=25, deadline=None)
    @given(seed=st.integers(0, 2**32), rate=st.sampled_from([0.0, 0.02, 0.05]))
    def test_near_copies_are_found(self, seed: int, rate: float) -> None:
        """Planted near-copies are found, and no dissimilar texts are."""
        rng = random.Random(seed)
        letters = [chr(n) for n in range(0x4E00, 0x4E00 + 2000)]
        texts = ["".join(rng.choices(letters, k=100)) for _ in range(300)]
        planted = {300 + n: n * 7 for n in range(20)}
        for source in planted.values():
            copy = [c if rng.random() >= rate else rng.choice(letters)
                    for c in texts[source]]  # fmt: skip
            texts.append("".join(copy))
        described = [
            Text(id=str(n), pair=str(n), language="zh", split="activation", field="d", text=text)
            for n, text in enumerate(texts)
        ]
        config = CheckConfig()
        found = {(int(b.id), int(a.id)) for a, b, _ in find_similar(described, config)}
        due = {
            (copy, source)
            for copy, source in planted.items()
            if jaccard(texts[copy], texts[source], config.shingle_words) >= config.similarity + 0.25
        }
        assert due <= found <= set(planted.items())

    def test_each_of_a_thousand_copies_is_reported_once(self) -> None:
        same = [
            Text(id=str(n), pair=str(n), language="en", split="activation", field="d",
                 text="the same words over and over again")
            for n in range(1000)
        ]  # fmt: skip
        found = [*find_similar(same, CheckConfig())]
        assert len(found) == 999
        assert {one.id for one, _, _ in found} == {"0"}


class TestWords:
    def test_characters_of_scripts_without_spaces_are_words(self) -> None:
        assert split_words("我很好 Quite-well 42") == ["我", "很", "好", "quite", "well", "42"]
        assert shingle("一二三四", 3) == ["一 二 三", "二 三 四"]
        assert shingle("a b", 3) == ["a b"]

    def test_combining_marks_do_not_split_words(self) -> None:
        assert split_words("मैं करूँगी") == ["मैं", "करूँगी"]
        assert split_words("re\u0301sume\u0301") == ["résumé"]


class TestCues:
    def make(self, options: list[tuple[str, str]], dilemma: str = "x") -> list[EvaluationItem]:
        return [
            EvaluationItem(id=str(n), pair=str(n), value="v", language="en", dilemma=dilemma,
                           aligned=a, violating=b)
            for n, (a, b) in enumerate(options)
        ]  # fmt: skip

    def test_length(self) -> None:
        right = follow_length([("a b", "a"), ("a", "a b"), ("a", "b")])
        assert right.tolist() == [1, 0, 0.5]

    def test_mention(self) -> None:
        items = self.make([("red", "blue"), ("blue", "red"), ("green", "red")],
                          "a red house and a blue one")  # fmt: skip
        assert follow_mention(items).tolist() == [1, 0, 0.5]

    def test_informative_words_are_found_and_others_are_not(self) -> None:
        rng = random.Random(0)
        words = [f"w{n}" for n in range(50)]
        informative, uninformative = [], []
        for _ in range(200):
            a, b = (" ".join(rng.choices(words, k=8)) for _ in range(2))
            uninformative.append((a, b))
            informative.append((f"{a} please", f"{b} now"))
        pairs = [str(n) for n in range(200)]
        assert follow_words(informative, pairs, CheckConfig()).mean() > 0.95
        low, high = interval(follow_words(uninformative, pairs, CheckConfig()), 0.99)
        assert low < 0.5 < high

    def test_uninformative_words_count_as_one_half(self) -> None:
        same = [("I stay.", "I stay.")] * 12
        no_words = [("👍", "👎")] * 12
        for options in (same, no_words):
            right = follow_words(options, [str(n) for n in range(12)], CheckConfig())
            assert right.tolist() == [0.5] * 12

    def test_a_half_stays_a_half(self) -> None:
        import numpy as np

        low, high = interval(np.array([0.5]), 0.95)
        assert low + high == pytest.approx(1)

    def test_interval_is_wilsons(self) -> None:
        import numpy as np

        low, high = interval(np.array([1.0] * 8 + [0.0] * 2), 0.95)
        assert (round(low, 3), round(high, 3)) == (0.49, 0.943)
