"""Whether some values have longer stories than others: a one-way F test over dilemmas.

V: value, D: dilemma.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from vxdist.corpus.check.dilemmas import Dilemmas
from vxdist.corpus.check.findings import Checked, Finding, Table, show, side_by_side
from vxdist.corpus.check.settings import CheckConfig


@dataclass(frozen=True, kw_only=True)
class LengthTest:
    """Mean words per value, and the F test of log words; F is None where there is none."""

    language: str
    means: dict[str, float]
    F: float | None
    p: float | None

    @property
    def spread(self) -> float:
        """By what fraction the longest mean exceeds the shortest."""
        return max(self.means.values()) / min(self.means.values()) - 1


def compare_values(dilemmas: Dilemmas) -> LengthTest:
    """The mean length of each value, and a one-way F test of log length over dilemmas.

    A dilemma's length is the mean over its tellings.
    """
    present = [*range(len(dilemmas.values))]
    log_D, words_D = dilemmas.log_words_D, dilemmas.words_D
    groups = [log_D[dilemmas.value_D == v] for v in present]
    means = {
        dilemmas.values[v]: float(words_D[dilemmas.value_D == v].mean())
        for v in present
        if len(groups[v])
    }
    groups = [group for group in groups if len(group)]
    degrees = len(log_D) - len(groups)
    if len(groups) < 2 or degrees < 1 or not any(np.ptp(group) for group in groups):
        return LengthTest(language=dilemmas.language, means=means, F=None, p=None)
    found = stats.f_oneway(*groups)
    return LengthTest(
        language=dilemmas.language, means=means, F=float(found.statistic), p=float(found.pvalue)
    )


def check_lengths(languages: Sequence[Dilemmas], config: CheckConfig) -> Checked:
    """Warn where length tells values apart."""
    tests = [compare_values(dilemmas) for dilemmas in languages]
    means = [(t.language, value, mean) for t in tests for value, mean in t.means.items()]
    rows = [(t.language, 100 * t.spread, t.F, t.p) for t in tests]
    columns = ("language", "spread %", "F", "p")
    tables = [
        Table(
            name="value_lengths",
            title="Mean words of the stories of a dilemma, by value",
            columns=("language", "value", "mean"),
            rows=means,
            shown=side_by_side(((v, g, show(mean)) for g, v, mean in means), "value"),
        ),
        Table(
            name="length_tests",
            title="By how much the longest exceeds the shortest, and a one-way F test of log words",
            columns=columns,
            rows=rows,
            shown=(columns, [(g, show(s), show(f), show(p, ".2g")) for g, s, f, p in rows]),
        ),
    ]
    findings = [finding for test in tests for finding in _judge(test, config)]
    return Checked(findings=findings, tables=tables if rows else [])


def _extremes(test: LengthTest) -> tuple[str, str]:
    return max(test.means, key=test.means.__getitem__), min(test.means, key=test.means.__getitem__)


def _judge(test: LengthTest, config: CheckConfig) -> Iterator[Finding]:
    differs = test.p is not None and test.p < config.level
    if not differs and test.spread <= config.length_spread:
        return
    longest, shortest = _extremes(test)
    tested = "not tested" if test.F is None else f"F {test.F:.1f}, p {test.p:.2g}"
    yield Finding(
        level="warning",
        kind="length",
        message=f"{test.language}, by value: stories of {longest} are the longest and those of "
        f"{shortest} the shortest (means of {test.means[longest]:.1f} and "
        f"{test.means[shortest]:.1f} words over dilemmas, {test.spread:.1%} apart; {tested}): "
        "neurons that follow length look like neurons of a value",
        weight=test.spread,
    )
