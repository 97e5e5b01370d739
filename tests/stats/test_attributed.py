"""The null from an attribution: sets are matched, p holds its level, bad predictions warrant
nothing."""

import numpy as np
import pytest

from vxdist.stats.attributed import SETS, attributed_p, fit, predict, predict_sets
from vxdist.stats.matched_sets import draw_sets
from vxdist.stats.matching import LanguageNeurons, draw_control

POOL = 4


def make_neurons(seed: int = 0) -> LanguageNeurons:
    """Two layers of 60: in the first, targets whose pools overlap, in the second one target."""
    rng = np.random.default_rng(seed)
    activity_LN = np.sort(rng.random((2, 60)), axis=1)
    selected_LNV = np.zeros((2, 60, 2), dtype=bool)
    selected_LNV[0, [20, 21, 23, 40], 0] = selected_LNV[1, 7, 0] = True
    selected_LNV[0, [22, 24], 1] = True
    return LanguageNeurons(selected_LNV=selected_LNV, activity_LN=activity_LN)


def test_sets_are_drawn_as_controls_are() -> None:
    neurons, draws = make_neurons(), 3000
    target_LN = neurons.selected_LNV[..., 0]
    rng = np.random.default_rng(1)
    drawn = dict(draw_sets(neurons, target_LN, pool=POOL, sets=SETS, rng=rng))
    assert {layer: of.shape for layer, of in drawn.items()} == {0: (SETS, 4), 1: (SETS, 1)}
    assert all(len(set(row)) == 4 for row in drawn[0].tolist())
    expected_LN = np.zeros((2, 60))
    pairs = 0
    for n in range(draws):
        control_LN = draw_control(neurons, target_LN, pool=POOL, rng=np.random.default_rng([2, n]))
        expected_LN += control_LN / draws
        pairs += int(control_LN[0, 19] and control_LN[0, 25])
    for layer, of in drawn.items():
        found_N = np.bincount(of.ravel(), minlength=60) / SETS
        assert not found_N[neurons.selected_LNV[layer].any(axis=-1)].any()
        assert np.abs(found_N - expected_LN[layer]).max() < 4 * np.sqrt(0.25 / draws)
    both = np.mean([{19, 25} <= set(row) for row in drawn[0].tolist()])
    assert abs(both - pairs / draws) < 4 * np.sqrt(0.25 / draws)


def test_a_prediction_is_the_sum_of_the_neurons() -> None:
    neurons, rng = make_neurons(), np.random.default_rng(0)
    shift_LNV = [rng.normal(size=(60, 3)) for _ in range(2)]
    target_LN = neurons.selected_LNV[..., 0]
    expected_V = sum(of[mask].sum(axis=0) for of, mask in zip(shift_LNV, target_LN, strict=True))
    assert predict(shift_LNV, target_LN) == pytest.approx(expected_V)
    settings = {"pool": POOL, "sets": 50}
    found_RV = predict_sets(shift_LNV, neurons, target_LN, rng=np.random.default_rng(3), **settings)
    drawn = dict(draw_sets(neurons, target_LN, rng=np.random.default_rng(3), **settings))
    for r in range(50):
        by_hand = sum(shift_LNV[layer][of[r]].sum(axis=0) for layer, of in drawn.items())
        assert found_RV[r] == pytest.approx(by_hand)


def test_p_holds_its_level_though_sets_have_heavy_tails() -> None:
    rng, trials = np.random.default_rng(5), 1500
    below = given = 0
    for _ in range(trials):
        predicted_R = rng.standard_t(4, size=2000)
        measured = 0.1 + 0.95 * predicted_R[:17] + rng.normal(scale=0.35, size=17)
        of = fit(measured[1:], predicted_R[1:17])
        p = attributed_p(float(measured[0]), of, predicted_R[17:], rng)
        if not np.isnan(p):
            given, below = given + 1, below + int(p <= 0.05)
    assert given > 0.8 * trials
    assert below / given == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / given))


def test_a_strong_shift_has_a_small_p_and_none_is_below_that_of_all_sets() -> None:
    rng = np.random.default_rng(0)
    predicted_K, predicted_R = rng.normal(size=16), rng.normal(size=SETS)
    of = fit(predicted_K + rng.normal(scale=0.1, size=16), predicted_K)
    assert of.warranted
    assert of.r > 0.9
    assert attributed_p(100.0, of, predicted_R, rng) == 1 / (SETS + 1)
    assert attributed_p(of.alpha, of, predicted_R, rng) > 0.8
    assert np.isnan(attributed_p(float("nan"), of, predicted_R, rng))


@pytest.mark.parametrize(
    ("slope", "noise", "draws", "warranted"),
    [
        (1.0, 0.1, 16, True),
        (1.0, 3.0, 16, False),  # bad predictions
        (0.4, 0.05, 16, False),  # good, but of the wrong size
        (1.6, 0.05, 16, False),
        (-1.0, 0.1, 16, False),
        (1.0, 0.1, 4, False),  # too few to know
        (0.0, 0.0, 16, False),  # nothing moves
    ],
)
def test_warrant(slope: float, noise: float, draws: int, warranted: bool) -> None:
    rng = np.random.default_rng(1)
    predicted_K = rng.normal(size=draws)
    of = fit(slope * predicted_K + rng.normal(scale=noise, size=draws), predicted_K)
    assert of.warranted is warranted
    assert np.isnan(attributed_p(1.0, of, rng.normal(size=100), rng)) is np.bool_(not warranted)


def test_variance_is_that_of_measured_shifts() -> None:
    rng = np.random.default_rng(2)
    found = []
    predicted_R = np.sort(rng.normal(size=SETS))
    at_quantiles_K = predicted_R[((np.arange(16) + 0.5) / 16 * SETS).astype(int)]
    for _ in range(300):
        of = fit(0.9 * at_quantiles_K + rng.normal(scale=0.5, size=16), at_quantiles_K)
        found.append(of.variance(predicted_R))
    assert np.mean(found) == pytest.approx(0.81 + 0.25, rel=0.06)
