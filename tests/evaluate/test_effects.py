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
    effect, attrs = measure(make_evaluation(), confidence=0.9, fdr=0.1)
    np.testing.assert_allclose(effect["mean_shift"][..., 0], [[-1, 0], [0.25, 0]])
    np.testing.assert_allclose(effect["control_mean"][..., 0], [[-0.5, 0], [0.5, 0]])
    # Averaged over orders the intact model prefers aligned by 0.5 on both dilemmas of a.
    np.testing.assert_allclose(effect["flip_rate"][..., 0], [[1, 0], [0, 0]])
    np.testing.assert_allclose(effect["control_rank"][..., 0], [[0, 0.5], [0, 0.5]])
    np.testing.assert_allclose(effect["shift_low"], effect["mean_shift"])  # no spread
    assert (effect["dilemma_count"] == 2).all()
    np.testing.assert_array_equal(effect["masked_count"], [[2], [1]])
    np.testing.assert_allclose(effect["control_shift"][0, 0, 0], [-0.5, -0.5])
    np.testing.assert_allclose(effect["specific_shift"][..., 0], [[-1, np.nan], [np.nan, -0.25]])
    assert (effect["control_sd"] == 0).all()
    assert np.isnan(effect["p_value"]).all()
    assert attrs["null_rate"] is None
    assert attrs["p_source"] == "t"
    assert attrs["verdict"] == {
        "masks": 2,
        "cells": 0,
        "fdr": 0.1,
        "smallest_q": None,
        "found": [],
        "untested": "2 of the at least 4 control draws of each mask that a p needs "
        "(evaluate.controls; 16 are usual)",
    }


def test_enough_draws_find_the_mask_that_does_more() -> None:
    """Eight draws shift by up to 0.1 more or less; the mask of a shifts by -1."""
    evaluation = make_evaluation()
    at = [0, 1, 2, *[3] * 8, *[5] * 8]
    more = evaluation.isel(condition=at).copy(deep=True)
    spread_C = np.r_[0.0, 0.0, 0.0, np.tile(np.linspace(-0.1, 0.1, 8), 2)]
    more["log_odds"] = more["log_odds"] + xr.DataArray(spread_C, dims="condition")
    effect, attrs = measure(more, confidence=0.9, fdr=0.1)
    found = attrs["verdict"]["found"]
    assert [(of["mask"], of["shift"]) for of in found] == [("a", -1.0)]
    assert found[0]["q"] == effect["q_value"][0, 0, 0] < 0.01
    assert attrs["families"]["own"]["found"] == 1
    assert attrs["null_count"] == 16
    # Without its neurons there is no mask of a.
    more["masked"][1] = False
    _, attrs = measure(more, confidence=0.9, fdr=0.1)
    assert attrs["verdict"]["found"] == []
    assert attrs["null_count"] == 8


def test_an_outcome_says_what_its_effect_is_of_and_where_it_flips() -> None:
    evaluation = make_evaluation()
    expected, _ = measure(evaluation, confidence=0.9, fdr=0.1)
    likelihood = evaluation["log_odds"].mean("order") + 5.0
    evaluation = evaluation.assign(likelihood=likelihood, log_odds=evaluation["log_odds"] * np.nan)
    evaluation.attrs = {"effect_of": "likelihood", "decision_boundary": 5.0}
    found, _ = measure(evaluation, confidence=0.9, fdr=0.1)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array)
    evaluation.attrs["decision_boundary"] = None
    found, _ = measure(evaluation, confidence=0.9, fdr=0.1)
    assert np.isnan(found["flip_rate"]).all()
