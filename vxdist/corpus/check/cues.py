"""Whether something other than the dilemma tells the aligned option: its words, length, or place.

A model that follows such a cue seems to follow a value. D: dilemma, W: word.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vxdist.corpus.check.findings import Checked, Finding, Table
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.check.text import split_words
from vxdist.corpus.items import ActivationItem, EvaluationItem

Bools = NDArray[np.float64]
Row = tuple[str, str, str, str, float, int, float, float, float]
ALL = "(all)"
COLUMNS = ("cue", "of", "language", "value", "right", "of all", "accuracy", "low", "high")


def check_cues(
    activation: Sequence[ActivationItem], evaluation: Sequence[EvaluationItem], config: CheckConfig
) -> Checked:
    """How often each cue finds the aligned option, and words the stance, with intervals."""
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
        for cue, right_D in cues.items():
            rows += [*_rows(cue, language, "options", values, right_D, config)]
            findings += [*_judge(cue, f"the aligned option in {language}", values, right_D, config)]
    for language in dict.fromkeys(item.language for item in activation):
        both = _both_stances(activation, language)
        right_D = follow_words([texts for _, _, texts in both], [p for _, p, _ in both], config)
        rows += [*_rows("words", language, "stances", [v for v, _, _ in both], right_D, config)]
    title = (
        "Cues: how often each finds the aligned option, in % with interval (50: it tells nothing)"
    )
    table = Table(name="cues", title=title, columns=COLUMNS, rows=rows, shown=_side_by_side(rows))
    return Checked(findings=findings, tables=[table])


def _side_by_side(rows: Sequence[Row]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """A row for each value, a column for each cue and language."""
    cells: dict[str, dict[str, str]] = {}
    for cue, of, language, value, _, _, accuracy, low, high in rows:
        name = f"{'stance by ' if of == 'stances' else ''}{cue} {language}"
        text = f"{100 * accuracy:.0f} ({100 * low:.0f}-{100 * high:.0f})"
        cells.setdefault(value, {})[name] = text
    names = list(dict.fromkeys(name for of in cells.values() for name in of))
    return ("value", *names), [
        (value, *(of.get(name, "-") for name in names)) for value, of in cells.items()
    ]


def follow_length(options: Sequence[tuple[str, str]]) -> Bools:
    """1 where the aligned option is the longer one, in words; 0.5 where neither is."""
    length = np.array([[len(split_words(text)) for text in pair] for pair in options]).reshape(
        -1, 2
    )
    longer_D: Bools = (np.sign(length[:, 0] - length[:, 1]) + 1) / 2
    return longer_D


def follow_mention(items: Sequence[EvaluationItem]) -> Bools:
    """1 where the dilemma speaks of the aligned option first; 0.5 where that cannot be told.

    The place of an option is the mean place, in the dilemma, of the words that it alone shares
    with it.
    """
    right = []
    for item in items:
        dilemma = split_words(item.dilemma)
        aligned, violating = set(split_words(item.aligned)), set(split_words(item.violating))
        own = (aligned - violating, violating - aligned)
        places = [[n for n, word in enumerate(dilemma) if word in words] for words in own]
        if all(places):
            right.append((np.sign(np.mean(places[1]) - np.mean(places[0])) + 1) / 2)
        else:
            right.append(0.5)
    return np.array(right)


def follow_words(
    options: Sequence[tuple[str, str]], pairs: Sequence[str], config: CheckConfig
) -> Bools:
    """1 where a bag of words finds the first of two texts; it learns from the other folds.

    Logistic regression on the difference of the two bags, words and their neighbours, so that what
    both say cancels. Folds are cut between pairs. 0.5 where words tell nothing.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    folds = min(config.folds, len(set(pairs)))
    if folds < 2 or not any(split_words(text) for pair in options for text in pair):
        return np.full(len(options), 0.5)
    words = TfidfVectorizer(tokenizer=split_words, token_pattern=None, ngram_range=(1, 2))
    # Weights of words are learned from no labels, so that all texts may give them.
    words.fit([text for pair in options for text in pair])
    difference_DW = words.transform([a for a, _ in options]) - words.transform(
        [b for _, b in options]
    )
    sign_D = np.where(np.random.default_rng(config.seed).random(len(options)) < 0.5, 1, -1)
    signed_DW = difference_DW.multiply(sign_D[:, None]).tocsr()
    right_D = np.zeros(len(options))
    for learn, test in GroupKFold(folds).split(signed_DW, groups=pairs):
        if len(set(sign_D[learn])) < 2:
            right_D[test] = 0.5
            continue
        model = LogisticRegression(fit_intercept=False, max_iter=1000)
        model.fit(signed_DW[learn], sign_D[learn])
        score_D = model.decision_function(signed_DW[test]) * sign_D[test]
        right_D[test] = (np.sign(score_D) + 1) / 2
    return right_D


def _both_stances(
    activation: Sequence[ActivationItem], language: str
) -> list[tuple[str, str, tuple[str, str]]]:
    """(value, pair, (aligned text, violating text)) of dilemmas that were decided both ways."""
    told: dict[str, dict[str, ActivationItem]] = {}
    for item in activation:
        if item.language == language:
            told.setdefault(item.pair, {})[item.stance] = item
    texts = {
        pair: [f"{s.choice} {s.rationale}" for s in (of.get("aligned"), of.get("violating")) if s]
        for pair, of in told.items()
    }
    return [
        (next(iter(told[pair].values())).value, pair, (both[0], both[1]))
        for pair, both in texts.items()
        if len(both) == 2
    ]


def _rows(
    cue: str, language: str, of: str, values: Sequence[str], right_D: Bools, config: CheckConfig
) -> Iterator[Row]:
    for value in (ALL, *dict.fromkeys(values)):
        mine_D = right_D if value == ALL else right_D[[v == value for v in values]]
        if len(mine_D):
            low, high = interval(mine_D, config.confidence)
            right, accuracy = float(mine_D.sum()), float(mine_D.mean())
            yield cue, of, language, value, right, len(mine_D), accuracy, low, high


def _judge(
    cue: str, what: str, values: Sequence[str], right_D: Bools, config: CheckConfig
) -> Iterator[Finding]:
    """A warning for each cue that tells more than it may, over all and for each value.

    With many values some would stand out by chance: their intervals are Bonferroni's.
    """
    names = [*dict.fromkeys(values)]
    for value in (ALL, *names):
        mine_D = right_D if value == ALL else right_D[[v == value for v in values]]
        wrong = 1 - config.confidence
        low, high = interval(mine_D, 1 - wrong / (1 if value == ALL else len(names)))
        accuracy = float(mine_D.mean())
        if (low > 0.5 or high < 0.5) and abs(accuracy - 0.5) > config.cue:
            yield Finding(
                level="warning",
                kind="cue",
                what=f"{cue} alone tells {what} for {'all values' if value == ALL else value}: "
                f"{accuracy:.0%} right of {len(mine_D)} ({low:.0%} to {high:.0%})",
                weight=abs(accuracy - 0.5) + (value == ALL),
            )


def interval(right_D: Bools, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of a share; what cannot be told counts half.

    Wilson 1927, with dilemmas taken as independent; those that one model learned from are not
    quite, so that intervals of the words cue are a little too narrow.
    """
    share, number = float(right_D.mean()), len(right_D)
    deviate = float(stats.norm.ppf((1 + confidence) / 2))
    spread = deviate**2 / number
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return middle - half, middle + half
