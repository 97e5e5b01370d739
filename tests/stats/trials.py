"""Tests of synthetic records without a store: what is compared, and what is found.

P: part, N: neuron, V: value, C: cluster.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.stats.generators import ALIGNED, VIOLATING, Synthetic
from vxdist.stats import labelings
from vxdist.stats.clusters import Tellings
from vxdist.stats.design import Design
from vxdist.stats.labelings import Labeling
from vxdist.stats.multiplicity import bh_q
from vxdist.stats.null import LevelNull, new_tallies, shuffled_stance, shuffled_values
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


def prepare_stance(record: Synthetic) -> Trial:
    """The same of the difference between stances, of the clusters that are told in both."""
    trial = prepare(record)
    both_C = trial.tellings.both((ALIGNED, VIOLATING))
    given_P = record.token_count_P[None].astype(np.float64)
    active_NP = record.active_count_PN.T.astype(np.float64)
    design = Design(
        label_P=trial.design.label_P[both_C],
        stratum_P=np.zeros(len(both_C), dtype=np.int64),
        num_labels=record.values,
        confounds_PK=np.empty((len(both_C), 0)),
    )
    return Trial(
        x_NC=trial.tellings.differences(active_NP, given_P, (ALIGNED, VIOLATING)),
        design=design,
        tellings=trial.tellings,
    )


def stance_t_p(record: Synthetic) -> tuple[Floats, Floats]:
    """t and p of the difference between stances, of each value against all others, (N, V)."""
    trial = prepare_stance(record)
    return test_stance(trial.score().z_NP, trial.design)


def under_shuffles(
    trial: Trial, number: int, rng: np.random.Generator, *, stance: bool = False
) -> tuple[dict[int, LevelNull], list[Labeling]]:
    """What is found at each level under shuffled labels, and those labels."""
    z_NP = trial.score().z_NP
    made = labelings.shuffles(trial.design, number, rng)
    tests = len(z_NP) * trial.design.num_labels
    tallies = new_tallies((4,) if stance else (1, 2, 3), number, tests, FDR)
    look = shuffled_stance if stance else shuffled_values
    cut = next(iter(tallies.values())).cut
    for found in look(z_NP, made, cut):
        for level, (shuffle_K, p_K) in found.items():
            tallies[level].add(shuffle_K, p_K)
    return {level: tally.summary(tests, FDR) for level, tally in tallies.items()}, list(made.each)


def claimed(p: Floats, fdr: float = FDR) -> NDArray[np.bool_]:
    """Which tests Benjamini-Hochberg rejects."""
    return np.asarray(bh_q(p) <= fdr)
