"""Text lengths by value, stance and option, in words (characters for Chinese)."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from vxdist.corpus.check.findings import Checked, Finding, Table
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.check.text import split_words, whole_text
from vxdist.corpus.items import ActivationItem, EvaluationItem


def check_balance(
    activation: Sequence[ActivationItem], evaluation: Sequence[EvaluationItem], config: CheckConfig
) -> Checked:
    """Compare mean lengths; warn where the longest is much longer than the shortest."""
    rows: list[tuple[object, ...]] = []
    findings: list[Finding] = []
    for language in dict.fromkeys(item.language for item in activation):
        stories = [item for item in activation if item.language == language]
        dilemmas = [item for item in evaluation if item.language == language]
        by_value = _group((item.value, whole_text(item)) for item in stories)
        # Only dilemmas decided both ways show whether one stance is argued at greater length.
        stances = _group((s.stance, f"{s.choice} {s.rationale}") for s in _decided_both(stories))
        options = _group(
            pair for i in dilemmas for pair in (("aligned", i.aligned), ("violating", i.violating))
        )
        for group, lengths in (("value", by_value), ("stance", stances), ("option", options)):
            rows += [
                (language, group, name, len(counts), sum(counts) / len(counts), min(counts),
                 max(counts))
                for name, counts in lengths.items()
            ]  # fmt: skip
            findings += [*_judge(language, group, lengths, config)]
    columns = ("language", "by", "name", "texts", "mean", "shortest", "longest")
    title = (
        "Lengths in words (characters for Chinese): whole stories, choices with rationales, options"
    )
    return Checked(
        findings=findings, tables=[Table(name="lengths", title=title, columns=columns, rows=rows)]
    )


def _group(texts: Iterator[tuple[str, str]]) -> dict[str, list[int]]:
    lengths: dict[str, list[int]] = {}
    for name, text in texts:
        lengths.setdefault(name, []).append(len(split_words(text)))
    return lengths


def _decided_both(stories: Sequence[ActivationItem]) -> list[ActivationItem]:
    stances: dict[str, set[str]] = {}
    for item in stories:
        stances.setdefault(item.pair, set()).add(item.stance)
    return [item for item in stories if len(stances[item.pair]) > 1]


def _judge(
    language: str, group: str, lengths: Mapping[str, Sequence[int]], config: CheckConfig
) -> Iterator[Finding]:
    means = {name: float(np.mean(counts)) for name, counts in lengths.items()}
    if len(means) < 2:
        return
    longest, shortest = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    ratio = means[longest] / max(1e-9, means[shortest])
    if ratio > config.length_ratio:
        yield Finding(
            level="warning",
            kind="length",
            message=f"{language}, by {group}: {longest} is {ratio:.2f} times as long as {shortest} "
            f"(means of {means[longest]:.0f} and {means[shortest]:.0f} words)",
            weight=ratio - 1,
        )
