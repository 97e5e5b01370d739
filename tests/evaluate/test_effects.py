"""Effects against numbers worked out by hand."""

import numpy as np
import xarray as xr

from vxdist.evaluate.effects import measure


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
    masked = np.zeros((len(kinds), 2, 3, 1), dtype=bool)
    masked[1, 0, :2] = masked[2, 1, 0] = True
    return xr.Dataset(
        {
            "log_odds": (("condition", "dilemma", "order"), log_odds),
            "masked": (("condition", "layer", "neuron", "language"), masked),
        },
        coords={
            "kind": ("condition", [kind for kind, _ in kinds]),
            "mask": ("condition", [mask for _, mask in kinds]),
            "value": ("dilemma", ["a", "a", "b", "b"]),
            "dilemma_language": ("dilemma", ["en"] * 4),
            "language": ["en"],
        },
    )


def test_the_matrix_by_hand() -> None:
    effect, attrs = measure(make_evaluation(), confidence=0.9, resamples=200, seed=1)
    np.testing.assert_allclose(effect["mean_shift"][..., 0], [[-1, 0], [0.25, 0]])
    np.testing.assert_allclose(effect["control_mean"][..., 0], [[-0.5, 0], [0.5, 0]])
    # Averaged over orders the intact model prefers aligned by 0.5 on both dilemmas of a.
    np.testing.assert_allclose(effect["flip_rate"][..., 0], [[1, 0], [0, 0]])
    np.testing.assert_allclose(effect["control_rank"][..., 0], [[0, 0.5], [0, 0.5]])
    np.testing.assert_allclose(effect["shift_low"], effect["mean_shift"])  # no spread
    assert (effect["dilemma_count"] == 2).all()
    np.testing.assert_array_equal(effect["masked_count"], [[2], [1]])
    # Both masks are below both of their draws, which tie with each other.
    np.testing.assert_array_equal(effect["passes"][..., 0], [[True, False], [True, False]])
    np.testing.assert_allclose(effect["control_shift"][0, 0, 0], [-0.5, -0.5])
    assert not effect["placebo_passes"].any()
    assert attrs["verdict"] == {
        "cells": 4,
        "passed": 2,
        "passed_own": 1,
        "placebo": [0, 0],
        "placebo_own": [0, 0],
        "beyond_controls": True,
    }


def test_an_outcome_says_what_its_effect_is_of_and_where_it_flips() -> None:
    evaluation = make_evaluation()
    expected, _ = measure(evaluation, confidence=0.9, resamples=200, seed=1)
    likelihood = evaluation["log_odds"].mean("order") + 5.0
    evaluation = evaluation.assign(likelihood=likelihood, log_odds=evaluation["log_odds"] * np.nan)
    evaluation.attrs = {"effect_of": "likelihood", "decision_boundary": 5.0}
    found, _ = measure(evaluation, confidence=0.9, resamples=200, seed=1)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array)
    evaluation.attrs["decision_boundary"] = None
    found, _ = measure(evaluation, confidence=0.9, resamples=200, seed=1)
    assert np.isnan(found["flip_rate"]).all()
