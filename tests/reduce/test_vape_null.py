"""VAPE under other labels, against VAPE itself called on relabelled counts."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.stats.generators import Synthetic, overdispersed
from tests.stats.trials import prepare
from vxdist.reduce import vape_null
from vxdist.reduce.selectors import vape
from vxdist.reduce.vape_null import Listing, VapeNull
from vxdist.stats import labelings
from vxdist.stats.design import Design
from vxdist.stats.labelings import Labeling, Labelings

Floats = NDArray[np.float64]
Sets = list[set[tuple[int, int]]]

QUANTILE, TOP = 0.9, 0.05
NEURONS, VALUES = 400, 4


def vape_of(record: Synthetic, labeling: Labeling) -> vape.VapeSelection:
    """VAPE on the record, as if clusters had these labels, and those outside the half were not."""
    probability_NV = np.empty((NEURONS, VALUES))
    for value in range(VALUES):
        of_P = (labeling.label_P == value) & labeling.half_P
        active_N = record.active_count_PN[of_P].sum(axis=0)
        probability_NV[:, value] = active_N / record.token_count_P[of_P].sum()
    return vape.select(
        probability_NV[None],
        probability_NV.any(axis=1)[None],
        filter_quantile=QUANTILE,
        top_fraction=TOP,
        activation_quantile=QUANTILE,
    )


class Setting:
    """A record, VAPE's list of it, and labelings: shuffled, and halves of both kinds."""

    def __init__(self, tokens: int = 300, spread: float | None = None) -> None:
        rng = np.random.default_rng(92)
        # The parts of `overdispersed` are clusters, in the order of the design.
        self.record = overdispersed(
            rng, neurons=NEURONS, values=VALUES, clusters=8, tokens=tokens, planted=30, delta=1.0
        )
        if spread is not None:
            shape = self.record.active_count_PN.shape
            rate_PN = rng.uniform(0.2, 0.9, NEURONS) * (1 + spread * rng.normal(size=shape))
            active_PN = np.rint(rate_PN * self.record.token_count_P[:, None]).astype(np.int64)
            self.record = replace(self.record, active_count_PN=active_PN)
        self.design: Design = prepare(self.record).design
        everyone_P = np.ones(self.design.num_clusters, dtype=bool)
        self.own = Labeling(label_P=self.design.label_P, half_P=everyone_P)
        self.shuffled = list(labelings.shuffles(self.design, 30, rng).each)
        self.all_halves = labelings.halves(self.design, 4, rng)
        self.halves = list(self.all_halves.each[:8])
        self.shuffled_halves = list(self.all_halves.each[8:])
        self.found = vape_of(self.record, self.own)
        selected_NV = self.found.selected_LNV[0]
        self.listing = Listing(
            filter_threshold=self.found.filter_threshold,
            activation_threshold=self.found.activation_threshold,
            entropy_cut=self.found.entropy_cut,
            most=self.found.selected_count,
            assignment_K=np.flatnonzero(selected_NV.ravel()),
        )

    def null(self, shuffled: list[Labeling], blocks: int = 1) -> VapeNull:
        """The null, of neurons that come in so many blocks."""
        null = VapeNull(self.listing, Labelings(self.design, shuffled), self.all_halves)
        active_NP = self.record.active_count_PN.T.astype(np.float64)
        given_NP = self.record.token_count_P[None].astype(np.float64)
        for neuron_N in np.array_split(np.arange(NEURONS), blocks):
            null.add(null.look(active_NP[neuron_N], given_NP, neuron_N))
        return null

    def sets(self, labelings: list[Labeling]) -> tuple[Sets, list[set[int]], list[int]]:
        """Assignments, neurons, and number at or below the cut, by calling VAPE."""
        found = [vape_of(self.record, of) for of in labelings]
        members = [set(map(tuple, np.argwhere(one.selected_LNV[0]).tolist())) for one in found]
        neurons = [{neuron for neuron, _ in of} for of in members]
        with np.errstate(invalid="ignore"):
            below = [
                int((one.passed_filter_LN & (one.entropy_LN <= self.listing.entropy_cut)).sum())
                for one in found
            ]
        return members, neurons, below


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Setting:
    """The setting; VAPE keeps the thresholds of the real list from then on."""
    return keep_thresholds(Setting(), monkeypatch)


def keep_thresholds(made: Setting, monkeypatch: pytest.MonkeyPatch) -> Setting:
    """Have VAPE keep the thresholds of the setting's list."""
    assert made.found.filter_threshold == made.found.activation_threshold
    monkeypatch.setattr(vape, "quantile", lambda *_: made.found.filter_threshold)
    return made


def jaccard(one: set[object], other: set[object]) -> float:
    """Shared / either."""
    return len(one & other) / len(one | other)


