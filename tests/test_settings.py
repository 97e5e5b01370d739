"""Reading settings: lists as words, and refusals that fit on a line."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from vxdist.api import load_config
from vxdist.cli import main
from vxdist.corpus.builder.config import BuildConfig
from vxdist.errors import UserError, find_near
from vxdist.settings import parse, parse_section
from vxstore.errors import StoreError
from vxstore.text import plural, shorten


def read(*arguments: str, store: Sequence[str] = ("--store", "x.zarr")) -> Any:
    """The settings of a run with these options."""
    return parse("run", [*store, *arguments])


def refuse(*arguments: str) -> str:
    """The error, which is one line of moderate length."""
    with pytest.raises(UserError) as caught:
        read(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration file, to be written."""
    return tmp_path / "c.yaml"


class TestLists:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("en", ["en"]), ("a,b", ["a", "b"]), (" a , b,", ["a", "b"]), ("[a, b]", ["a", "b"]),
            ('["a, b"]', ["a, b"]), ("no", ["no"]), ("1", ["1"]), ("null", None),
        ],
    )  # fmt: skip
    def test_on_the_command_line(self, given: str, expected: object) -> None:
        for words in ((f"--corpus.languages={given}",), ("--corpus.languages", given)):
            assert read(*words).corpus.languages == expected
        assert load_config(None, {"store": "x", "evaluate.values": given}).evaluate.values == (
            expected
        )

    @pytest.mark.parametrize(
        ("given", "expected"),
        [("en", ["en"]), ("a, b", ["a", "b"]), ("[a, b]", ["a", "b"]), ("null", None)],
    )
    def test_in_a_file(self, given: str, expected: object, file: Path) -> None:
        text = (
            f"store: x\ncorpus: {{languages: {given}, values: [a]}}\nlocate: {{max_padding: 1e-2}}"
        )
        file.write_text(
            text if "," not in given or "[" in given else text.replace(given, repr(given))
        )
        config = parse("run", ["--config", str(file), "--locate.parts_per_group", "2"])
        assert config.corpus.languages == expected
        assert config.corpus.values == ["a"]
        assert (config.locate.max_padding, config.locate.parts_per_group) == (0.01, 2)
        later = parse("run", [f"--config={file}", "--corpus.languages", "de"])
        assert later.corpus.languages == ["de"], "an option replaces what the file says"

    def test_all_of_them(self) -> None:
        config = read("--corpus.values", "a", "--evaluate.values", "b", "--locate.statistics",
                      "active_count,activation_sum")  # fmt: skip
        assert config.locate.statistics == ["active_count", "activation_sum"]
        build = parse_section("corpus build", "build", BuildConfig, ["--build.languages", "de,en"])
        assert build.languages == ["de", "en"]

    def test_a_language_that_yaml_takes_for_false(self, file: Path) -> None:
        for given in ("no", "[no, en]"):
            file.write_text(f"store: x\ncorpus:\n  languages: {given}\n")
            message = refuse("--config", str(file))
            assert message.startswith(f"{file}: key corpus.languages: found a word that YAML reads")


