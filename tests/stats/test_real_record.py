"""What the tests of neurons promise, on a real record, with nothing in it or with what was planted.

Thresholds are the promised rate and three binomial standard errors.
"""

import numpy as np
import pytest

from tests.stats.generators import ALIGNED, Synthetic, shuffle_values, thin_upward
from tests.stats.real_record import FILE, load
from tests.stats.trials import (
    FDR,
    claimed,
    prepare,
    prepare_stance,
    stance_t_p,
    under_shuffles,
)
from vxdist.stats.contrasts import one_against_rest, two_sided, upper_tail

SHUFFLES, SEEDS = 200, 100
MOST = FDR + 3 * float(np.sqrt(FDR * (1 - FDR) / SHUFFLES))
TAILS = {0.05: 1.2, 0.01: 1.2, 0.001: 1.5}
"""By p, how many times as many, or as few, as that fraction of all p may be below it."""


@pytest.fixture(scope="module")
def record() -> Synthetic:
    """96 dilemmas of 12 values, each in both stances, and 512 neurons."""
    found = load()
    assert found.active_count_PN.shape == (192, 512)
    assert len(np.unique(found.dilemma_P)) == 96
    assert FILE.stat().st_size < 300_000
    return found


@pytest.mark.parametrize("kind", ["plain", "adjusted", "stance"])
def test_shuffled_labels_hardly_ever_find_anything(record: Synthetic, kind: str) -> None:
    stance = kind == "stance"
    trial = prepare_stance(record) if stance else prepare(record, length=kind == "adjusted")
    rng = np.random.default_rng(94)
    levels, labelings = under_shuffles(trial, SHUFFLES, rng, stance=stance)
    rates = {level: found["any_rate"] for level, found in levels.items()}
    assert max(rates.values()) <= MOST
    assert rates[4 if stance else 1] > 0
    assert all(found["calibrated"] for found in levels.values())

    design, z_NP = trial.design, trial.score().z_NP
    tail = two_sided if stance else upper_tail
    below = np.zeros(len(TAILS))
    for of in labelings:
        sum_NV = z_NP @ design.indicators(of.label_P)
        t_NV = one_against_rest(sum_NV, design.spreads(of.label_P), design)
        p_NV = tail(t_NV, design.degrees)
        below += [(p_NV < a).mean() / a / SHUFFLES for a in TAILS]
    for ratio, bound in zip(below, TAILS.values(), strict=True):
        assert 1 / bound <= ratio <= bound


def recovered(record: Synthetic, p_NV: np.ndarray) -> tuple[float, float]:
    """Fraction of the planted that is found, and of the found that was not planted."""
    found_NV = claimed(p_NV)
    false = (found_NV & ~record.truth_NV).sum() / max(1, found_NV.sum())
    return float(found_NV[record.truth_NV].mean()), float(false)


@pytest.mark.parametrize("stance", [None, ALIGNED], ids=["value", "stance"])
def test_planted_neurons_are_found(record: Synthetic, stance: int | None) -> None:
    """In 20 neurons the odds of activity are raised by exp(.8), a hundred times over.

    They are raised in all stories of a value, or in those that honour it.
    """
    found = []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        planted = thin_upward(
            shuffle_values(record, rng), rng, planted=20, delta=0.8, stance=stance
        )
        p_NV = prepare(planted).test().p_NV if stance is None else stance_t_p(planted)[1]
        found.append(recovered(planted, p_NV))
    recall, false = np.mean(found, axis=0)
    assert recall >= 0.9
    assert false <= FDR + 0.03
