"""Whether the first dilemmas of the values differ from the last ones, as texts do whose writing
went on for long. D: dilemma.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from vxdist.corpus.check.cues import interval
from vxdist.corpus.check.dilemmas import Dilemmas, Floats, Integers
from vxdist.corpus.check.findings import Checked, Finding, Table, show
from vxdist.corpus.check.settings import CheckConfig
from vxdist.corpus.check.text import split_words

COLUMNS = ("language", "dilemmas", "first", "second", "t", "p", "pairs", "accuracy", "low", "high",
           "p of words")  # fmt: skip
SHOWN = (*COLUMNS[:6], "by words", "p of words")


@dataclass(frozen=True, kw_only=True)
class LengthDrift:
    """Mean words of both halves, and how the second differs within values, as t and p."""

    first: float
    second: float
    t: float
    p: float


@dataclass(frozen=True, kw_only=True)
class WordDrift:
    """How often words tell the half, with interval and p."""

    pairs: int
    accuracy: float
    low: float
    high: float
    p: float


def check_drift(languages: Sequence[Dilemmas], config: CheckConfig) -> Checked:
    """Compare the halves of each value's dilemmas, in order of appearance, per language."""
    rows: list[tuple[object, ...]] = []
    shown: list[tuple[str, ...]] = []
    findings: list[Finding] = []
    for dilemmas in languages:
        length, words = compare_halves(dilemmas), follow_halves(dilemmas, config)
        if length is None:
            continue
        number = int((dilemmas.half_D() >= 0).sum())
        by_words = (None,) * 5 if words is None else dataclasses.astuple(words)
        rows.append((dilemmas.language, number, *dataclasses.astuple(length), *by_words))
        shown.append(_show(dilemmas.language, number, length, words))
        findings += [*_judge(dilemmas.language, length, words, config)]
    title = (
        "Drift, first against second half of each value's dilemmas: mean words with a t test, and "
        "how often a bag of words tells the half, in % with interval (chance: 50)"
    )
    table = Table(name="drift", title=title, columns=COLUMNS, rows=rows, shown=(SHOWN, shown))
    return Checked(findings=findings, tables=[table] if rows else [])


def _show(
    language: str, number: int, length: LengthDrift, words: WordDrift | None
) -> tuple[str, ...]:
    means = (show(length.first), show(length.second), show(length.t), show(length.p, ".2g"))
    if words is None:
        return language, str(number), *means, "-", "-"
    accuracy, low, high = (100 * part for part in (words.accuracy, words.low, words.high))
    by_words = f"{accuracy:.0f} ({low:.0f}-{high:.0f})"
    return language, str(number), *means, by_words, show(words.p, ".2g")


def compare_halves(dilemmas: Dilemmas) -> LengthDrift | None:
    """t test of log length between the halves, within values (strata); None if there are too few.

    The additive model log words = value + half, by least squares: both sides are centred within
    their value (Frisch and Waugh 1933), which leaves D - V - 1 degrees of freedom.
    """
    half_D = dilemmas.half_D()
    used_D = half_D >= 0
    value_D, log_D = dilemmas.value_D[used_D], dilemmas.log_words_D[used_D]
    words_D, half_D = dilemmas.words_D[used_D], half_D[used_D]
    degrees = len(value_D) - len(set(value_D.tolist())) - 1
    if degrees < 1:
        return None
    first, second = (float(words_D[half_D == half].mean()) for half in (0, 1))
    half_centred_D, log_centred_D = (_centre(of, value_D) for of in (half_D.astype(float), log_D))
    square = float(half_centred_D @ half_centred_D)
    slope = float(half_centred_D @ log_centred_D) / square
    rest_D = log_centred_D - slope * half_centred_D
    error = float(np.sqrt(rest_D @ rest_D / degrees / square))
    if error < 1e-12:
        t = 0.0 if abs(slope) < 1e-12 else float(np.copysign(np.inf, slope))
    else:
        t = slope / error
    return LengthDrift(first=first, second=second, t=t, p=float(2 * stats.t.sf(abs(t), degrees)))


def _centre(number_D: Floats, value_D: Integers) -> Floats:
    """Minus the mean of its value."""
    total_V, count_V = np.bincount(value_D, number_D), np.bincount(value_D)
    centred_D: Floats = number_D - (total_V / np.maximum(count_V, 1))[value_D]
    return centred_D


