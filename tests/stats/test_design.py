"""Confounds against least squares; what shuffles and halves keep."""

import numpy as np
import pytest
from numpy.typing import NDArray

from vxdist.stats.contrasts import one_against_rest
from vxdist.stats.design import Design, dummies
from vxdist.stats.normal_scores import standardise

Floats = NDArray[np.float64]
VALUES, CLUSTERS = 5, 60


def make(confounds_PK: Floats) -> Design:
    """Five values in two strata."""
    rng = np.random.default_rng(3)
    return Design(
        label_P=rng.permutation(np.arange(CLUSTERS) % VALUES),
        stratum_P=rng.integers(0, 2, CLUSTERS),
        num_labels=VALUES,
        confounds_PK=confounds_PK,
    )


@pytest.fixture(scope="module")
def design() -> Design:
    """Adjusted for length, a setting, and, to no effect, a constant and the length once more."""
    rng = np.random.default_rng(4)
    length_P, setting_P = rng.normal(6, 0.3, CLUSTERS), rng.random(CLUSTERS) < 0.3
    columns = [length_P, setting_P, np.full(CLUSTERS, 2.0), 3 * length_P - 1]
    return make(np.stack(columns, axis=1).astype(np.float64))


@pytest.fixture(scope="module")
def z_NP(design: Design) -> Floats:
    """Scores that follow confounds and values."""
    rng = np.random.default_rng(5)
    z_NP = rng.normal(size=(20, CLUSTERS)) + rng.normal(size=(20, VALUES))[:, design.label_P]
    return standardise(z_NP + rng.normal(size=(20, 2)) @ design.confounds_PK[:, :2].T)


def test_adjusting_leaves_the_residuals_of_least_squares(design: Design, z_NP: Floats) -> None:
    x_PK = np.column_stack([np.ones(CLUSTERS), design.confounds_PK])
    fitted_KN = np.linalg.lstsq(x_PK, z_NP.T, rcond=None)[0]
    np.testing.assert_allclose(design.adjust(z_NP), z_NP - (x_PK @ fitted_KN).T, atol=1e-9)
    assert design.degrees == CLUSTERS - 2 - 2, "a value, a constant, and two columns that differ"


def test_t_is_that_of_the_regression_with_the_confounds(design: Design, z_NP: Floats) -> None:
    adjusted_NP = standardise(design.adjust(z_NP))
    sum_NV = adjusted_NP @ design.indicators(design.label_P)
    t_NV = one_against_rest(sum_NV, design.spreads(design.label_P), design)
    for value in range(VALUES):
        of_value_P = (design.label_P == value).astype(np.float64)
        x_PK = np.column_stack([of_value_P, np.ones(CLUSTERS), design.confounds_PK[:, :2]])
        inverse_KK = np.linalg.inv(x_PK.T @ x_PK)
        for neuron, z_P in enumerate(z_NP):
            beta_K = inverse_KK @ x_PK.T @ z_P
            rest_P = z_P - x_PK @ beta_K
            s2 = rest_P @ rest_P / (CLUSTERS - x_PK.shape[1])
            t = beta_K[0] / np.sqrt(s2 * inverse_KK[0, 0])
            assert t_NV[neuron, value] == pytest.approx(t, rel=1e-7)


def test_a_value_that_a_confound_explains_is_not_tested(z_NP: Floats) -> None:
    label_P = make(np.empty((CLUSTERS, 0))).label_P
    design = make(np.stack([label_P == 1, np.arange(CLUSTERS) % 7], axis=1).astype(np.float64))
    sum_NV = standardise(design.adjust(z_NP)) @ design.indicators(design.label_P)
    t_NV = one_against_rest(sum_NV, design.spreads(design.label_P), design)
    assert np.isnan(t_NV[:, 1]).all()
    assert not np.isnan(np.delete(t_NV, 1, axis=1)).any()


def test_a_shuffle_keeps_each_stratum_its_labels(design: Design) -> None:
    rng = np.random.default_rng(6)
    shuffled = [design.shuffle(rng) for _ in range(50)]
    for label_P in shuffled:
        for stratum in (0, 1):
            at_P = design.stratum_P == stratum
            np.testing.assert_array_equal(np.sort(label_P[at_P]), np.sort(design.label_P[at_P]))
    assert len({label_P.tobytes() for label_P in shuffled}) == 50
    # A cluster has any label of its stratum about as often as the stratum does.
    stratum_P = design.stratum_P == design.stratum_P[0]
    expected = np.mean(design.label_P[stratum_P] == 2)
    assert np.mean([of[0] == 2 for of in shuffled]) == pytest.approx(expected, abs=0.2)


def test_halves_have_half_of_each_label_and_stratum(design: Design) -> None:
    rng = np.random.default_rng(7)
    half_P = design.halve(design.label_P, rng)
    for label in range(VALUES):
        for stratum in (0, 1):
            at_P = (design.label_P == label) & (design.stratum_P == stratum)
            assert abs(2 * half_P[at_P].sum() - at_P.sum()) <= 1


def test_dummies_are_of_common_settings() -> None:
    names = ["school"] * 3 + ["home"] * 2 + ["sea"]
    np.testing.assert_array_equal(dummies(names, 2).T, [[0, 0, 0, 1, 1, 0], [1, 1, 1, 0, 0, 0]])
    assert dummies(names, 4).shape == (6, 0)
