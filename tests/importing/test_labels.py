"""Whose counts a file holds: from its name, as told, and never by guessing."""

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
    assert "found name 'b.pth', expected one like '{value}.pt'" in fault(
        ["a.pt", "b.pth"], pattern="{value}.pt", language="zh"
    )
    assert "found name 'a.pt'" in fault(["zh/x/a.pt"], pattern="x-{value}.pt", language="zh")


def test_a_name_that_reads_in_several_ways() -> None:
    """A guess would file counts under a value that there is not."""
    line = fault(["自由-平等-support.pt"], pattern="{value}-{stance}.pt", language="zh")
    assert "in several ways (自由, 平等-support or 自由-平等, support)" in line


@pytest.mark.parametrize(
    "pattern", ["a.pt", "{language}.pt", "{value}-{value}.pt", "{value}-{side}.pt", "{value}{}"]
)
def test_patterns_that_are_none(pattern: str) -> None:
    assert "expected {value}, perhaps {language} and {stance}, each once" in fault(
        ["a.pt"], pattern=pattern, language="zh"
    )


def test_labels_told() -> None:
    names = ["x/1.pt", "x/2.pt", "x/3.pt"]
    told = ["1=calm:zh", "2.pt=calm:en:for", "x/3.pt=calm"]
    assert labels(names, given=told, language="fr") == [
        ("calm", "zh", NO_STANCE),
        ("calm", "en", "for"),
        ("calm", "fr", NO_STANCE),
    ]


def test_a_label_told_goes_before_the_name() -> None:
    told = ["自由-平等-support.pt=自由-平等:zh:support"]
    assert labels(
        ["自由-平等-support.pt", "爱国-support.pt"],
        pattern="{value}-{stance}.pt", given=told, language="zh",
    ) == [("自由-平等", "zh", "support"), ("爱国", "zh", "support")]  # fmt: skip


def test_labels_told_of_no_file_or_of_several() -> None:
    names = ["x/1.pt", "y/1.pt", "2.pt"]
    assert "'1.pt' names 2 of the 3 files" in fault(names, given=["1.pt=calm"], language="zh")
    assert "'3' names 0 of the 3 files" in fault(names, given=["3=calm"], language="zh")
    assert "expected FILE=VALUE" in fault(names, given=["2.pt"], language="zh")
    assert "expected FILE=VALUE" in fault(names, given=["2=a:b:c:d"], language="zh")
    assert "named twice" in fault(names, given=["2=a", "2.pt=b"], language="zh")
    assert "value '' is no label" in fault(names, given=["2="], language="zh")


def test_a_language_not_told_or_told_in_vain() -> None:
    assert "a.pt: its language is not told" in fault(["a.pt"])
    line = fault(["a.zh.pt"], pattern="{value}.{language}.pt", language="en")
    assert "--language en: every file has a language of its own" in line
    assert "'pooled' is taken" in fault(["a.pt"], language="pooled")


@pytest.mark.parametrize("label", [" ", "a\x1b[2J", "a\u202eb", "\udcff"])
def test_labels_that_are_none(label: str) -> None:
    assert "is no label" in fault([f"{label}.pt"], language="zh")
    assert "is no label" in fault(["a.pt"], language=label)


def test_two_files_with_the_same_labels() -> None:
    line = fault(["x/a.pt", "b.pt", "y/a.pt"], language="zh")
    assert "y/a.pt: value a, language zh, stance unspecified is what x/a.pt has too" in line
    assert "has too" in fault(["a.pt", "a.pt"], language="zh")


def test_a_value_that_lacks_a_language() -> None:
    names = ["a.zh.pt", "a.en.pt", "b.zh.pt", "c.fr.pt"]
    line = fault(names, pattern="{value}.{language}.pt")
    assert "no file for a in fr, b in en, b in fr, c in zh, c in en;" in line
