"""Tests of synthetic records without a store: what is compared, and what is found.

P: part, N: neuron, V: value, C: cluster.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.stats.generators import ALIGNED, VIOLATING, Synthetic
from vxdist.stats.clusters import Tellings
from vxdist.stats.design import Design
from vxdist.stats.multiplicity import bh_q
from vxdist.stats.tested import Scored, Tested, score, test_stance
from vxdist.stats.tested import test as run_tests

Floats = NDArray[np.float64]

FDR = 0.1


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A record by cluster: the rates of its neurons, and the design that they are tested under."""

    x_NC: Floats
    design: Design
    tellings: Tellings

    def score(self) -> Scored:
        """Normal scores of every neuron."""
        return score(self.x_NC, self.design)

    def test(self) -> Tested:
        """All tests of every neuron."""
        return run_tests(self.score(), self.design)


def prepare(record: Synthetic, *, length: bool = False, singly: bool = False) -> Trial:
    """Rates by cluster, and their design; with `length`, adjusted for the log length of parts.

    `singly`: every part counts as a cluster of its own, as if it told another dilemma.
    """
    dilemma_P = np.arange(len(record.value_P)) if singly else record.dilemma_P
    _, first_C, cluster_P = np.unique(dilemma_P, return_index=True, return_inverse=True)
    tellings = Tellings(cluster_S=cluster_P.astype(np.int64), stance_S=record.stance_P)
    given_P = record.token_count_P[None].astype(np.float64)
    stances_C = np.zeros(len(first_C), dtype=np.int64)
    np.bitwise_or.at(stances_C, cluster_P, 1 << record.stance_P)
    length_C = np.bincount(cluster_P, np.log(record.token_count_P)) / np.bincount(cluster_P)
    design = Design(
        label_P=record.value_P[first_C],
        stratum_P=stances_C,
        num_labels=record.values,
        confounds_PK=length_C[:, None] if length else np.empty((len(first_C), 0)),
    )
    x_NC = tellings.rates(record.active_count_PN.T.astype(np.float64), given_P)
    return Trial(x_NC=x_NC, design=design, tellings=tellings)


def stance_p(record: Synthetic) -> Floats:
    """p of the difference between stances, of each value against all others, (N, V).

    Of the clusters that are told in both stances.
    """
    trial = prepare(record)
    both_C = trial.tellings.both((ALIGNED, VIOLATING))
    given_P = record.token_count_P[None].astype(np.float64)
    active_NP = record.active_count_PN.T.astype(np.float64)
    x_NC = trial.tellings.differences(active_NP, given_P, (ALIGNED, VIOLATING))
    design = Design(
        label_P=trial.design.label_P[both_C],
        stratum_P=np.zeros(len(both_C), dtype=np.int64),
        num_labels=record.values,
        confounds_PK=np.empty((len(both_C), 0)),
    )
    return test_stance(score(x_NC, design).z_NP, design)[1]


def claimed(p: Floats, fdr: float = FDR) -> NDArray[np.bool_]:
    """Which tests Benjamini-Hochberg rejects."""
    return np.asarray(bh_q(p) <= fdr)
