"""Effects against numbers worked out by hand."""

import numpy as np
import pytest
import xarray as xr

from vxdist.evaluate.effects import flip_rate, interval, measure, rank_among


def make_evaluation() -> xr.Dataset:
    """Intact, masks a and b, two controls for each; two dilemmas a value in one language."""
    shifts = {
        ("intact", ""): 0.0,
        ("mask", "a"): -1.0,
        ("mask", "b"): 0.25,
        ("control", "a"): -0.5,
        ("control", "b"): 0.5,
    }
    kinds = [("intact", ""), ("mask", "a"), ("mask", "b"), *[("control", v) for v in "aabb"]]
    intact_DO = np.array([[3.0, -2.0], [2.0, -1.0], [1.0, 1.0], [-2.0, -2.0]])
    on_value_a = np.array([1, 1, 0, 0])[:, None]
    log_odds = np.stack([intact_DO + shifts[kind] * on_value_a for kind in kinds])
    return xr.Dataset(
        {"log_odds": (("condition", "dilemma", "order"), log_odds)},
        coords={
            "kind": ("condition", [kind for kind, _ in kinds]),
            "mask": ("condition", [mask for _, mask in kinds]),
            "value": ("dilemma", ["a", "a", "b", "b"]),
            "dilemma_language": ("dilemma", ["en"] * 4),
        },
    )


def test_the_matrix_by_hand() -> None:
    effect = measure(make_evaluation(), ["a", "b"], ["en"], confidence=0.9, resamples=200, seed=1)
    np.testing.assert_allclose(effect["mean_shift"][..., 0], [[-1, 0], [0.25, 0]])
    np.testing.assert_allclose(effect["control_mean"][..., 0], [[-0.5, 0], [0.5, 0]])
    # Averaged over orders the intact model prefers aligned by 0.5 on both dilemmas of a.
    np.testing.assert_allclose(effect["flip_rate"][..., 0], [[1, 0], [0, 0]])
    np.testing.assert_allclose(effect["control_rank"][..., 0], [[0, 0.5], [0, 0.5]])
    np.testing.assert_allclose(effect["shift_low"], effect["mean_shift"])  # no spread
    assert (effect["dilemma_count"] == 2).all()


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        low, high = interval(rng.normal(1.0, 2.0, size=30), 0.9, 300, rng)
        hits += low <= 1.0 <= high
    assert 0.83 < hits / 200 < 0.96


def test_too_little_to_say() -> None:
    assert np.isnan(interval(np.array([1.0]), 0.95, 100, np.random.default_rng(0))).all()
    assert np.isnan(flip_rate(np.array([]), np.array([])))
    assert np.isnan(rank_among(0.0, np.array([])))
    assert rank_among(1.0, np.array([0.0, 1.0, 2.0, 3.0])) == pytest.approx(0.375)
