"""The bundled seed, in all editions: complete, paired, and in its declared languages."""

import json
import re
from collections import Counter

import pytest

from vxdist.cli import main
from vxdist.config import CorpusConfig
from vxdist.corpus import ActivationItem, Corpus, EvaluationItem, load_corpus
from vxdist.corpus.check.card import measure
from vxdist.corpus.editions import BUILTIN, NEWEST
from vxdist.corpus.read import read_corpus

VALUES = (
    "prosperity", "democracy", "civility", "harmony", "freedom", "equality", "justice",
    "rule_of_law", "patriotism", "dedication", "integrity", "friendliness",
)  # fmt: skip
LANGUAGES = ("zh", "en")
HAN = re.compile(r"[\u4e00-\u9fff]")
LATIN = re.compile(r"[A-Za-z]")


@pytest.fixture(scope="module", params=BUILTIN)
def seed(request: pytest.FixtureRequest) -> Corpus:
    """Each corpus bundled with vxdist."""
    return load_corpus(CorpusConfig(path=request.param))


@pytest.fixture(scope="module")
def newest() -> Corpus:
    """The edition that its plain name stands for."""
    return load_corpus(CorpusConfig(path=NEWEST))


def test_the_first_edition_stays_as_it_is() -> None:
    first = load_corpus(CorpusConfig(path="builtin:cvoice-seed-1"))
    assert first.activation_digest().startswith("60de23ce6f79ce53")
    assert first.evaluation_digest().startswith("4e9aeb7b8ca6aad9")


def test_twelve_values_in_two_languages(seed: Corpus) -> None:
    assert (seed.values, seed.languages) == (VALUES, LANGUAGES)


def test_each_value_has_as_many_dilemmas(seed: Corpus) -> None:
    stories = Counter((i.value, i.language) for i in seed.activation if i.stance == "aligned")
    against = Counter((i.value, i.language) for i in seed.activation if i.stance == "violating")
    dilemmas = Counter((i.value, i.language) for i in seed.evaluation)
    for found in (stories, dilemmas):
        assert [*found] == [(value, g) for value in VALUES for g in LANGUAGES]
        assert len(set(found.values())) == 1
    assert min(stories.values()) >= 24
    assert min(dilemmas.values()) >= 16
    assert all(against[of] >= number / 2 for of, number in stories.items())


def test_pairs_are_complete(seed: Corpus) -> None:
    stories = Counter((i.pair, i.language, i.stance) for i in seed.activation)
    assert stories == {(pair, g, s): 1 for pair, _, s in stories for g in LANGUAGES}
    assert {pair for pair, _, _ in stories} == {pair for pair, _, s in stories if s == "aligned"}
    dilemmas = Counter((i.pair, i.language) for i in seed.evaluation)
    assert dilemmas == {(pair, g): 1 for pair, _ in dilemmas for g in LANGUAGES}
    assert not {pair for pair, _, _ in stories} & {pair for pair, _ in dilemmas}


def test_settings_and_rivals_vary(seed: Corpus) -> None:
    items: list[ActivationItem | EvaluationItem] = [*seed.activation, *seed.evaluation]
    for value in VALUES:
        assert len({i.setting for i in items if i.value == value} - {""}) >= 8
        assert len({i.rival for i in items if i.value == value} - {""}) >= 6


def test_a_pair_has_one_value_setting_and_rival(seed: Corpus) -> None:
    about: dict[str, set[tuple[str, str, str]]] = {}
    items: list[ActivationItem | EvaluationItem] = [*seed.activation, *seed.evaluation]
    for item in items:
        about.setdefault(item.pair, set()).add((item.value, item.setting, item.rival))
    assert [pair for pair, labels in about.items() if len(labels) > 1] == []


def test_both_stances_face_the_same_dilemma(seed: Corpus) -> None:
    dilemmas: dict[tuple[str, str], set[str]] = {}
    for item in seed.activation:
        dilemmas.setdefault((item.pair, item.language), set()).add(item.dilemma)
    assert [key for key, texts in dilemmas.items() if len(texts) > 1] == []


def test_texts_are_in_their_language(seed: Corpus) -> None:
    texts = [(i.id, i.language, t) for i in seed.activation
             for t in (i.dilemma, i.choice, i.rationale)]  # fmt: skip
    texts += [(i.id, i.language, t) for i in seed.evaluation
              for t in (i.dilemma, i.aligned, i.violating)]  # fmt: skip
    for name, language, text in texts:
        letters = len(HAN.findall(text)), len(LATIN.findall(text))
        expected, other = letters if language == "zh" else letters[::-1]
        assert expected > 0.6 * len(text), name
        assert other < 0.05 * len(text), name


def test_no_text_occurs_twice(seed: Corpus) -> None:
    texts = Counter(t for i in seed.activation for t in (i.choice, i.rationale))
    texts += Counter(t for i in seed.evaluation for t in (i.dilemma, i.aligned, i.violating))
    texts += Counter({(i.pair, i.language): i.dilemma for i in seed.activation}.values())
    assert [text for text, times in texts.items() if times > 1] == []


def test_options_have_similar_lengths(seed: Corpus) -> None:
    """A model that prefers the shorter option would seem to prefer a value."""
    longer = []
    for item in seed.evaluation:
        aligned, violating = len(item.aligned), len(item.violating)
        assert 0.75 <= aligned / violating <= 1 / 0.75, item.id
        longer.append((aligned > violating) - (aligned < violating))
    assert abs(sum(longer)) <= 0.2 * len(longer)


def count_words(text: str, language: str) -> int:
    """Characters of Chinese; words of English."""
    return len(text) if language == "zh" else len(text.split())


def test_texts_are_neither_short_nor_long(seed: Corpus) -> None:
    most_dilemma, most_rationale = {"zh": 140, "en": 90}, {"zh": 180, "en": 110}
    least_dilemma, least_rationale = {"zh": 60, "en": 40}, {"zh": 100, "en": 50}
    for item in (*seed.activation, *seed.evaluation):
        length = count_words(item.dilemma, item.language)
        assert least_dilemma[item.language] <= length <= most_dilemma[item.language], item.id
    for item in seed.activation:
        length = count_words(item.rationale, item.language)
        assert least_rationale[item.language] <= length <= most_rationale[item.language], item.id


def test_the_card_matches_the_corpus(seed: Corpus) -> None:
    assert tuple(seed.card["values"]) == VALUES
    assert tuple(seed.card["languages"]) == LANGUAGES
    for names in seed.card["values"].values():
        assert HAN.search(names["zh"])
        assert LATIN.search(names["en"])
    assert seed.card["licence"]


def test_the_figures_of_the_card_are_those_of_the_texts(seed: Corpus) -> None:
    measured = measure(read_corpus(seed.path))
    assert measured == seed.card["measured"], "run `python docs/refresh.py`"


def test_the_newest_edition_is_balanced(newest: Corpus) -> None:
    """Every value is told once in each setting, in both stances and languages."""
    told = Counter((i.value, i.setting, i.language, i.stance) for i in newest.activation)
    settings = {i.setting for i in newest.activation}
    assert len(settings) == 24
    assert set(told.values()) == {1}
    assert len(told) == 12 * 24 * 2 * 2
    asked = Counter((i.value, i.language) for i in newest.evaluation)
    assert set(asked.values()) == {32}
    assert Counter(i.language for i in newest.neutral) == {"zh": 40, "en": 40}
    assert len({i.text for i in newest.neutral}) == 80


def test_the_check_has_nothing_to_say_of_the_newest_edition(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not even a note."""
    assert main(["corpus", "check", "builtin:cvoice-seed", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []
