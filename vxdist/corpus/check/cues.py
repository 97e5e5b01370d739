"""Whether a cue gives away the aligned option: its words, its length or where it is mentioned.

A model that follows such a cue seems to follow a value. D: dilemma, W: word.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vxdist.corpus.check.findings import Checked, Finding, Table, side_by_side
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.check.text import split_words
from vxdist.corpus.items import ActivationItem, EvaluationItem

Hits = NDArray[np.float64]
"""Per dilemma: 1 if the cue finds the answer, 0 if not, 0.5 if it is undecided."""
Row = tuple[str, str, str, str, float, int, float, float, float]
ALL = "(all)"
COLUMNS = ("cue", "target", "language", "value", "correct", "total", "accuracy", "low", "high")


def check_cues(
    activation: Sequence[ActivationItem], evaluation: Sequence[EvaluationItem], config: CheckConfig
) -> Checked:
    """How often each cue finds the aligned option, and words find the stance, with intervals."""
    rows: list[Row] = []
    findings: list[Finding] = []
    for language in dict.fromkeys(item.language for item in evaluation):
        items = [item for item in evaluation if item.language == language]
        options = [(item.aligned, item.violating) for item in items]
        cues = {
            "length": follow_length(options),
            "mention": follow_mention(items),
            "words": follow_words(options, [item.pair for item in items], config),
        }
        values = [item.value for item in items]
        for cue, hit_D in cues.items():
            rows += [*_rows(cue, language, "options", values, hit_D, config)]
            findings += [*_judge(cue, language, values, hit_D, config)]
    for language in dict.fromkeys(item.language for item in activation):
        both = _both_stances(activation, language)
        hit_D = follow_words([texts for _, _, texts in both], [p for _, p, _ in both], config)
        rows += [*_rows("words", language, "stances", [v for v, _, _ in both], hit_D, config)]
    title = "Cues: how often each finds the aligned option, in % with interval (chance: 50)"
    table = Table(name="cues", title=title, columns=COLUMNS, rows=rows, shown=_side_by_side(rows))
    return Checked(findings=findings, tables=[table])


def _side_by_side(rows: Sequence[Row]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """One row per value, one column per cue and language."""
    cells = (
        (
            value,
            f"{'stance by ' if target == 'stances' else ''}{cue} {language}",
            f"{100 * accuracy:.0f} ({100 * low:.0f}-{100 * high:.0f})",
        )
        for cue, target, language, value, _, _, accuracy, low, high in rows
    )
    return side_by_side(cells, "value")


def follow_length(options: Sequence[tuple[str, str]]) -> Hits:
    """1 where the aligned option is the longer one, in words; 0.5 where both are equally long."""
    length = np.array([[len(split_words(text)) for text in pair] for pair in options]).reshape(
        -1, 2
    )
    longer_D: Hits = (np.sign(length[:, 0] - length[:, 1]) + 1) / 2
    return longer_D


def follow_mention(items: Sequence[EvaluationItem]) -> Hits:
    """1 where the dilemma mentions the aligned option first; 0.5 where that is undecided.

    An option is mentioned at the mean position, in the dilemma, of the words that it, but not the
    other option, shares with the dilemma.
    """
    hits = []
    for item in items:
        dilemma = split_words(item.dilemma)
        aligned, violating = set(split_words(item.aligned)), set(split_words(item.violating))
        distinct = (aligned - violating, violating - aligned)
        positions = [[n for n, word in enumerate(dilemma) if word in words] for words in distinct]
        if all(positions):
            hits.append((np.sign(np.mean(positions[1]) - np.mean(positions[0])) + 1) / 2)
        else:
            hits.append(0.5)
    return np.array(hits)


def follow_words(
    options: Sequence[tuple[str, str]], pairs: Sequence[str], config: CheckConfig
) -> Hits:
    """1 where a bag-of-words classifier finds the first of two texts, by cross-validation.

    Logistic regression on the difference of the TF-IDF vectors of the two texts (unigrams and
    bigrams), so that whatever both say cancels out. Texts of one pair are in the same fold. 0.5
    where the words are uninformative.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    folds = min(config.folds, len(set(pairs)))
    if folds < 2 or not any(split_words(text) for pair in options for text in pair):
        return np.full(len(options), 0.5)
    words = TfidfVectorizer(tokenizer=split_words, token_pattern=None, ngram_range=(1, 2))
    # Fitted on all texts: TF-IDF weights use no labels.
    words.fit([text for pair in options for text in pair])
    difference_DW = words.transform([a for a, _ in options]) - words.transform(
        [b for _, b in options]
    )
    sign_D = np.where(np.random.default_rng(config.seed).random(len(options)) < 0.5, 1, -1)
    signed_DW = difference_DW.multiply(sign_D[:, None]).tocsr()
    hit_D = np.zeros(len(options))
    for learn, test in GroupKFold(folds).split(signed_DW, groups=pairs):
        if len(set(sign_D[learn])) < 2:
            hit_D[test] = 0.5
            continue
        model = LogisticRegression(fit_intercept=False, max_iter=1000)
        model.fit(signed_DW[learn], sign_D[learn])
        score_D = model.decision_function(signed_DW[test]) * sign_D[test]
        hit_D[test] = (np.sign(score_D) + 1) / 2
    return hit_D


def _both_stances(
    activation: Sequence[ActivationItem], language: str
) -> list[tuple[str, str, tuple[str, str]]]:
    """(value, pair, (aligned text, violating text)) of dilemmas that were decided both ways."""
    stories: dict[str, dict[str, ActivationItem]] = {}
    for item in activation:
        if item.language == language:
            stories.setdefault(item.pair, {})[item.stance] = item
    both = (
        (pair, by_stance["aligned"], by_stance["violating"])
        for pair, by_stance in stories.items()
        if len(by_stance) == 2
    )
    return [
        (a.value, pair, (f"{a.choice} {a.rationale}", f"{b.choice} {b.rationale}"))
        for pair, a, b in both
    ]


def _rows(
    cue: str, language: str, target: str, values: Sequence[str], hit_D: Hits, config: CheckConfig
) -> Iterator[Row]:
    for value in (ALL, *dict.fromkeys(values)):
        value_D = hit_D if value == ALL else hit_D[[v == value for v in values]]
        if len(value_D):
            low, high = interval(value_D, config.confidence)
            correct, accuracy = float(value_D.sum()), float(value_D.mean())
            yield cue, target, language, value, correct, len(value_D), accuracy, low, high


def _judge(
    cue: str, language: str, values: Sequence[str], hit_D: Hits, config: CheckConfig
) -> Iterator[Finding]:
    """A warning where a cue is too accurate, over all values and for each value.

    Intervals of single values are Bonferroni-corrected, since some would be significant by chance.
    """
    names = [*dict.fromkeys(values)]
    for value in (ALL, *names):
        value_D = hit_D if value == ALL else hit_D[[v == value for v in values]]
        alpha = 1 - config.confidence
        low, high = interval(value_D, 1 - alpha / (1 if value == ALL else len(names)))
        accuracy = float(value_D.mean())
        if (low > 0.5 or high < 0.5) and abs(accuracy - 0.5) > config.cue:
            yield Finding(
                level="warning",
                kind="cue",
                message=f"{cue} alone gives away the aligned option in {language} for "
                f"{'all values' if value == ALL else value}: {accuracy:.0%} correct of "
                f"{len(value_D)} ({low:.0%} to {high:.0%})",
                weight=abs(accuracy - 0.5) + (value == ALL),
            )


def interval(hit_D: Hits, confidence: float) -> tuple[float, float]:
    """Wilson's score interval (1927) of the accuracy; undecided dilemmas count as one half.

    It assumes independent dilemmas. Those classified by one model are not quite independent, so
    the intervals of the words cue are slightly too narrow.
    """
    accuracy, number = float(hit_D.mean()), len(hit_D)
    deviate = float(stats.norm.ppf((1 + confidence) / 2))
    spread = deviate**2 / number
    middle = (accuracy + spread / 2) / (1 + spread)
    half = math.sqrt(accuracy * (1 - accuracy) * spread + spread**2 / 4) / (1 + spread)
    return middle - half, middle + half
