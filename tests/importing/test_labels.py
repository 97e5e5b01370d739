"""The labels of a file: from its name, or as given, and never guessed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vxdist.errors import UserError
from vxdist.importing.labels import NO_STANCE, find_labels

Triple = tuple[str, str, str]


def labels(names: Sequence[str], **options: Any) -> list[Triple]:
    """(value, language, stance) of each name."""
    found = find_labels([Path(name) for name in names], **options)
    return [(label.value, label.language, label.stance) for label in found]


def fault(names: Sequence[str], **options: Any) -> str:
    """What they are refused with."""
    with pytest.raises(UserError) as caught:
        labels(names, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_pattern_the_name_is_the_value() -> None:
    assert labels(["a/爱国.pt", "b/和谐.pt"], language="zh") == [
        ("爱国", "zh", NO_STANCE),
        ("和谐", "zh", NO_STANCE),
    ]


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("爱国-{value}.pt", "counts/爱国-support.pt", ("support", "en", NO_STANCE)),
        ("{value}-{stance}.pt", "爱国-support.pt", ("爱国", "en", "support")),
        ("{value}.{language}.pt", "calm.zh.pt", ("calm", "zh", NO_STANCE)),
        ("{language}/{value}.pt", "x/zh/calm.pt", ("calm", "zh", NO_STANCE)),
        ("activation.{value}.train.llama-7b", "activation.fr.train.llama-7b", ("fr", "en", "")),
        ("{stance}+{language}[{value}]", "for+zh[a b]", ("a b", "zh", "for")),
    ],
)
def test_a_pattern_finds_its_fields(pattern: str, name: str, expected: Triple) -> None:
    language = None if "{language}" in pattern else "en"
    value, language_found, stance = expected
    assert labels([name], pattern=pattern, language=language) == [
        (value, language_found, stance or NO_STANCE)
    ]


words = st.text("ab爱国", min_size=1, max_size=4)


@given(words, words, words)
def test_what_a_pattern_writes_it_reads(value: str, language: str, stance: str) -> None:
    name = f"{language}_{value}-{stance}.pt"
    assert labels([name], pattern="{language}_{value}-{stance}.pt") == [(value, language, stance)]


def test_names_of_another_build() -> None:
    assert "b.pth: the name 'b.pth' does not match --pattern '{value}.pt'" in fault(
        ["a.pt", "b.pth"], pattern="{value}.pt", language="zh"
    )
    assert "the name 'a.pt' does not match" in fault(
        ["zh/x/a.pt"], pattern="x-{value}.pt", language="zh"
    )


def test_a_name_that_matches_in_several_ways() -> None:
    """A guess would assign counts to a value that does not exist."""
    line = fault(["自由-平等-support.pt"], pattern="{value}-{stance}.pt", language="zh")
    assert "in several ways (自由, 平等-support or 自由-平等, support)" in line


@pytest.mark.parametrize(
    "pattern", ["a.pt", "{language}.pt", "{value}-{value}.pt", "{value}-{side}.pt", "{value}{}"]
)
def test_invalid_patterns(pattern: str) -> None:
    assert "expected {value}, optionally {language} and {stance}, each once" in fault(
        ["a.pt"], pattern=pattern, language="zh"
    )


def test_given_labels() -> None:
    names = ["x/1.pt", "x/2.pt", "x/3.pt"]
    given = ["1=calm:zh", "2.pt=calm:en:for", "x/3.pt=calm"]
    assert labels(names, given=given, language="fr") == [
        ("calm", "zh", NO_STANCE),
        ("calm", "en", "for"),
        ("calm", "fr", NO_STANCE),
    ]


def test_a_given_label_overrides_the_name() -> None:
    given = ["自由-平等-support.pt=自由-平等:zh:support"]
    assert labels(
        ["自由-平等-support.pt", "爱国-support.pt"],
        pattern="{value}-{stance}.pt", given=given, language="zh",
    ) == [("自由-平等", "zh", "support"), ("爱国", "zh", "support")]  # fmt: skip


def test_labels_given_for_no_file_or_for_several() -> None:
    names = ["x/1.pt", "y/1.pt", "2.pt"]
    assert "'1.pt' matches 2 of the 3 files" in fault(names, given=["1.pt=calm"], language="zh")
    assert "'3' matches 0 of the 3 files" in fault(names, given=["3=calm"], language="zh")
    assert "expected FILE=VALUE" in fault(names, given=["2.pt"], language="zh")
    assert "expected FILE=VALUE" in fault(names, given=["2=a:b:c:d"], language="zh")
    assert "named twice" in fault(names, given=["2=a", "2.pt=b"], language="zh")
    assert "value '' is not a valid label" in fault(names, given=["2="], language="zh")


def test_a_language_that_is_missing_or_superfluous() -> None:
    assert "a.pt: its language is not given" in fault(["a.pt"])
    line = fault(["a.zh.pt"], pattern="{value}.{language}.pt", language="en")
    assert "--language en: every file already has a language" in line
    assert "'pooled' is reserved" in fault(["a.pt"], language="pooled")


@pytest.mark.parametrize("label", [" ", "a\x1b[2J", "a\u202eb", "\udcff"])
def test_invalid_labels(label: str) -> None:
    assert "is not a valid label" in fault([f"{label}.pt"], language="zh")
    assert "is not a valid label" in fault(["a.pt"], language=label)


def test_two_files_with_the_same_labels() -> None:
    line = fault(["x/a.pt", "b.pt", "y/a.pt"], language="zh")
    assert (
        "y/a.pt: has the same labels as x/a.pt (value a, language zh, stance unspecified)" in line
    )
    assert "the same labels" in fault(["a.pt", "a.pt"], language="zh")


def test_a_value_that_lacks_a_language() -> None:
    names = ["a.zh.pt", "a.en.pt", "b.zh.pt", "c.fr.pt"]
    line = fault(names, pattern="{value}.{language}.pt")
    assert "no file for a in fr, b in en, b in fr, c in zh, c in en;" in line
