"""Rates by cluster against naive loops; parts whose neuron was given no token."""

import numpy as np
import pytest
from numpy.typing import NDArray

from vxdist.stats.clusters import Tellings

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def tellings() -> Tellings:
    """Seven clusters in any order; some have one stance only, and one has a stance twice."""
    return Tellings(
        cluster_S=np.array([3, 0, 1, 2, 0, 1, 4, 5, 6, 6, 3, 5, 3]),
        stance_S=np.array(["a", "v", "a", "v", "a", "v", "a", "a", "v", "a", "v", "v", "v"]),
    )


@pytest.fixture(scope="module")
def counts(tellings: Tellings) -> tuple[Floats, Floats]:
    """Active tokens and tokens given, 0 for some neurons and parts; of cluster 4 too."""
    rng = np.random.default_rng(8)
    given_NS = rng.integers(0, 4, (30, len(tellings.cluster_S))).astype(np.float64) * 7
    return rng.binomial(given_NS.astype(int), 0.3).astype(np.float64), given_NS


def naive_rates(tellings: Tellings, active_S: Floats, given_S: Floats) -> list[float]:
    """Rates of the clusters of one neuron."""
    parts = range(len(active_S))
    rate = {s: active_S[s] / given_S[s] for s in parts if given_S[s]}
    mean = {}
    for stance in set(tellings.stance_S.tolist()):
        known = [rate[s] for s in rate if tellings.stance_S[s] == stance]
        mean[stance] = sum(known) / len(known) if known else 0.0
    found = []
    for cluster in range(7):
        of = [
            rate[s] - mean[tellings.stance_S[s]] for s in rate if tellings.cluster_S[s] == cluster
        ]
        found.append(sum(of) / len(of) if of else float("nan"))
    return found


def test_rates(tellings: Tellings, counts: tuple[Floats, Floats]) -> None:
    x_NP = tellings.rates(*counts)
    expected = [naive_rates(tellings, *of) for of in zip(*counts, strict=True)]
    assert np.isnan(expected).any()
    np.testing.assert_allclose(x_NP, expected, atol=1e-12)


def test_rates_where_all_neurons_are_given_the_same(
    tellings: Tellings, counts: tuple[Floats, Floats]
) -> None:
    given_S = np.arange(10.0, 10 + len(tellings.cluster_S))
    x_NP = tellings.rates(counts[0], given_S[None])
    expected = [naive_rates(tellings, active_S, given_S) for active_S in counts[0]]
    assert not np.isnan(x_NP).any()
    np.testing.assert_allclose(x_NP, expected, atol=1e-12)


def test_sums(tellings: Tellings, counts: tuple[Floats, Floats]) -> None:
    expected = [
        [active_S[tellings.cluster_S == cluster].sum() for cluster in range(7)]
        for active_S in counts[0]
    ]
    np.testing.assert_array_equal(tellings.sums(counts[0]), expected)
    assert tellings.num_clusters == 7


def test_differences(counts: tuple[Floats, Floats]) -> None:
    tellings = Tellings(
        cluster_S=np.array([2, 0, 1, 2, 0, 3]), stance_S=np.array(["a", "v", "a", "v", "a", "v"])
    )
    active_NS, given_NS = (of[:, :6] for of in counts)
    found_NP = tellings.differences(active_NS, given_NS, ("a", "v"))
    assert tellings.both(("a", "v")).tolist() == [0, 2]
    with np.errstate(invalid="ignore"):
        rate_NS = active_NS / given_NS
    expected = np.stack([rate_NS[:, 4] - rate_NS[:, 1], rate_NS[:, 0] - rate_NS[:, 3]], axis=1)
    assert np.isnan(expected).any()
    np.testing.assert_allclose(found_NP, expected)