def follow_halves(dilemmas: Dilemmas, config: CheckConfig) -> WordDrift | None:
    """How often a bag of words tells which of two dilemmas of a value is of the first half.

    The k-th dilemma of the first half is compared with the k-th of the second: ridge regression on
    the difference of their TF-IDF vectors (unigrams and bigrams; the tellings of a dilemma are one
    text), cross-validated over pairs. Without drift either of two could be the first, so that p
    comes from as many random swaps as `shuffles` says; it holds although folds share texts. Of many
    dilemmas, a sample of `drift_dilemmas`. None for fewer pairs than folds, or without words.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    rng = np.random.default_rng(config.seed)
    pair_K2 = dilemmas.pair_halves()
    most = config.drift_dilemmas // 2
    if len(pair_K2) > most:
        pair_K2 = pair_K2[np.sort(rng.choice(len(pair_K2), most, replace=False))]
    texts = [" ".join(t.text for t in dilemmas.tellings[n]) for n in pair_K2.T.ravel().tolist()]
    if len(pair_K2) < config.folds or not any(split_words(text) for text in texts):
        return None
    words = TfidfVectorizer(tokenizer=split_words, token_pattern=None, ngram_range=(1, 2))
    word_DW = words.fit_transform(texts)  # on all texts: TF-IDF weights use no labels
    difference_KW = word_DW[: len(pair_K2)] - word_DW[len(pair_K2) :]
    kernel_KK = (difference_KW @ difference_KW.T).toarray()
    predict_KK = _predict(kernel_KK, rng.permutation(len(pair_K2)) % config.folds)
    sign_KS = rng.choice([-1.0, 1.0], (len(pair_K2), config.shuffles))
    # `sign` holds the labels: 1 where the first of two is of the first half, as it is in all.
    shuffled_S = _hits(predict_KK @ sign_KS, sign_KS).mean(axis=0)
    hit_K = _hits(predict_KK.sum(axis=1), np.ones(len(pair_K2)))
    as_often = int((shuffled_S >= hit_K.mean() - 1e-9).sum())
    low, high = interval(hit_K, config.confidence)
    return WordDrift(
        pairs=len(hit_K),
        accuracy=float(hit_K.mean()),
        low=low,
        high=high,
        p=(1 + as_often) / (1 + config.shuffles),
    )


def _predict(kernel_KK: Floats, fold_K: Integers) -> Floats:
    """The matrix that predicts each pair's label from the labels of the other folds.

    Ridge regression in its dual form, with a penalty of 1: k (K + 1)^-1 y.
    """
    predict_KK = np.zeros_like(kernel_KK)
    for fold in range(int(fold_K.max()) + 1):
        (test,), (learn,) = np.nonzero(fold_K == fold), np.nonzero(fold_K != fold)
        inner = kernel_KK[np.ix_(learn, learn)] + np.eye(len(learn))
        weights = np.linalg.solve(inner, kernel_KK[np.ix_(learn, test)])
        predict_KK[np.ix_(test, learn)] = weights.T
    return predict_KK


def _hits(predicted: Floats, label: Floats) -> Floats:
    """1 where the sign is predicted, 0 where the other one is, 0.5 where none is."""
    hits: Floats = (np.sign(np.where(np.abs(predicted) < 1e-12, 0, predicted)) * label + 1) / 2
    return hits


def _judge(
    language: str, length: LengthDrift, words: WordDrift | None, config: CheckConfig
) -> Iterator[Finding]:
    consequence = "whatever takes the first dilemmas only, or deals them in order, finds this too"
    if length.p < config.level:
        yield Finding(
            level="warning",
            kind="drift",
            message=f"{language}: the first half of the dilemmas of a value has {length.first:.1f} "
            f"words on average, the second {length.second:.1f} (t {length.t:.1f}, p "
            f"{length.p:.2g}): {consequence}",
            weight=abs(length.second / length.first - 1),
        )
    if words is not None and words.p < config.level:
        yield Finding(
            level="warning",
            kind="drift",
            message=f"{language}: words tell dilemmas of the first half of a value from those of "
            f"the second: {words.accuracy:.0%} of {words.pairs} pairs ({words.low:.0%} to "
            f"{words.high:.0%}, p {words.p:.2g}): {consequence}",
            weight=words.accuracy - 0.5,
        )
