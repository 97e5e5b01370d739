"""All tests of one language, or of all pooled: made of one block of neurons after the other.

N: neuron, P: cluster, V: value, C: labeling, K: one (neuron, value) of a shuffle.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vxdist.reduce.clusters import Compared
from vxdist.reduce.testing import CLAIMS, Testing
from vxdist.reduce.vape_null import Listing, VapeNull, VapeTile
from vxdist.stats import labelings
from vxdist.stats.contrasts import contrast, one_against_rest, upper_tail
from vxdist.stats.gathered import Gathered
from vxdist.stats.multiplicity import bh_count
from vxdist.stats.null import Found, Tally, new_tallies, shuffled_stance, shuffled_values
from vxdist.stats.stability import RULES, Leaders, rank_in_halves
from vxdist.stats.tested import Scored, score, test, test_stance

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

T_EDGES = np.linspace(-8, 8, 33)
"""Edges of the histogram of t; the outermost bins hold all beyond."""
DRAWN = 5
"""Shuffles behind the histogram."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What one language knows of a block of neurons, by cluster.

    `x_NP` are rates (or sums of scores, pooled), `difference_NP` between stances, of the clusters
    told in both; counts and tokens given (first dimension 1 if the same of all) are for VAPE.
    """

    x_NP: Floats
    difference_NP: Floats | None
    active_NP: Floats
    given_NP: Floats
    alive_N: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What the tests find in a block of neurons: arrays to store, and what the null adds."""

    arrays: Mapping[str, NDArray[Any]]
    scored: Scored
    stance_scored: Scored | None
    found: list[Found]
    halves_CVN: NDArray[np.float32] | None
    topic_p: Mapping[str, NDArray[np.float32]]
    topic_tests: Mapping[str, int]
    t_bars_2: Floats
    vape: VapeTile | None


