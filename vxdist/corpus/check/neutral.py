"""Neutral passages: how many there are, how long they are, and in which languages."""

from collections.abc import Iterator, Sequence

from vxdist.corpus.check.findings import Checked, Finding, Table
from vxdist.corpus.check.text import split_words
from vxdist.corpus.items import NeutralItem


def check_neutral(neutral: Sequence[NeutralItem], languages: Sequence[str]) -> Checked:
    """Count the passages of each language; warn of those that lack one of the languages."""
    if not neutral:
        return Checked()
    rows = []
    for language in dict.fromkeys(item.language for item in neutral):
        words = [len(split_words(item.text)) for item in neutral if item.language == language]
        rows.append((language, len(words), sum(words) / len(words), min(words), max(words)))
    columns = ("language", "passages", "mean", "shortest", "longest")
    title = "Neutral passages, lengths in words (characters for Chinese)"
    return Checked(
        findings=[*_incomplete(neutral, languages)],
        tables=[Table(name="neutral", title=title, columns=columns, rows=rows)],
    )


def _incomplete(neutral: Sequence[NeutralItem], languages: Sequence[str]) -> Iterator[Finding]:
    """Passages that lack a language: languages are then compared on different texts."""
    found: dict[str, set[str]] = {}
    for item in neutral:
        found.setdefault(item.pair, set()).add(item.language)
    for pair, there in found.items():
        missing = [name for name in languages if name not in there]
        if missing:
            yield Finding(
                level="warning",
                kind="pair",
                message=f"{pair} (neutral) is only in {', '.join(sorted(there))}, "
                f"not in {', '.join(missing)}",
                items=(pair,),
            )
