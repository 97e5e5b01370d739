"""Sums under other labels, against loops over clusters."""

import numpy as np
import pytest

from vxdist.stats import labelings
from vxdist.stats.design import Design
from vxdist.stats.labelings import AT_ONCE

VALUES, CLUSTERS, NEURONS = 3, 15, 7


@pytest.fixture(scope="module")
def design() -> Design:
    """Values with unlike numbers of clusters, in two strata."""
    return Design(
        label_P=np.repeat(np.arange(VALUES), [4, 5, 6]),
        stratum_P=np.arange(CLUSTERS) % 2,
        num_labels=VALUES,
        confounds_PK=np.empty((CLUSTERS, 0)),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("half", [False, True])
def test_sums(design: Design, dtype: type, half: bool) -> None:
    rng = np.random.default_rng(99)
    number_PN = rng.normal(size=(NEURONS, CLUSTERS)).T.astype(dtype)  # neurons are no neighbours
    make = labelings.halves if half else labelings.shuffles
    made = make(design, AT_ONCE + 3, rng)
    found_CVN = np.concatenate([block.sums(number_PN) for block in made.blocks])
    assert found_CVN.shape == (len(made.each), VALUES, NEURONS)
    assert found_CVN.dtype == dtype
    for found_VN, of in zip(found_CVN, made.each, strict=True):
        for value, found_N in enumerate(found_VN):
            among_P = (of.label_P == value) & of.half_P
            np.testing.assert_allclose(found_N, number_PN[among_P].sum(axis=0), atol=1e-5)


def test_no_neurons(design: Design) -> None:
    made = labelings.shuffles(design, 2, np.random.default_rng(0))
    assert made.blocks[0].sums(np.empty((CLUSTERS, 0))).shape == (2, VALUES, 0)
