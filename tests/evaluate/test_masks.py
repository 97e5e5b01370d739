"""Control draws: as many neurons a layer, as active, selected for no value, always the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vxdist.errors import UserError
from vxdist.evaluate.masks import LanguageScores, draw_control, make_conditions, mask_neurons

LAYERS, NEURONS, VALUES = 4, 60, ("a", "b")


def scores(seed: int, share: float = 0.1) -> LanguageScores:
    rng = np.random.default_rng(seed)
    return LanguageScores(
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
    given_scores = LanguageScores(selected_LNV=selected_LNV, activity_LN=activity_LN)
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


def test_too_few_neurons_to_draw_from_are_refused() -> None:
    crowded = scores(3, share=0.6)
    with pytest.raises(UserError, match=r"layer 0 has .* not selected, too few"):
        draw_control(crowded, crowded.selected_LNV[..., 0], pool=4, rng=np.random.default_rng(0))
