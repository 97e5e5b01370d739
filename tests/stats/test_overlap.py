"""Label matching, in which the two tellings of `twins` stand for two languages."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.stats.generators import ALIGNED, VIOLATING, Synthetic, thin_upward, twins
from vxdist.stats.multiplicity import bh_q
from vxdist.stats.overlap import (
    Matching,
    bound,
    expected_matched,
    match_labels,
    overlap_by_layer,
    shared,
)

LAYERS, VALUES, TOP = 5, 8, 25
SEEDS = st.integers(0, 2**32 - 1)
LEVEL = 0.05
ALLOWANCE = 0.046
"""Three standard errors of a fraction of .05 in 200."""


def random_selections(seed: int, values: int, layers: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Two selections (L, N, V) in which neurons and values are chosen with different ease."""
    rng = np.random.default_rng(seed)
    ease = rng.random((layers, 40, 1)) * rng.random(values)
    return rng.random((layers, 40, values)) < ease, rng.random((layers, 40, values)) < ease


def scores(rate_PN: np.ndarray, value_P: np.ndarray) -> np.ndarray:
    """(N, V): correlation of each neuron's normal scores with being of the value."""
    rank_PN = stats.rankdata(rate_PN, axis=0)
    z_PN = stats.zscore(stats.norm.ppf((rank_PN - 0.5) / len(rank_PN)))
    w_PV = stats.zscore((value_P[:, None] == np.arange(VALUES)).astype(float))
    return z_PN.T @ w_PV / len(value_P)


def top(score_NV: np.ndarray) -> np.ndarray:
    """(L, N, V): the TOP neurons of each value."""
    cut_V = -np.partition(-score_NV, TOP - 1, axis=0)[TOP - 1]
    return (score_NV >= cut_V).reshape(LAYERS, -1, VALUES)


def score_telling(record: Synthetic, stance: int, value_C: np.ndarray | None = None) -> np.ndarray:
    told = record.stance_P == stance
    rate_PN = record.active_count_PN[told] / record.token_count_P[told, None]
    return scores(rate_PN, record.value_P[told] if value_C is None else value_C)


def match(g: np.ndarray, h: np.ndarray, seed: int = 0, permutations: int = 999) -> Matching:
    return match_labels(overlap_by_layer(g, h), np.random.default_rng(seed), permutations)


@settings(deadline=None)
@example(seed=131071, values=3)  # nothing overlaps
@given(SEEDS, st.integers(3, 5))
def test_few_values_are_enumerated(seed: int, values: int) -> None:
    """By the definition: p is the fraction of all permutations that share as much."""
    g, h = random_selections(seed, values)
    found = match(g, h, permutations=120)
    overlap_LVV = [[[np.sum(a[:, v] & b[:, u]) for u in range(values)] for v in range(values)]
                   for a, b in zip(g, h, strict=True)]  # fmt: skip
    orders = list(itertools.permutations(range(values)))
    by_order = np.array([[sum(o[v][order[v]] for v in range(values)) for o in overlap_LVV]
                         for order in orders])  # fmt: skip
    total = by_order.sum(axis=1)
    expected = np.mean(total >= total[0]) if np.ptp(total) else np.nan
    assert found.p_value == pytest.approx(expected, nan_ok=True)
    off_diagonal = found.overlap_VV.sum() - np.trace(found.overlap_VV)
    assert found.expected_other == pytest.approx(off_diagonal / (values - 1))
    assert found.overlap_VV.tolist() == np.sum(overlap_LVV, axis=0).tolist()
    assert found.shared_L.tolist() == by_order[0].tolist()
    with np.errstate(invalid="ignore"):
        score = (by_order - by_order.mean(axis=0)) / by_order.std(axis=0)
    most = np.nanmax(score, axis=1, initial=-np.inf)
    for layer, p in enumerate(found.p_layer_L):
        expected = np.mean(most >= score[0, layer] - 1e-9)
        assert p == pytest.approx(expected if np.ptp(by_order[:, layer]) else np.nan, nan_ok=True)


def test_drawn_permutations_agree_with_all() -> None:
    for seed in range(5):
        g, h = random_selections(seed, 6)
        exact, drawn = match(g, h, permutations=720), match(g, h, permutations=719)
        allowance = 3 * np.sqrt(exact.p_value * (1 - exact.p_value) / 719) + 1 / 719
        assert drawn.p_value == pytest.approx(exact.p_value, abs=allowance)
        np.testing.assert_allclose(drawn.p_layer_L, exact.p_layer_L, atol=3 / 2 / np.sqrt(719))