def mean_of_pairs(sets: list[set[object]]) -> float:
    """Mean over the first with the second, the third with the fourth, ..."""
    return float(np.mean([jaccard(*pair) for pair in zip(sets[::2], sets[1::2], strict=True)]))


@pytest.mark.parametrize("blocks", [1, 7])
def test_summary(setting: Setting, blocks: int) -> None:
    _, neurons, below = setting.sets(setting.shuffled)
    half_members, half_neurons, _ = setting.sets(setting.halves)
    by_chance, _, _ = setting.sets(setting.shuffled_halves)
    _, (listed,), _ = setting.sets([setting.own])
    found = setting.null(setting.shuffled, blocks).summary()
    expected = {
        "listed": len(listed),
        "assignments": int(setting.found.selected_LNV.sum()),
        "values_per_neuron": setting.found.selected_LNV.sum() / len(listed),
        "below_cut_mean": np.mean(below),
        "below_cut_95": np.quantile(below, [0.05, 0.95]).tolist(),
        "false_share": min(1, np.mean(below) / len(listed)),
        "noise_overlap": np.mean([jaccard(listed, one) for one in neurons]),
        "shuffled_jaccard": mean_of_pairs(neurons),
        "split_jaccard": mean_of_pairs(half_neurons),
        "split_jaccard_assignments": mean_of_pairs(half_members),
        "split_jaccard_shuffled": mean_of_pairs(by_chance),
    }
    assert set(found) == set(expected)
    for name, number in expected.items():
        assert found[name] == pytest.approx(number, rel=1e-12), name
    assert 0 < found["false_share"] < 1
    assert 0 < found["noise_overlap"] < 1


def test_own_labels_make_the_list_again(setting: Setting) -> None:
    found = setting.null([setting.own] * 4).summary()
    assert found["noise_overlap"] == found["shuffled_jaccard"] == 1
    assert found["below_cut_mean"] == found["listed"] == round(TOP * NEURONS)


def test_entropies_that_hardly_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of millions of tokens: all within 1e-7 of the maximum, and none is like another."""
    setting = keep_thresholds(Setting(tokens=10**8, spread=3e-4), monkeypatch)
    entropy_LN = setting.found.entropy_LN
    assert np.log(VALUES) - entropy_LN.min() < 1e-7
    _, neurons, _ = setting.sets(setting.shuffled)
    found = setting.null(setting.shuffled, blocks=7).summary()
    assert found["shuffled_jaccard"] == pytest.approx(mean_of_pairs(neurons), rel=1e-12)


def test_stability(setting: Setting) -> None:
    members, _, _ = setting.sets(setting.halves)
    found = setting.null(setting.shuffled).stability()
    everything = set().union(*members)
    assert found == {
        neuron * VALUES + value: np.mean([(neuron, value) in of for of in members])
        for neuron, value in everything
    }


def test_histogram(setting: Setting) -> None:
    bars = setting.null(setting.shuffled).histogram()
    assert sum(bars["observed"]) == setting.found.passed_filter_LN.sum()
    passed = [vape_of(setting.record, of).passed_filter_LN.sum() for of in setting.shuffled[:20]]
    assert sum(bars["shuffled"]) == pytest.approx(np.mean(passed))


def test_neurons_that_none_passes_the_filter_in(setting: Setting) -> None:
    """A block of them adds nothing."""
    null = setting.null(setting.shuffled)
    before = null.summary()
    given_NP = setting.record.token_count_P[None].astype(np.float64)
    silent_NP = np.zeros((5, given_NP.shape[1]))
    null.add(null.look(silent_NP, given_NP, np.arange(NEURONS, NEURONS + 5)))
    assert null.summary() == before


def test_precision_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts that single precision holds exactly give the same in double, bit for bit."""
    setting = Setting()
    single = setting.null(setting.shuffled)
    monkeypatch.setattr(vape_null, "EXACT", 1)
    double = setting.null(setting.shuffled)
    assert double.summary() == single.summary()
    assert double.stability() == single.stability()


def test_counts_too_large_for_single_precision() -> None:
    """Neurons that are active on all tokens but one of each dilemma; of the first, on all."""
    setting = Setting()
    listing = replace(setting.listing, filter_threshold=1 - 2**-27)
    null = VapeNull(listing, Labelings(setting.design, setting.shuffled), setting.all_halves)
    given_1P = np.full((1, setting.design.num_clusters), 2.0**25)
    active_NP = np.repeat(given_1P - 1, NEURONS, axis=0)
    active_NP[:, 0] += 1
    found = null.look(active_NP, given_1P, np.arange(NEURONS))
    assert found.number_C1N.shape[-1] == 0, "rounded, each is active on all"
