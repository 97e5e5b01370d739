"""Who ranks first in halves of the dilemmas, against sorting everything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.stats.generators import overdispersed
from tests.stats.trials import Trial, prepare
from vxdist.stats import labelings
from vxdist.stats.normal_scores import standardise
from vxdist.stats.stability import Leaders, assignments, jaccard, mean_jaccard, rank_in_halves

Floats = NDArray[np.float64]


def naive_first(number_N: Floats, code_N: NDArray[np.int64], size: int) -> list[int]:
    """The codes of the largest numbers; those of a tie in their order."""
    ranked = sorted(zip(-number_N, code_N.tolist(), strict=True))
    return [code for number, code in ranked[:size] if np.isfinite(number)]


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 2**32 - 1), st.booleans())
def test_leaders_are_the_first(neurons: int, blocks: int, seed: int, tied: bool) -> None:
    """However many neurons come at a time; some have no number."""
    rng = np.random.default_rng(seed)
    number_CVN = rng.normal(size=(3, 2, neurons)).astype(np.float32)
    number_CVN[rng.random(number_CVN.shape) < 0.2] = -np.inf
    code_N = rng.permutation(1000)[:neurons]
    size_V = rng.integers(0, neurons + 2, 2)
    most = neurons if tied else max(1, int(size_V.max()))
    if tied:
        number_CVN = np.round(number_CVN)
    leaders = Leaders(3, 2, most)
    for block in np.array_split(np.arange(neurons), blocks):
        leaders.add(number_CVN[..., block], code_N[block])
        leaders._sort_out()
    for number_VN, found in zip(number_CVN, leaders.first(size_V), strict=True):
        expected = [naive_first(*of) for of in zip(number_VN, [code_N] * 2, size_V, strict=True)]
        assert [codes.tolist() for codes in found] == expected


def test_jaccards() -> None:
    a, b, empty = np.array([1, 5, 9]), np.array([2, 5, 9, 11]), np.array([], dtype=np.int64)
    assert jaccard(a, b) == 2 / 5
    assert jaccard(a, empty) == 0
    assert np.isnan(jaccard(empty, empty))
    assert mean_jaccard([a, b, a, a]) == (2 / 5 + 1) / 2
    assert mean_jaccard([a, b, empty, empty]) == 2 / 5
    assert np.isnan(mean_jaccard([]))


def test_assignments() -> None:
    first = [[np.array([7, 2]), np.array([2])], [np.array([], dtype=np.int64), np.array([0])]]
    assert [of.tolist() for of in assignments(first)] == [[4, 5, 14], [1]]


@pytest.fixture(scope="module")
def trial() -> Trial:
    """Neurons of four values."""
    rng = np.random.default_rng(89)
    return prepare(
        overdispersed(rng, neurons=50, values=4, clusters=8, planted=20, delta=1.0), length=True
    )


def naive_number(z_P: Floats, label_P: NDArray[np.int64], value: int, rule: str) -> float:
    """By what a neuron ranks in a half, from its scores there."""
    inside, outside = z_P[label_P == value], z_P[label_P != value]
    if rule != "exclusive":
        rho = float(np.corrcoef(z_P, label_P == value)[0, 1])
        return abs(rho) if rule == "stance" else rho
    means = {v: z_P[label_P == v].mean() for v in set(label_P.tolist())}
    rival = max(mean for v, mean in means.items() if v != value)
    if inside.mean() < rival:
        return -np.inf
    within = sum(((z_P[label_P == v] - mean) ** 2).sum() for v, mean in means.items())
    other = next(v for v, mean in means.items() if mean == rival)
    error = np.sqrt(1 / len(inside) + 1 / (label_P == other).sum())
    s = np.sqrt(within / (len(inside) + len(outside) - len(means)))
    return float((inside.mean() - rival) / (s * error))


@pytest.mark.parametrize("rule", ["contrast", "exclusive", "stance"])
def test_numbers_in_halves(trial: Trial, rule: str) -> None:
    """Scores are standardised within the half, so that a correlation ranks them."""
    design, z_NP = trial.design, trial.score().z_NP
    rng = np.random.default_rng(90)
    halves = labelings.halves(design, 2, rng)
    number_CVN = rank_in_halves(z_NP, halves, rule)
    assert number_CVN.shape == (8, 4, 50)
    for number_VN, of in zip(number_CVN, halves.each, strict=True):
        label_P, half_NP = of.label_P[of.half_P], standardise(z_NP[:, of.half_P])
        for value, number_N in enumerate(number_VN):
            expected = [naive_number(z_P, label_P, value, rule) for z_P in half_NP]
            np.testing.assert_allclose(number_N, expected, rtol=1e-4, atol=1e-5)


def test_halves_complete_each_other(trial: Trial) -> None:
    rng = np.random.default_rng(91)
    each = labelings.halves(trial.design, 3, rng).each
    for shuffled, found in ((False, each[:6]), (True, each[6:])):
        for one, other in zip(found[::2], found[1::2], strict=True):
            assert (one.half_P ^ other.half_P).all()
            np.testing.assert_array_equal(one.label_P, other.label_P)
            assert np.array_equal(one.label_P, trial.design.label_P) is not shuffled