def test_only_the_generator_decides() -> None:
    g, h = random_selections(1, 12)
    first, again, other = (match(g, h, seed) for seed in (3, 3, 4))
    assert first.p_value == again.p_value
    np.testing.assert_array_equal(first.p_layer_L, again.p_layer_L)
    assert (first.p_layer_L != other.p_layer_L).any()


def test_blocks_of_layers_are_put_together() -> None:
    g, h = random_selections(2, 4, layers=7)
    activity_LN = np.random.default_rng(2).random(g.shape[:2])
    blocks = [slice(0, 3), slice(3, 4), slice(4, 7)]
    np.testing.assert_array_equal(
        np.concatenate([overlap_by_layer(g[b], h[b]) for b in blocks]), overlap_by_layer(g, h)
    )
    np.testing.assert_array_equal(
        np.concatenate([expected_matched(g[b], h[b], activity_LN[b]) for b in blocks]),
        expected_matched(g, h, activity_LN),
    )


def test_on_shuffled_labels_p_is_seldom_small() -> None:
    """Law 11: the labels of one telling shuffled, 200 times; so for the smallest p of a layer."""
    rng = np.random.default_rng(11)
    record = twins(rng, neurons=1000, values=VALUES, tokens=300)
    h = top(score_telling(record, VIOLATING))
    value_C = record.value_P[record.stance_P == ALIGNED]
    p, p_layer = [], []
    for seed in range(200):
        found = match(top(score_telling(record, ALIGNED, rng.permutation(value_C))), h, seed)
        p.append(found.p_value)
        p_layer.append(np.nanmin(found.p_layer_L))
    assert np.mean(np.array(p) <= LEVEL) <= LEVEL + ALLOWANCE
    assert np.mean(np.array(p_layer) <= LEVEL) <= LEVEL + ALLOWANCE
    assert np.mean(np.array(p) <= 0.5) > 0.3  # it can be small


def test_neurons_that_are_selected_easily_share_no_value() -> None:
    """Both languages choose the same neurons, for any values: more than by chance, and yet p is
    not small, since other values share as much."""
    rng = np.random.default_rng(4)
    p, ratio = [], []
    for seed in range(200):
        easy_LN1 = rng.random((LAYERS, 200, 1)) < 0.1
        g, h = (easy_LN1 & (rng.random((LAYERS, 200, VALUES)) < 0.5) for _ in range(2))
        found = match(g, h, seed)
        p.append(found.p_value)
        matched = expected_matched(g, h, rng.random((LAYERS, 200))).sum()
        ratio.append((found.shared_L.sum() / matched, found.shared_L.sum() / found.expected_other))
    assert np.mean(np.array(p) <= LEVEL) <= LEVEL + ALLOWANCE
    beyond_random, beyond_other = np.mean(ratio, axis=0)
    assert beyond_random > 5
    assert beyond_other == pytest.approx(1, abs=0.05)


def test_finds_what_both_languages_have_planted() -> None:
    rng = np.random.default_rng(8)
    quiet = twins(rng, values=VALUES, tokens=300, correlation=0.0)
    for record, has_it in ((quiet, False), (thin_upward(quiet, rng, planted=80, delta=1.0), True)):
        found = match(*(top(score_telling(record, s)) for s in (ALIGNED, VIOLATING)))
        assert (found.p_value < 0.005) == has_it
        assert (found.shared_L.sum() > 2 * found.expected_other) == has_it
        if has_it:
            assert (found.p_layer_L < 0.05).mean() > 0.5


def test_tellings_of_one_dilemma_share_its_topic() -> None:
    """Without anything planted: the values happen to differ, and the twins alike."""
    record = twins(np.random.default_rng(9), values=VALUES, correlation=0.9)
    found = match(*(top(score_telling(record, s)) for s in (ALIGNED, VIOLATING)))
    assert found.p_value < 0.005