class LanguageTests:
    """The tests of one language. `look` is pure and may run in threads; `add` takes results in."""

    def __init__(
        self,
        compared: Compared,
        settings: Testing,
        *,
        num_neurons: int,
        rule: str | None,
        most: int,
        listing: Listing | None,
    ) -> None:
        assert compared.design is not None
        self.compared, self.design, self.settings = compared, compared.design, settings
        self.rule = rule if rule in RULES else None
        self.lists_vape = rule == "vape"
        rng = np.random.default_rng([settings.seed, *compared.language.encode()])
        values, shuffles = self.design.num_labels, settings.shuffles
        self._shuffles = labelings.shuffles(self.design, shuffles, rng)
        self._drawn = labelings.Labelings(self.design, self._shuffles.each[:DRAWN])
        halves = labelings.halves(self.design, settings.halves, rng)
        self.vape = None
        if listing is not None and shuffles:
            self.vape = VapeNull(listing, self._shuffles, halves)
        self._stance_shuffles = None
        if compared.stance is not None:
            self._stance_shuffles = labelings.shuffles(compared.stance, shuffles, rng)
            if rule == "stance":
                halves = labelings.halves(compared.stance, settings.halves, rng)
        self._halves = halves
        self.leaders = Leaders(len(halves.each), values, most)
        self.levels = tuple(level for level, _, name in CLAIMS if name not in compared.absent)
        self.tallies: dict[int, Tally] = new_tallies(
            self.levels if shuffles else (), shuffles, num_neurons * values, settings.fdr
        )
        self._topic_p = {name: Gathered(np.float32) for name in ("setting", "value")}
        self._topic_tests = dict.fromkeys(self._topic_p, 0)
        self._t_bars_2 = np.zeros((2, len(T_EDGES) - 1))

    def look(self, rates: Rates, neuron_N: Integers) -> Looked:
        """Test a block of neurons, and see what they do under other labels."""
        scored = score(rates.x_NP, self.design)
        tested = test(scored, self.design)
        arrays: dict[str, NDArray[Any]] = {
            "t_value": tested.t_NV,
            "p_value": tested.p_NV,
            "auc": tested.auc_NV,
            "q_beyond": tested.p_beyond_NV,
            "q_exclusive": tested.p_exclusive_NV,
            "q_omnibus": tested.p_omnibus_N,
            "rival": tested.rival_N.astype(np.int32),
        }
        stance = self._look_at_stance(rates, arrays)
        able_N = rates.alive_N & scored.known_N
        topic_p, topic_tests = self._look_at_topics(rates, able_N)
        for name, array in arrays.items():
            array[~rates.alive_N] = -1 if name == "rival" else np.nan
        z_NP = scored.z_NP[able_N]
        ranked_NP = z_NP
        if self.rule == "stance":
            ranked_NP = np.empty((0, 0)) if stance is None else stance.z_NP[able_N]
        return Looked(
            arrays=arrays,
            scored=scored,
            stance_scored=stance,
            found=self._under_shuffles(z_NP, None if stance is None else stance.z_NP[able_N]),
            halves_CVN=self._in_halves(ranked_NP, able_N),
            topic_p=topic_p,
            topic_tests=topic_tests,
            t_bars_2=self._t_bars(z_NP, tested.t_NV[able_N]),
            vape=None
            if self.vape is None
            else self.vape.look(rates.active_NP, rates.given_NP, neuron_N),
        )

    def _look_at_stance(self, rates: Rates, arrays: dict[str, NDArray[Any]]) -> Scored | None:
        design = self.compared.stance
        if design is None or rates.difference_NP is None:
            arrays["q_stance"] = np.full_like(arrays["p_value"], np.nan)
            arrays["t_stance"] = np.full_like(arrays["p_value"], np.nan)
            return None
        scored = score(rates.difference_NP, design)
        t_NV, p_NV = test_stance(scored.z_NP, design)
        t_NV[~scored.known_N] = p_NV[~scored.known_N] = np.nan
        arrays["t_stance"], arrays["q_stance"] = t_NV, p_NV
        return scored

    def _look_at_topics(
        self, rates: Rates, able_N: NDArray[np.bool_]
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, int]]:
        """p of settings, and of values on the same clusters, as far as they may be rejected."""
        topic = self.compared.topic
        if topic is None:
            return {}, {}
        # Both designs have the same clusters and confounds, and so the same scores.
        z_NP = score(rates.x_NP[able_N][:, topic.cluster_P], topic.by_value).z_NP
        kept, tests = {}, {}
        for name, design in (("setting", topic.by_setting), ("value", topic.by_value)):
            t_NV = contrast(z_NP, design)
            t = t_NV[t_NV > stats.t.isf(self.settings.fdr, design.degrees)]
            kept[name] = upper_tail(t, design.degrees).astype(np.float32)
            tests[name] = int(np.count_nonzero(~np.isnan(t_NV)))
        return kept, tests

    def _under_shuffles(self, z_NP: Floats, stance_NP: Floats | None) -> list[Found]:
        if not self.tallies:
            return []
        found = list(shuffled_values(z_NP, self._shuffles, self.tallies[1].cut))
        if stance_NP is not None and self._stance_shuffles is not None and 4 in self.tallies:
            found += shuffled_stance(stance_NP, self._stance_shuffles, self.tallies[4].cut)
        return found

    def _in_halves(self, z_NP: Floats, able_N: NDArray[np.bool_]) -> NDArray[np.float32] | None:
        if self.rule is None or not self._halves.each or not z_NP.size:
            return None
        number_CVN = rank_in_halves(z_NP, self._halves, self.rule)
        whole_CVN = np.full((*number_CVN.shape[:2], len(able_N)), -np.inf, dtype=np.float32)
        whole_CVN[..., able_N] = number_CVN
        return whole_CVN

    def _t_bars(self, z_NP: Floats, t_NV: Floats) -> Floats:
        """Histograms of t, observed and in the first shuffles."""
        found = [t_NV]
        for block in self._drawn.blocks:
            sum_CNV = block.sums(z_NP.T).swapaxes(1, 2)
            found.append(one_against_rest(sum_CNV, block.spread_CV[:, None], self.design))
        inner = T_EDGES[-1] - 1e-9
        bars_2 = np.zeros((2, len(T_EDGES) - 1))
        for n, t in enumerate(found):
            kept = np.clip(t[~np.isnan(t)], -inner, inner)
            bars_2[n] = np.histogram(kept, bars_2.shape[1], (T_EDGES[0], T_EDGES[-1]))[0]
        return bars_2

    def add(self, looked: Looked, neuron_N: Integers) -> None:
        """Take in what was found in a block of neurons."""
        for found in looked.found:
            for level, (shuffle_K, p_K) in found.items():
                if level in self.tallies:
                    self.tallies[level].add(shuffle_K, p_K)
        for name, p in looked.topic_p.items():
            self._topic_p[name].add(p)
            self._topic_tests[name] += looked.topic_tests[name]
        self._t_bars_2 += looked.t_bars_2
        if looked.halves_CVN is not None:
            self.leaders.add(looked.halves_CVN, neuron_N)
        if self.vape is not None and looked.vape is not None:
            self.vape.add(looked.vape)

    def forget(self) -> None:
        """Free what the null holds, of which there is much, once it is said."""
        self.vape, self.leaders = None, Leaders(0, 0, 0)
        self.tallies.clear()

    def topic(self) -> dict[str, Any] | None:
        """How often settings are told apart, and values on the same clusters; None if not known."""
        if self.compared.topic is None:
            return None
        p = {name: np.sort(kept.all) for name, kept in self._topic_p.items()}
        found = {name: bh_count(p[name], self._topic_tests[name], self.settings.fdr) for name in p}
        top = max(1, round(0.001 * self._topic_tests["setting"]))
        edge = p["setting"][top - 1] if top <= p["setting"].size else np.nan
        beyond = float((p["value"] < edge).sum() / max(1, self._topic_tests["value"]) / 0.001)
        return {
            "labels": self.compared.topic.labels,
            "clusters": len(self.compared.topic.cluster_P),
            "discoveries": found["setting"],
            "value_discoveries_same_clusters": found["value"],
            "excess_at_999": None if np.isnan(edge) else beyond,
        }

    def t_histogram(self) -> dict[str, list[float]]:
        """t of one value against the rest, observed and in the mean shuffle."""
        drawn = max(1, min(DRAWN, self.settings.shuffles))
        return {
            "edges": T_EDGES.tolist(),
            "observed": self._t_bars_2[0].tolist(),
            "shuffled": (self._t_bars_2[1] / drawn).tolist(),
        }

    @property
    def num_halves(self) -> int:
        """Half-samples with the real labels, the first of `leaders`."""
        return len(self._halves.each) // 2
