"""What the tests of neurons promise, on many records whose truth is known.

Thresholds are the promised rate and three binomial standard errors.
"""

from dataclasses import replace

import numpy as np
import pytest

from tests.stats.generators import Synthetic, overdispersed, topic_only, twins
from tests.stats.trials import FDR, claimed, prepare
from vxdist.stats.design import Design
from vxdist.stats.normal_scores import standardise
from vxdist.stats.tested import score
from vxdist.stats.tested import test as run_tests

RECORDS = 200
TAILS = {0.05: 1.2, 0.01: 1.2, 0.001: 1.5}
"""By p, how many times as many, or as few, as that fraction of all p may be below it."""


def most(records: int) -> float:
    """The rate of records with any discovery that still agrees with `FDR`."""
    return FDR + 3 * float(np.sqrt(FDR * (1 - FDR) / records))


def follow_length(record: Synthetic, rng: np.random.Generator) -> Synthetic:
    """Tell the first value at greater length, and have each neuron be more active, the longer."""
    longer_P = 0.25 * (record.value_P == 0) + rng.normal(0, 0.2, len(record.value_P))
    token_P = np.round(300 * np.exp(longer_P)).astype(np.int64)
    rate_PN = record.active_count_PN / record.token_count_P[:, None]
    rate_PN *= (token_P / token_P.max())[:, None]
    return replace(
        record, token_count_P=token_P, active_count_PN=rng.binomial(token_P[:, None], rate_PN)
    )


@pytest.mark.parametrize("length", [False, True], ids=["plain", "adjusted"])
def test_where_nothing_differs_hardly_anything_is_found(length: bool) -> None:
    """Counts vary more than binomially and together; p is as small as it says, far into the tail.

    Most of the rates are no normal numbers; t of rates themselves finds something in half of such
    records.
    """
    rng = np.random.default_rng(81)
    found, below = [], []
    for _ in range(RECORDS):
        tested = prepare(overdispersed(rng), length=length).test()
        p_NV = tested.p_NV
        all_p = (p_NV, tested.p_exclusive_NV, tested.p_omnibus_N)
        found.append([claimed(p).any() for p in all_p])
        below.append([(p_NV < a).mean() / a for a in TAILS])
    assert (np.mean(found, axis=0) <= most(RECORDS)).all()
    for ratio, bound in zip(np.mean(below, axis=0), TAILS.values(), strict=True):
        assert 1 / bound <= ratio <= bound


def test_what_follows_length_is_not_taken_for_value() -> None:
    """Stories of a value that are longer: adjusted for length they differ no more."""
    records = 40
    rng = np.random.default_rng(82)
    found: dict[bool, list[bool]] = {False: [], True: []}
    for _ in range(records):
        record = follow_length(overdispersed(rng, neurons=300), rng)
        for length, rates in found.items():
            rates.append(bool(claimed(prepare(record, length=length).test().p_NV).any()))
    assert np.mean(found[False]) > 0.6
    assert np.mean(found[True]) <= most(records)


@pytest.mark.parametrize("fraction", [1.0, 0.5], ids=["all", "half"])
def test_values_that_differ_as_topics_do_do_not_stand_out(fraction: float) -> None:
    """They differ, in thousands of neurons; and none of those is of the value."""
    records = 50
    rng = np.random.default_rng(83)
    differ, stand_out = [], []
    for _ in range(records):
        tested = prepare(topic_only(rng, fraction=fraction)).test()
        differ.append(claimed(tested.p_NV).sum())
        stand_out.append(claimed(tested.p_beyond_NV).any())
    assert min(differ) > 1000
    assert np.mean(stand_out) <= most(records)


def test_tellings_of_one_dilemma_are_one_observation() -> None:
    """Twins are alike, and have the same value: taken as two observations, noise is found again.

    Taken as clusters, as they are, nothing is.
    """
    records = 100
    rng = np.random.default_rng(84)
    as_parts, as_clusters = [], []
    for _ in range(records):
        record = twins(rng, neurons=300, correlation=0.9)
        as_parts.append(claimed(prepare(record, singly=True).test().p_NV).any())
        as_clusters.append(claimed(prepare(record).test().p_NV).any())
    assert np.mean(as_parts) >= 0.9
    assert np.mean(as_clusters) <= most(records)


def test_neurons_that_are_active_once_a_story() -> None:
    """Their rates say how long a story is. What adjusting leaves of them has heavy tails, and must
    be scored again: standardised as it is, it finds something in most records."""
    records, shape = 60, (300, 72)
    rng = np.random.default_rng(87)
    label_C = np.repeat(np.arange(6), 12)
    found: dict[str, list[bool]] = {"as it is": [], "scored again": []}
    for _ in range(records):
        token_C = np.round(300 * np.exp(rng.normal(0, 0.2, shape[1])))
        design = Design(
            label_P=label_C,
            stratum_P=np.zeros_like(label_C),
            num_labels=6,
            confounds_PK=np.log(token_C)[:, None],
        )
        scored = score((1 + (rng.random(shape) < 0.05)) / token_C, design)
        left_NC = standardise(design.adjust(scored.plain_NP))
        for name, z_NC in (("as it is", left_NC), ("scored again", scored.z_NP)):
            p_NV = run_tests(replace(scored, z_NP=z_NC), design).p_NV
            found[name].append(bool(claimed(p_NV).any()))
    assert np.mean(found["as it is"]) > 0.4
    assert np.mean(found["scored again"]) <= most(records)
