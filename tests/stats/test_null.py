"""The tally of small p under shuffled labels, against keeping them all."""

import numpy as np
import pytest
from numpy.typing import NDArray

from vxdist.stats.multiplicity import bh_q
from vxdist.stats.null import Tally, new_tallies

Floats = NDArray[np.float64]
SHUFFLES, TESTS = 40, 3000


@pytest.fixture(scope="module")
def p_BK() -> Floats:
    """All p of each shuffle: uniform, and in every fourth with some that are too small."""
    p_BK = np.random.default_rng(97).random((SHUFFLES, TESTS))
    p_BK[::4, :30] /= 1000
    return p_BK


def tally_of(p_BK: Floats) -> Tally:
    """The p in a tally that keeps a third of them, block by block."""
    tally = new_tallies((1,), SHUFFLES, TESTS, 0.1)[1]
    assert tally.cut == 0.1
    shuffle_BK = np.broadcast_to(np.arange(SHUFFLES)[:, None], p_BK.shape)
    for block in np.array_split(np.arange(TESTS), 7):
        tally.add(shuffle_BK[:, block].ravel(), p_BK[:, block].ravel())
    return tally


def test_summary(p_BK: Floats) -> None:
    found_B = np.array([(bh_q(p_K) <= 0.1).sum() for p_K in p_BK])
    summary = tally_of(p_BK).summary(TESTS, 0.1)
    rate = (found_B > 0).mean()
    assert 0.2 < rate < 0.5
    assert summary["any_rate"] == rate
    assert summary["any_rate_se"] == pytest.approx(np.sqrt(rate * (1 - rate) / SHUFFLES))
    assert summary["mean_selected"] == found_B.mean()
    assert summary["most_selected"] == found_B.max()
    assert summary["calibrated"] is False
    assert tally_of(p_BK[:, ::-1] * 0 + 0.5).summary(TESTS, 0.1)["calibrated"] is True


def test_familywise(p_BK: Floats) -> None:
    """The fraction of shuffles, the real labels among them, whose smallest p is as small."""
    p = np.array([1e-9, 1e-5, 1e-4, 3e-4, 0.01, 0.2, np.nan])
    found = tally_of(p_BK).familywise(p)
    expected = [(1 + (p_BK.min(axis=1) <= one).sum()) / (SHUFFLES + 1) for one in p[:-1]]
    np.testing.assert_allclose(found[:-1], expected)
    assert np.isnan(found[-1])
    assert found[0] == 1 / (SHUFFLES + 1)


def test_the_same_p_but_for_rounding_is_as_small() -> None:
    """Sums under shuffles are of single precision; the real ones are not."""
    p = 3e-4
    rounded_B1 = np.full((SHUFFLES, 1), p) * (1 + 1e-5 * np.linspace(-1, 1, SHUFFLES))[:, None]
    tally = Tally(shuffles=SHUFFLES, cut=0.1)
    tally.add(np.arange(SHUFFLES), rounded_B1[:, 0])
    assert tally.familywise(np.array([p]))[0] == 1
