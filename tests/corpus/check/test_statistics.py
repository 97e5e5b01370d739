"""The tests of the check find a planted fault, and call a sound corpus faulty at their level."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from tests.corpus.check.synthetic import make_stories
from vxdist.corpus import ActivationItem
from vxdist.corpus.check.dilemmas import group_stories
from vxdist.corpus.check.drift import check_drift, compare_halves, follow_halves
from vxdist.corpus.check.findings import Checked
from vxdist.corpus.check.information import check_information, label, measure
from vxdist.corpus.check.lengths import check_lengths, compare_values
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.check.stances import check_stances, compare_stances

CONFIG = CheckConfig(shuffles=199)
WIDE = dataclasses.replace(CONFIG, length_spread=1.0)
"""Without the limit on the spread, which is no test."""
ROTATED = [[f"s{(v + d) % 12}" for d in range(12)] for v in range(4)]
"""Every value has one dilemma in each of 12 settings, each in an order of its own."""


def run_all(stories: Sequence[ActivationItem], config: CheckConfig = WIDE) -> list[Checked]:
    """All tests on one corpus."""
    languages = group_stories(stories)
    checks = [check(languages, config) for check in (check_lengths, check_stances, check_drift)]
    return [*checks, check_information(stories, [], config)]


def messages(checked: Sequence[Checked], level: str = "warning") -> list[str]:
    """Kind and message of the findings of a level."""
    return [f"{f.kind}: {f.message}" for of in checked for f in of.findings if f.level == level]


def test_sound_corpora_are_called_faulty_at_the_level() -> None:
    """199 in 200 of the counts of a test at its level of 5 % over 200 corpora are below 19."""
    told: Counter[str] = Counter()
    for seed in range(200):
        found = messages(run_all(make_stories(seed)))
        told.update(
            name
            for name, part in {
                "values": "by value",
                "stances": "by stance",
                "halves": "words on average",
                "words": "words tell dilemmas",
                "settings": "settings belong",
            }.items()
            if any(part in line for line in found)
        )
    assert set(told) == {"values", "stances", "halves", "words", "settings"}
    assert max(told.values()) < 19, told


def test_a_sound_corpus_of_equal_lengths_has_no_warning() -> None:
    stories = make_stories(3, dilemmas=12, settings=ROTATED)
    equal = [
        dataclasses.replace(i, dilemma=" ".join((i.dilemma.split() * 9)[:60])) for i in stories
    ]
    checked = run_all(equal, CONFIG)
    assert messages(checked) == messages(checked, "note") == []


class TestLengths:
    def test_one_value_is_longer(self) -> None:
        stories = make_stories(0, length=lambda v, d, s: 1.3 if v == 2 else 1.0)
        (line,) = [line for line in messages(run_all(stories)) if "by value" in line]
        assert line.startswith("length: en, by value: stories of v2 are the longest and those of v")
        assert "neurons that follow length look like neurons of a value" in line

    def test_the_spread_is_limited_whatever_p_is(self) -> None:
        stories = make_stories(1)
        test = compare_values(group_stories(stories)[0])
        assert test.p is not None
        assert test.p > 0.05
        for spread, warned in ((test.spread - 0.001, True), (test.spread + 0.001, False)):
            config = dataclasses.replace(CONFIG, length_spread=spread)
            assert bool(check_lengths(group_stories(stories), config).findings) == warned

    def test_tellings_of_a_dilemma_count_once(self) -> None:
        """Twice the same telling is no more evidence."""
        single = make_stories(5, both=0, length=lambda v, d, s: 1.05**v)
        again = [dataclasses.replace(i, stance="violating") for i in single]
        once, twice = (compare_values(group_stories(of)[0]) for of in (single, [*single, *again]))
        assert pytest.approx(twice.F) == once.F
        groups = [
            np.log([len(i.dilemma.split()) for i in single if i.value == v]) for v in once.means
        ]
        assert pytest.approx(stats.f_oneway(*groups).statistic) == once.F

    @pytest.mark.parametrize("values", [1, 3])
    def test_what_cannot_be_tested_is_said_to_be_so(self, values: int) -> None:
        stories = make_stories(0, values=values, dilemmas=1 if values > 1 else 4, both=0)
        test = compare_values(group_stories(stories)[0])
        assert (test.F, test.p) == (None, None)
        check_lengths(group_stories(stories), CONFIG)


class TestStances:
    @pytest.mark.parametrize(("both", "level"), [(5, "warning"), (6, "note"), (12, None)])
    def test_few_are_told_in_both(self, both: int, level: str | None) -> None:
        checked = check_stances(group_stories(make_stories(0, both=both)), CONFIG)
        found = [f for f in checked.findings if f.kind == "stance"]
        assert {f.level for f in found} == ({level} if level else set())
        assert len(found) == {"warning": 4, "note": 1, None: 0}[level]
        row = checked.tables[0].rows[0]
        assert tuple(row) == ("en", "v0", both, 12)

    def test_one_stance_is_longer(self) -> None:
        stories = make_stories(0, length=lambda v, d, s: 1.06 if s == "violating" else 1.0)
        (line,) = [line for line in messages(run_all(stories)) if "by stance" in line]
        assert "the violating telling of a dilemma is the longer one" in line

    def test_it_is_paired(self) -> None:
        (dilemmas,) = group_stories(make_stories(4))
        row = compare_stances(dilemmas)
        assert row is not None
        words = [[t.words for t in of] for of in dilemmas.tellings]
        expected = stats.ttest_rel(*np.log(np.array(words)).T)
        assert row[-2:] == pytest.approx((expected.statistic, expected.pvalue))


class TestDrift:
    def test_later_stories_are_longer(self) -> None:
        stories = make_stories(0, length=lambda v, d, s: 1.2 if d >= 6 else 1.0)
        found = [line for line in messages(run_all(stories)) if line.startswith("drift")]
        assert len(found) == 1
        assert "first half of the dilemmas of a value has" in found[0]

    def test_later_stories_have_other_words(self) -> None:
        stories = make_stories(0, late="and so it went and so it goes")
        found = [line for line in messages(run_all(stories)) if line.startswith("drift")]
        assert any("words tell dilemmas of the first half" in line for line in found)

    def test_lengths_of_values_are_no_drift(self) -> None:
        """Values are strata, although the first value is much longer than the last."""
        stories = make_stories(2, length=lambda v, d, s: 2.0**-v)
        drift = compare_halves(group_stories(stories)[0])
        assert drift is not None
        assert drift.p > 0.05

    @pytest.mark.parametrize("number", [12, 7])
    def test_it_is_the_t_of_an_additive_model(self, number: int) -> None:
        (dilemmas,) = group_stories(make_stories(1, dilemmas=number))
        drift = compare_halves(dilemmas)
        assert drift is not None
        half_D = dilemmas.half_D()
        used_D = half_D >= 0
        assert used_D.sum() == 4 * (number // 2 * 2)
        value_DV = np.eye(4)[dilemmas.value_D[used_D]]
        design = np.column_stack([half_D[used_D], value_DV])
        y = dilemmas.log_words_D[used_D]
        slope, residual, *_ = np.linalg.lstsq(design, y, rcond=None)
        variance = residual[0] / (len(y) - 5) * np.linalg.inv(design.T @ design)[0, 0]
        assert drift.t == pytest.approx(slope[0] / np.sqrt(variance))

    def test_of_many_dilemmas_a_sample(self) -> None:
        (dilemmas,) = group_stories(make_stories(0, late="and so it went"))
        config = dataclasses.replace(CONFIG, drift_dilemmas=20)
        first, second = (follow_halves(dilemmas, config) for _ in range(2))
        assert first is not None
        assert first == second
        assert first.pairs == 10

    def test_too_few_dilemmas(self) -> None:
        languages = group_stories(make_stories(0, values=2, dilemmas=1))
        checked = check_drift(languages, CONFIG)
        assert not [*checked.findings, *checked.tables]


class TestSettings:
    def test_settings_that_belong_to_values(self) -> None:
        settings = [[f"s{v if d < 6 else d}" for d in range(12)] for v in range(4)]
        stories = make_stories(0, settings=settings)
        (line,) = [line for line in messages(run_all(stories)) if line.startswith("setting")]
        assert line.startswith("setting: activation: settings belong to values: ")

    def test_known_amounts(self) -> None:
        found = measure(*label(make_stories(0, settings=ROTATED)), CONFIG)
        assert (found.nats, found.p) == (0, 1)
        own = [[f"s{v}"] * 12 for v in range(4)]
        found = measure(*label(make_stories(0, settings=own)), CONFIG)
        assert found.nats == pytest.approx(np.log(4))
        assert (found.of_value, found.p) == (pytest.approx(1), 1 / 200)
        assert found.dilemmas == 48, "both stances of a dilemma count once"

    def test_settings_of_one_dilemma_each_say_nothing(self) -> None:
        """They determine the value, and so do they when shuffled."""
        unique = [[f"s{12 * v + d}" for d in range(12)] for v in range(4)]
        stories = make_stories(0, settings=unique)
        found = measure(*label(stories), CONFIG)
        assert found.nats == pytest.approx(found.shuffled_mean)
        assert found.p == 1
        assert not check_information(stories, [], CONFIG).findings

    def test_without_settings(self) -> None:
        stories = make_stories(0)
        none = [dataclasses.replace(i, setting="") for i in stories]
        checked = check_information(none, [], CONFIG)
        assert not checked.tables
        (line,) = messages([checked], "note")
        assert line == (
            "setting: no activation dilemma names a setting, so whether settings belong to values "
            "is not known"
        )
        some = [*stories[:-4], *none[-4:]]
        (line,) = messages([check_information(some, [], CONFIG)], "note")
        assert line.startswith("setting: 2 activation dilemmas of 48 name no setting")
