"""Control draws: as many neurons a layer, as active, selected for no value, always the same."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vxdist.errors import UserError
from vxdist.evaluate.conditions import make_conditions, mask_neurons
from vxdist.hooks.recorded import read_activity
from vxdist.stats.matching import LanguageNeurons, draw_control
from vxstore.finalise import finalise
from vxstore.read import open_store
from vxstore.write import PartCounts, PartLabels, Recorder, create

LAYERS, NEURONS, VALUES = 4, 60, ("a", "b")


def scores(seed: int, share: float = 0.1) -> LanguageNeurons:
    rng = np.random.default_rng(seed)
    return LanguageNeurons(
        selected_LNV=rng.random((LAYERS, NEURONS, len(VALUES))) < share,
        activity_LN=rng.random((LAYERS, NEURONS)),
    )


@given(seed=st.integers(0, 1000), pool=st.integers(1, 40))
def test_a_draw_matches_its_target_layer_by_layer(seed: int, pool: int) -> None:
    given_scores = scores(seed)
    target_LN = given_scores.selected_LNV[..., 0]
    drawn_LN = draw_control(given_scores, target_LN, pool=pool, rng=np.random.default_rng(seed))
    np.testing.assert_array_equal(drawn_LN.sum(1), target_LN.sum(1))
    assert not (drawn_LN & given_scores.selected_LNV.any(-1)).any()


def test_a_draw_is_as_active_as_its_target() -> None:
    rng = np.random.default_rng(0)
    activity_LN = rng.random((LAYERS, 400))
    selected_LNV = np.zeros((LAYERS, 400, 1), dtype=bool)
    selected_LNV[activity_LN > 0.9, 0] = rng.random(int((activity_LN > 0.9).sum())) < 0.5
    given_scores = LanguageNeurons(selected_LNV=selected_LNV, activity_LN=activity_LN)
    drawn_LN = draw_control(
        given_scores, selected_LNV[..., 0], pool=8, rng=np.random.default_rng(1)
    )
    wanted, found = activity_LN[selected_LNV[..., 0]].mean(), activity_LN[drawn_LN].mean()
    assert abs(wanted - found) < 0.05 < abs(wanted - activity_LN.mean())


def test_conditions_are_the_same_every_time_and_draws_differ() -> None:
    conditions = make_conditions(VALUES, 3)
    assert [c.name for c in conditions[:4]] == ["intact", "a", "b", "a control 0"]
    given_scores = [scores(1), scores(2)]
    once, again = (mask_neurons(conditions, VALUES, given_scores, pool=8, seed=5) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert not once[0].any()
    np.testing.assert_array_equal(once[2, ..., 1], given_scores[1].selected_LNV[..., 1])
    assert (once[3] != once[4]).any()
    fewer = mask_neurons(make_conditions(VALUES, 1), VALUES, given_scores, pool=8, seed=5)
    np.testing.assert_array_equal(fewer[3], once[3])  # a draw does not depend on the others


def test_one_of_unknown_activity_stands_for_none() -> None:
    given_scores = scores(4)
    unknown_LN = np.random.default_rng(4).random((LAYERS, NEURONS)) < 0.4
    unknown_LN &= ~given_scores.selected_LNV.any(-1)
    given_scores.activity_LN[unknown_LN] = np.nan
    target_LN = given_scores.selected_LNV[..., 0]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        drawn_LN = draw_control(given_scores, target_LN, pool=100, rng=rng)
        assert not (drawn_LN & unknown_LN).any()
        np.testing.assert_array_equal(drawn_LN.sum(1), target_LN.sum(1))


def test_none_stands_for_one_of_unknown_activity() -> None:
    """A mask file may name it."""
    given_scores = scores(4)
    target_LN = given_scores.selected_LNV[..., 0]
    layer, neuron = np.argwhere(target_LN)[-1]
    given_scores.activity_LN[layer, neuron] = np.nan
    with pytest.raises(UserError, match=rf"neuron {neuron} of layer {layer} .*controls 0"):
        draw_control(given_scores, target_LN, pool=4, rng=np.random.default_rng(0))


def test_activity_with_experts_is_of_all_tokens(tmp_path: Path) -> None:
    """Active on all of the few tokens routed to it, a neuron is no match for one always active."""
    path = str(tmp_path / "s.zarr")
    labels = [PartLabels(value=v, language="en", stance="aligned") for v in VALUES]
    routed_E, active_N = np.array([90, 10, 0]), np.array([90, 45, 10, 0, 0, 0])
    create(path, num_layers=2, num_neurons=6, values=VALUES, languages=["en"], parts=labels,
           attrs={"experts_per_token": 1}, num_experts=3)  # fmt: skip
    for part in range(2):
        counts = PartCounts(
            statistics={
                "active_count": np.stack([active_N // (1 + part), active_N * 0]),
                "activation_sum": np.zeros((2, 6)),
                "activation_square_sum": np.zeros((2, 6)),
            },
            token_count=100,
            story_count=1,
            routed_count_LE=np.stack([routed_E, routed_E[::-1]]),
        )
        Recorder(path).write_part(part, counts)
    finalise(path)
    found_LN = read_activity(open_store(path), "en")
    expected_LN = np.zeros((2, 6))  # the mean of two values: never NaN
    expected_LN[0, :3] = 0.675, 0.335, 0.075
    assert np.abs(found_LN - expected_LN).max() < 1e-12


def test_too_few_neurons_to_draw_from_are_refused() -> None:
    crowded = scores(3, share=0.6)
    with pytest.raises(UserError, match=r"layer 0 has .* not selected, too few"):
        draw_control(crowded, crowded.selected_LNV[..., 0], pool=4, rng=np.random.default_rng(0))
