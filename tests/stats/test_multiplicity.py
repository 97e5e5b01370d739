"""Benjamini-Hochberg against scipy, against its definition, and on lists that are cut short."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vxdist.stats import multiplicity
from vxdist.stats.multiplicity import bh_count, bh_q

P = st.one_of(
    st.floats(0, 1),
    st.floats(0, 1e-3),
    st.sampled_from([0.0, 1.0, 0.01, 0.02, 0.05]),  # ties
)
MANY = st.lists(P, min_size=1, max_size=40)
FDR = st.sampled_from([0.01, 0.05, 0.1, 0.5])
NOT_TESTED = st.just(float("nan"))


def naive_count(p: list[float], fdr: float) -> int:
    """The largest k such that k tests have p at most fdr x k / tests."""
    ranked, count = sorted(p), 0
    for k, smallest in enumerate(ranked, start=1):
        if smallest * len(ranked) / k <= fdr:
            count = k
    return count


@given(MANY)
def test_q_is_scipys(p: list[float]) -> None:
    expected = stats.false_discovery_control(p, method="bh")
    np.testing.assert_allclose(bh_q(np.array(p)), expected, rtol=1e-12)


@given(MANY, FDR)
def test_rejects_as_the_definition_does(p: list[float], fdr: float) -> None:
    q = bh_q(np.array(p))
    count = naive_count(p, fdr)
    assert (q <= fdr).sum() == count == bh_count(np.sort(p), len(p), fdr)
    # Those rejected are those with the smallest p.
    assert set(np.array(p)[q <= fdr]) <= set(sorted(p)[:count])


@given(st.lists(st.one_of(P, NOT_TESTED), max_size=40))
def test_what_was_not_tested_does_not_count(p: list[float]) -> None:
    all_p = np.array(p, dtype=np.float64)
    tested = ~np.isnan(all_p)
    q = bh_q(all_p)
    assert np.isnan(q[~tested]).all()
    np.testing.assert_array_equal(q[tested], bh_q(all_p[tested]))


@given(MANY, FDR, st.integers(0, 5))
def test_the_beginning_of_the_list_is_enough(p: list[float], fdr: float, more: int) -> None:
    """No p above fdr is ever rejected, so a list of those up to it holds all that could be."""
    ranked = np.sort(p)
    short = ranked[: int((ranked <= fdr).sum()) + more]
    assert bh_count(short, len(p), fdr) == naive_count(p, fdr)


@given(MANY, st.data())
def test_order_and_shape_do_not_matter(p: list[float], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(p))))
    q = bh_q(np.array(p))
    np.testing.assert_array_equal(bh_q(np.array(p)[order]), q[order])
    np.testing.assert_array_equal(bh_q(np.array([p, p]).T[:, None]).shape, (len(p), 1, 2))


@given(st.lists(st.one_of(P, st.just(1.0), NOT_TESTED), max_size=40))
def test_q_of_single_precision(p: list[float]) -> None:
    """Sorted in another way, and put in place three at a time."""
    single = np.array(p, dtype=np.float32)
    expected = bh_q(single.astype(np.float64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiplicity, "AT_ONCE", 3)
        q = bh_q(single)
    assert q.dtype == np.float32
    np.testing.assert_allclose(q, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_keeps_its_dtype_and_leaves_p_alone(dtype: type) -> None:
    p = np.array([[0.04, np.nan], [0.01, 0.9]], dtype=dtype)
    q = bh_q(p)
    np.testing.assert_allclose(q, [[0.06, np.nan], [0.03, 0.9]], rtol=1e-6)
    assert q.dtype == dtype
    np.testing.assert_array_equal(p, np.array([[0.04, np.nan], [0.01, 0.9]], dtype=dtype))


def test_of_no_tests() -> None:
    assert bh_q(np.empty((0, 3))).shape == (0, 3)
    assert np.isnan(bh_q(np.full(4, np.nan))).all()
    assert bh_count(np.empty(0), 0, 0.1) == 0
    assert bh_count(np.empty(0), 100, 0.1) == 0


def test_false_discoveries_stay_below_the_level() -> None:
    """500 data sets of 200 tests, 20 of which have something to find."""
    rng = np.random.default_rng(5)
    z = rng.normal(size=(500, 200))
    z[:, :20] += 3
    found = np.array([bh_q(stats.norm.sf(row)) <= 0.1 for row in z])
    false = found[:, 20:].sum(axis=1) / np.maximum(found.sum(axis=1), 1)
    assert 0.06 < false.mean() < 0.1 + 3 * false.std() / np.sqrt(500)
    assert found[:, :20].mean() > 0.6