def test_expected_matched_by_hand() -> None:
    """20 neurons, two in each tenth; what is selected is drawn from its own tenth only."""
    g, h = np.zeros((2, 1, 20, 1), dtype=bool)
    activity_LN = np.arange(20.0)[None]
    g[0, [0, 2, 3, 19], 0] = h[0, [1, 2, 3, 10], 0] = True
    assert expected_matched(g, h, activity_LN).tolist() == [1 * 1 / 2 + 2 * 2 / 2]
    activity_LN[:] = np.nan  # nothing known: one stratum
    assert expected_matched(g, h, activity_LN).tolist() == [4 * 4 / 20]


@pytest.mark.parametrize("values", [1, 2])
def test_too_few_values_have_no_p(values: int) -> None:
    g, h = random_selections(0, values)
    found = match(g, h)
    assert np.isnan(found.p_value)
    assert np.isnan(found.p_layer_L).tolist() == [True] * 3
    assert np.isnan(found.expected_other) == (values == 1)


def test_empty_selections_have_no_p() -> None:
    g, h = random_selections(0, 4)
    nothing = np.zeros_like(g)
    for a, b in ((nothing, h), (g, nothing), (nothing, nothing)):
        found = match(a, b)
        assert np.isnan(found.p_value)
        assert np.isnan(found.p_layer_L).all()
        assert (found.expected_other, found.shared_L.sum()) == (0, 0)
    g[1] = False  # one layer only
    found = match(g, h)
    assert np.isnan(found.p_layer_L).tolist() == [False, True, False]
    assert not np.isnan(found.p_value)


def test_shared_needs_both() -> None:
    rng = np.random.default_rng(0)
    p_g, p_h = rng.random((2, 3, 50, 4))
    p_g[0, :6, 0] = p_h[0, 3:9, 0] = 1e-6
    p_h[0, 5, 0] = np.nan
    found = shared(np.maximum(p_g, p_h), 0.1)
    assert np.flatnonzero(found).tolist() == [3 * 4, 4 * 4]


def test_bound_needs_a_difference() -> None:
    q_g = np.array([0.01, 0.01, 0.01, 0.50, 0.01, 0.90, np.nan])
    q_h = np.array([0.90, 0.90, 0.02, 0.01, 0.90, 0.90, 0.01])
    more = np.array([+5.0, +0.5, +5.0, -5.0, -5.0, +5.0, np.nan])
    p = np.array([1e-4, 0.60, 1e-4, 1e-4, 1e-4, 1e-9, np.nan])
    # significant only in g, but no different; in both, and more in g; more in h; in neither
    bound_to_g, bound_to_h = bound(q_g <= 0.1, q_h <= 0.1, more, p, 0.1)
    assert bound_to_g.tolist() == [True, False, True, *[False] * 4]
    assert np.flatnonzero(bound_to_h).tolist() == [3]


def test_nothing_is_bound_where_languages_are_equal() -> None:
    """Tests that are significant in either do not choose themselves: the FDR is kept over all."""
    rng = np.random.default_rng(7)
    found = 0
    for _ in range(200):
        z_g, z_h = rng.normal(size=(2, 400)) + 3 * (np.arange(400) < 80)
        more = (z_g - z_h) / np.sqrt(2)
        q_g, p = bh_q(stats.norm.sf(z_g)), 2 * stats.norm.sf(np.abs(more))
        shown_g = q_g <= 0.1
        found += bound(shown_g, shown_g, more, p, 0.1)[0].any()
    assert found / 200 <= 0.1 + 0.064


def test_significant_in_one_language_only_is_not_bound() -> None:
    """40 tests have an effect in g alone, and 40 in both, which often are significant in one."""
    rng = np.random.default_rng(6)
    in_g, in_both = np.zeros((2, 400), dtype=bool)
    in_g[:40] = in_both[40:80] = True
    bound_to_g, only_in_g = np.zeros((2, 400))
    for _ in range(100):
        z_g, z_h = 3 * in_both + rng.normal(size=(2, 400))
        z_g += 5 * in_g
        q_g, q_h = (bh_q(stats.norm.sf(z)) for z in (z_g, z_h))
        more = (z_g - z_h) / np.sqrt(2)
        only_in_g += (q_g <= 0.1) & (q_h > 0.1)
        p = 2 * stats.norm.sf(abs(more))
        bound_to_g += bound(q_g <= 0.1, q_h <= 0.1, more, p, 0.1)[0]
    assert bound_to_g[in_g].mean() > 80
    assert bound_to_g[in_both].mean() < only_in_g[in_both].mean() / 3
