"""How many dilemmas are decided both ways, and whether their two tellings have the same length."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

from vxdist.corpus.check.dilemmas import Dilemmas
from vxdist.corpus.check.findings import Checked, Finding, Table, show, side_by_side
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.items import STANCES
from vxstore.text import plural

Row = tuple[str, int, float, float, float, float, float]
COLUMNS = ("language", "dilemmas", *STANCES, "difference", "t", "p")


def check_stances(languages: Sequence[Dilemmas], config: CheckConfig) -> Checked:
    """Count the stance pairs of each value; compare the lengths of the two tellings."""
    pairs: list[tuple[str, str, int, int]] = []
    findings: list[Finding] = []
    lengths: list[Row] = []
    for dilemmas in languages:
        total_V = np.bincount(dilemmas.value_D, minlength=len(dilemmas.values))
        both_V = np.bincount(dilemmas.value_D[_both(dilemmas)], minlength=len(dilemmas.values))
        pairs += [
            (dilemmas.language, value, int(both), int(total))
            for value, both, total in zip(dilemmas.values, both_V, total_V, strict=True)
        ]
        findings += [*_judge_number(dilemmas, both_V.tolist(), total_V.tolist(), config)]
        if (row := compare_stances(dilemmas)) is not None:
            lengths.append(row)
            findings += [*_judge_lengths(row, config)]
    tables = [
        Table(
            name="stances",
            title="Dilemmas told in both stances",
            columns=("language", "value", "both", "dilemmas"),
            rows=pairs,
            shown=side_by_side(
                ((v, g, f"{both} of {total}") for g, v, both, total in pairs), "value"
            ),
        ),
        Table(
            name="stance_lengths",
            title="Mean words of the two tellings of a dilemma, with a paired t test",
            columns=COLUMNS,
            rows=lengths,
            shown=(
                COLUMNS,
                [(*map(str, r[:2]), *map(show, r[2:6]), show(r[6], ".2g")) for r in lengths],
            ),
        ),
    ]
    return Checked(findings=findings, tables=[table for table in tables if table.rows])


def _both(dilemmas: Dilemmas) -> list[int]:
    return [n for n, of in enumerate(dilemmas.tellings) if len({t.stance for t in of}) > 1]


def compare_stances(dilemmas: Dilemmas) -> Row | None:
    """Language, dilemmas told in both stances, mean words of the aligned and the violating
    tellings, mean difference, t and p of a paired t test on log words; None for fewer than 2."""
    words = [{t.stance: t.words for t in dilemmas.tellings[n]} for n in _both(dilemmas)]
    if len(words) < 2:
        return None
    words_DS = np.array([[of[stance] for stance in STANCES] for of in words], dtype=np.float64)
    aligned, violating = words_DS.mean(axis=0).tolist()
    difference_D = np.log(words_DS[:, 0]) - np.log(words_DS[:, 1])
    t, p = (0.0, 1.0) if not difference_D.any() else stats.ttest_1samp(difference_D, 0)
    difference = aligned - violating
    return dilemmas.language, len(words), aligned, violating, difference, float(t), float(p)


def _judge_number(
    dilemmas: Dilemmas, both: Sequence[int], total: Sequence[int], config: CheckConfig
) -> Iterator[Finding]:
    language = dilemmas.language
    for value, count in zip(dilemmas.values, both, strict=True):
        if count < config.stance_pairs:
            yield Finding(
                level="warning",
                kind="stance",
                message=f"{value} has {plural(count, 'dilemma')} told in both stances in "
                f"{language}, expected at least {config.stance_pairs}: level 4, that a neuron "
                "tells the stances apart, cannot be tested",
                weight=config.stance_pairs - count,
            )
    single = sum(total) - sum(both)
    if single and min(both) >= config.stance_pairs:
        yield Finding(
            level="note",
            kind="stance",
            message=f"{single} of {plural(sum(total), 'dilemma')} in {language} are told in one "
            "stance only: they do not take part in level 4",
            weight=single / sum(total),
        )


def _judge_lengths(row: Row, config: CheckConfig) -> Iterator[Finding]:
    language, _, aligned, violating, _, t, p = row
    if p < config.level:
        longer = STANCES[0] if t > 0 else STANCES[1]
        yield Finding(
            level="warning",
            kind="length",
            message=f"{language}, by stance: the {longer} telling of a dilemma is the longer one "
            f"(means of {aligned:.1f} words aligned, {violating:.1f} violating; paired t "
            f"{t:.1f}, p {p:.2g}): neurons that follow length look like neurons of a stance",
            weight=abs(aligned / violating - 1),
        )
