"""p and q of an effect matrix: which cells belong together, and what is said of them."""

import json

import numpy as np
import pytest
from scipy import stats

from vxdist.stats.families import beyond_others, infer
from vxdist.stats.multiplicity import bh_q

FDR = 0.1


def make(
    seed: int, *, masks: int = 4, languages: int = 2, draws: int = 16, own: float = 0.0
) -> dict[str, np.ndarray]:
    """Shifts of sd 1; a mask adds `own` on its own value."""
    rng = np.random.default_rng(seed)
    shape = (masks, masks, languages)
    shift_MVG = rng.normal(size=shape) + own * np.eye(masks)[..., None]
    found = {"mean_shift": shift_MVG}
    if draws:
        found["control_shift"] = rng.normal(size=(*shape, draws))
    return found


def none_empty(effect: dict[str, np.ndarray]) -> np.ndarray:
    shape = effect["mean_shift"].shape
    return np.zeros((shape[0], shape[2]), dtype=bool)


def test_q_is_of_the_family() -> None:
    effect = make(1, own=4.0)
    found = infer(effect, none_empty(effect), FDR)
    own = np.broadcast_to(np.eye(4, dtype=bool)[..., None], (4, 4, 2))
    p, q = found.arrays["p_value"], found.arrays["q_value"]
    np.testing.assert_allclose(q[own], bh_q(p[own]))
    np.testing.assert_allclose(q[~own], bh_q(p[~own]))
    assert not np.isnan(p).any()
    assert not np.allclose(q, bh_q(p))
    specific = found.arrays["p_specific"]
    assert np.isnan(specific[~own]).all()
    assert np.isnan(found.arrays["specific_shift"][~own]).all()
    np.testing.assert_allclose(found.arrays["q_specific"][own], bh_q(specific[own]))
    families = found.attrs["families"]
    assert [of["cells"] for of in families.values()] == [8, 8, 24]
    assert families["own"]["found"] == (q[own] <= FDR).sum() > 0
    assert families["own"]["smallest_q"] == q[own].min()
    assert {of["smallest_rank_p"] for of in families.values()} == {2 / 17}
    assert json.loads(json.dumps(found.attrs)) == found.attrs


def test_specificity_by_hand() -> None:
    """Three cells have no prior: it is a plain t of one more draw."""
    effect = make(2, masks=3, languages=1)
    found = infer(effect, none_empty(effect), FDR).arrays
    shift, draw = effect["mean_shift"][..., 0], effect["control_shift"][..., 0, :]
    of_mask = shift[1, 1] - (shift[1, 0] + shift[1, 2]) / 2
    of_draws = draw[1, 1] - (draw[1, 0] + draw[1, 2]) / 2
    assert found["specific_shift"][1, 1, 0] == pytest.approx(of_mask)
    expected = stats.ttest_ind([of_mask], of_draws).pvalue
    assert found["p_specific"][1, 1, 0] == pytest.approx(expected)


def test_values_without_dilemmas_are_left_out_of_others() -> None:
    shift_MVG = np.array([[[1.0], [3.0], [np.nan]]] * 3)
    assert beyond_others(shift_MVG)[0, 0] == -2.0
    assert np.isnan(beyond_others(shift_MVG)[2, 0])
    assert np.isnan(beyond_others(np.ones((1, 1, 2)))).all()  # one mask has no others


def test_the_order_of_masks_languages_and_draws_does_not_matter() -> None:
    effect = make(3, own=2.0)
    before = infer(effect, none_empty(effect), FDR)
    rng = np.random.default_rng(1)
    masks, languages, draws = rng.permutation(4), [1, 0], rng.permutation(16)
    moved = {
        "mean_shift": effect["mean_shift"][np.ix_(masks, masks, languages)],
        "control_shift": effect["control_shift"][np.ix_(masks, masks, languages, draws)],
    }
    after = infer(moved, none_empty(moved), FDR)
    for name, array in before.arrays.items():
        np.testing.assert_allclose(after.arrays[name], array[np.ix_(masks, masks, languages)])
    assert after.attrs["null_rate"] == before.attrs["null_rate"]


def test_a_mask_without_neurons_is_not_judged() -> None:
    effect = make(4, own=5.0)
    effect["mean_shift"][2], effect["control_shift"][2] = 0.0, 0.0
    empty_MG = none_empty(effect)
    empty_MG[2] = True
    found = infer(effect, empty_MG, FDR)
    for name, array in found.arrays.items():
        assert np.isnan(array[2]).all(), name
    assert found.attrs["families"]["own"]["cells"] == 6
    assert found.attrs["null_count"] == 6 * 16


@pytest.mark.parametrize("draws", [0, 1, 3, 4])
def test_few_draws(draws: int) -> None:
    effect = make(5, draws=draws)
    found = infer(effect, none_empty(effect), FDR)
    judged = draws >= 4
    assert np.isnan(found.arrays["p_value"]).all() == (not judged)
    assert not np.isnan(found.arrays["specific_shift"][0, 0]).any()
    assert (found.attrs["null_rate"] is not None) == judged
    assert found.attrs["null_count"] == (8 * draws if judged else 0)
    assert found.attrs["prior_df"]["own"] == 0.0
    assert found.attrs["prior_sd"]["own"] is None
    smallest = found.attrs["families"]["own"]["smallest_rank_p"]
    assert smallest == (2 / (draws + 1) if draws else None)
    json.dumps(found.attrs, allow_nan=False)


def test_what_cannot_be_said_in_json_is_none() -> None:
    effect = make(6)
    effect["control_shift"][:] = np.arange(16.0)  # one variance: an infinite prior
    attrs = infer(effect, none_empty(effect), FDR).attrs
    assert attrs["prior_df"]["own"] is None
    assert attrs["prior_sd"]["own"] == pytest.approx(np.arange(16.0).std(ddof=1))