class TestRefusals:
    @pytest.mark.parametrize(
        ("key", "given", "expected"),
        [
            ("locate.tokens_per_batch", "many", "found many, expected a whole number"),
            ("locate.span", "some", "found some, expected 'all' or 'response'"),
            ("evaluate.choice.prompts", "x" * 900, "found " + "x" * 59 + "…, expected a mapping"),
            ("corpus.languages", "7", "found 7, expected a list such as [a, b] or null"),
        ],
    )
    def test_kinds(self, key: str, given: str, expected: str, file: Path) -> None:
        if key != "corpus.languages":  # as an option, any word is one
            assert refuse(f"--{key}", given) == f"option --{key}: {expected}"
        sections = key.split(".")
        body = "".join(f"{'  ' * n}{name}:\n" for n, name in enumerate(sections))
        file.write_text(f"store: x\n{body.rstrip()} {given}\n")
        assert refuse("--config", str(file)) == f"{file}: key {key}: {expected}"

    @pytest.mark.parametrize(
        ("key", "hint"),
        [
            ("corpus.vlaues", "did you mean corpus.values?"),
            ("locate.parts_per_grup", "did you mean locate.parts_per_group?"),
            ("revision", "did you mean model.revision?"),
            ("foo", "--help lists all settings"),
            ("corpus.learning_rate", "--help lists all settings"),
            ("reduce.top_fraction", "is called reduce.vape.top_fraction now"),
        ],
    )
    def test_only_what_is_near_is_suggested(self, key: str, hint: str, file: Path) -> None:
        assert hint in refuse(f"--{key}", "1")
        section, _, name = key.rpartition(".")
        file.write_text(f"store: x\n{section}:\n  {name}: 1\n" if section else f"{name}: 1\n")
        assert hint in refuse("--config", str(file))

    def test_commands(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["foo"]) == 2
        error = capsys.readouterr().err
        assert "did you mean" not in error
        assert "there are locate, attribute, reduce, evaluate, report, run" in error
        assert main(["repotr"]) == 2
        assert "did you mean report?" in capsys.readouterr().err

    def test_a_setting_that_is_gone(self, file: Path) -> None:
        for key in ("reduce.vape.precision", "reduce.precision"):
            assert "no longer a setting: probabilities and entropies are always float64" in refuse(
                f"--{key}", "float32"
            )
        file.write_text("store: x\nreduce:\n  vape:\n    precision: float64\n")
        assert refuse("--config", str(file)).startswith(f"{file}: key reduce.vape.precision is no")

    def test_saved_settings_of_an_earlier_version_are_replayed(
        self, file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """What decides nothing any more is passed over with a note; all else is read."""
        text = "evaluate: {controls: 8, values: 'a,b', bootstrap_resamples: 2000, confidence: 0.9}"
        file.write_text(text, encoding="utf-8")
        found = read("--config", str(file), "--evaluate.seed", "3").evaluate
        assert (found.controls, found.confidence, found.seed) == (8, 0.9, 3)
        assert found.values == ["a", "b"]
        assert not hasattr(found, "bootstrap_resamples")
        note = capsys.readouterr().err
        assert note.count("\n") == 1
        assert f"{file}: key evaluate.bootstrap_resamples is ignored: intervals are" in note
        file.write_text("evaluate: {bootstrap_resample: 1}", encoding="utf-8")
        assert "bootstrap_resample is not known" in refuse("--config", str(file))
        assert "no longer a setting" in refuse("--evaluate.bootstrap_resamples", "9")

    def test_files_that_are_not_text(self, file: Path) -> None:
        file.write_bytes(b"PK\x03\x04....xl/workbook.xml")
        assert refuse("--config", str(file)) == f"{file}: is an Excel workbook, not YAML; give a " \
            "YAML file"  # fmt: skip
        file.write_bytes(b"\xef\xbb\xbfstore: y\n")
        assert read("--config", str(file), store=()).store == "y", "a byte order mark is no key"


def test_aliases_that_grow(file: Path) -> None:
    names = "abcdefghijklmnop"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{n}: &{n} [{', '.join([f'*{names[i]}'] * 9)}]" for i, n in enumerate(names[1:])]
    for text in ("\n".join(lines), "a: &a [*a]", "a: &a {b: *a}"):
        file.write_text(text)
        assert "more than 100,000 items once its aliases" in refuse("--config", str(file))


def test_another_run_s_settings_fit_on_a_line() -> None:
    from vxstore.identity import _flat_differences

    there = {"prompts": {"en": "Choose.\n" * 50, "zh": "选"}, "settings_digest": "0" * 64}
    here = {"prompts": {"en": "Pick.\n" * 50, "zh": "选"}, "settings_digest": "1" * 64}
    differ = _flat_differences(there, here)
    assert [text.split()[0] for text in differ] == ["en", "settings_digest"]
    assert all(len(text) < 160 and "\n" not in text for text in differ)
    assert "…" in differ[0]


def test_find_near() -> None:
    known = ["corpus.values", "evaluate.values", "model.path", "report.path"]
    assert find_near("evaluate.value", known) == "evaluate.values"
    assert find_near("values", known) in ("corpus.values", "evaluate.values")
    assert find_near("corpus.x", known) is None
    assert find_near("zzz", []) is None


def test_words() -> None:
    assert shorten("a\nb" * 50, 10) == "a ba ba b…"
    assert [plural(n, "story", "stories") for n in (0, 1, 1200)] == [
        "0 stories", "1 story", "1,200 stories",
    ]  # fmt: skip
    assert json.loads(json.dumps(shorten({"a": 1}))) == "{'a': 1}"
    assert issubclass(StoreError, UserError)
