"""Ranks against scipy, and the scores made of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from vxdist.stats.normal_scores import midranks, normal_scores, standardise

ROWS = st.integers(1, 12).flatmap(
    lambda n: st.lists(
        st.lists(
            st.one_of(st.integers(-3, 3).map(lambda k: k / 8), st.integers(-(2**20), 2**20)),
            min_size=n,
            max_size=n,
        ),
        min_size=1,
        max_size=6,
    )
)
"""Rows of equal length, with and without ties."""


@given(ROWS)
def test_ranks_are_scipys(rows: list[list[float]]) -> None:
    x_NP = np.array(rows, dtype=np.float64)
    np.testing.assert_array_equal(midranks(x_NP), stats.rankdata(x_NP, axis=1))


@given(ROWS)
def test_the_order_of_adding_up_decides_no_rank(rows: list[list[float]]) -> None:
    x_NP = np.array(rows, dtype=np.float64) / 2**20
    rounded_NP = x_NP + np.resize([1e-15, -2e-15, 0, 3e-15, 1e-15], x_NP.shape)
    np.testing.assert_array_equal(midranks(rounded_NP), midranks(x_NP))


def test_ranks_of_many_clusters() -> None:
    """Rows of any scale, with many ties, and numbers that differ by little more than a tie does."""
    rng = np.random.default_rng(98)
    x_NP = np.round(rng.normal(size=(40, 300)), 1) * 10.0 ** rng.integers(-3, 2, (40, 1))
    x_NP[::2, ::7] += 3e-13
    np.testing.assert_array_equal(midranks(x_NP), stats.rankdata(x_NP, axis=1))
    assert midranks(np.zeros((2, 1))).tolist() == [[1], [1]]
    assert midranks(np.empty((0, 5))).shape == (0, 5)


@given(ROWS)
def test_scores_are_van_der_waerdens(rows: list[list[float]]) -> None:
    x_NP = np.array(rows, dtype=np.float64)
    z_NP = normal_scores(midranks(x_NP))
    for x_P, z_P in zip(x_NP, z_NP, strict=True):
        if np.ptp(x_P) == 0:
            assert (z_P == 0).all()
            continue
        raw_P = special.ndtri((stats.rankdata(x_P) - 0.5) / len(x_P))
        np.testing.assert_allclose(z_P, (raw_P - raw_P.mean()) / raw_P.std(), atol=1e-12)


def test_a_constant_row_has_no_score() -> None:
    z_NP = standardise(np.array([[0.1, 0.1, 0.1], [1.0, 2.0, 3.0]]))
    assert z_NP[0].tolist() == [0, 0, 0]
    np.testing.assert_allclose([z_NP[1].mean(), z_NP[1].std()], [0, 1], atol=1e-12)
