"""Testing a whole store, and saying what was found: the attributes of a score.

V: value, K: one (neuron, value).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from vxdist.errors import UserError
from vxdist.reduce.clusters import Compared, LanguageParts, Pair, compare_clusters, read_parts
from vxdist.reduce.language_tests import LanguageTests
from vxdist.reduce.languages import LanguageFindings
from vxdist.reduce.results import TestResults
from vxdist.reduce.selectors import Selection, Selector
from vxdist.reduce.testing import CLAIMS, Testing, describe_claims, known
from vxdist.reduce.tests import Arrays, Tests, read_language, write_layers
from vxdist.reduce.vape_null import Listing
from vxdist.stats.stability import assignments, mean_jaccard
from vxstore.read import Store
from vxstore.schema import POOLED


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a store's record says of its clusters, in each language and pooled."""

    record: xr.Dataset
    parts: Sequence[LanguageParts]
    compared: Sequence[Compared]
    pairs: Sequence[Pair]
    values: Sequence[str]
    num_neurons: int

    @classmethod
    def of(cls, store: Store, root: xr.Dataset, testing: Testing) -> "Reading":
        """Read the labels. Raises UserError as `compare_clusters` does."""
        record = store.record()
        values = [str(label) for label in root.value.values]
        languages = [str(label) for label in root.language.values]
        parts = [read_parts(record, values, language) for language in languages]
        compared, pairs = compare_clusters(record, parts, values, testing.adjust)
        return cls(
            record=record,
            parts=parts,
            compared=compared,
            pairs=pairs,
            values=values,
            num_neurons=root.sizes["layer"] * root.sizes["neuron"],
        )

    @property
    def testable(self) -> bool:
        """Whether any language can be tested."""
        return any(of.untested is None for of in self.compared)

    @property
    def untested(self) -> dict[str, Any]:
        """Attributes of a score that could not be tested."""
        return {"tests": {of.language: {"untested": of.untested} for of in self.compared}}

    def check(self, selector: Selector) -> None:
        """Raise UserError if the selector needs tests that no language has."""
        for name in getattr(selector, "needs_tests", ()):
            reasons = [of.untested or of.absent.get(name) for of in self.compared]
            if all(reasons):
                raise UserError(
                    f"reduce.selector: it selects by {name}, which cannot be tested: {reasons[0]}; "
                    "record more dilemmas, or set reduce.selector: vape"
                )


@dataclass(frozen=True, kw_only=True)
class Tested:
    """The tests of all languages, made; `languages` by position among the labels."""

    languages: Mapping[int, LanguageTests]
    listings: Mapping[int, Listing | None]
    compared: Sequence[Compared]
    results: Mapping[str, TestResults]
    interactions: Sequence[NDArray[np.float32]]
    values: Sequence[str]
    testing: Testing

    def findings(
        self, selections: Sequence[Selection], arrays: Arrays
    ) -> dict[int, LanguageFindings]:
        """What was found in each language that was tested, but not pooled, by position."""
        found = {}
        for g, of in self.languages.items():
            if of.compared.language == POOLED:
                continue
            selected_LNV = selections[g].selected_LNV
            listing = self.listings[g]
            listed_LNV = np.zeros_like(selected_LNV)
            if listing is not None:
                listed_LNV.reshape(-1)[listing.assignment_K] = True
            found[g] = LanguageFindings(
                p_LNV=read_language(arrays["p_value"], g),
                q_LNV=read_language(arrays["q_value"], g),
                selected_LNV=selected_LNV,
                listed_LNV=listed_LNV,
            )
        return found

    def conclude(self, selections: Sequence[Selection], arrays: Arrays) -> dict[str, Any]:
        """Write what depends on the selection, and return the attributes of the score."""
        tests: dict[str, Any] = {}
        null: dict[str, Any] = {}
        stability = np.full(arrays["stability"].shape, np.nan, dtype=np.float32)
        for g, compared in enumerate(self.compared):
            name = compared.language
            if g not in self.languages:
                tests[name] = {"untested": compared.untested}
                continue
            of = self.languages[g]
            tests[name] = _describe_tests(of, arrays, g, self.values)
            shares, alike = _stability(of, selections[g])
            if shares is not None:
                stability[..., g] = _spread_out(shares, stability.shape[:-1])
            if self.testing.shuffles:
                null[name] = {
                    **_describe_null(of, tests[name]),
                    "vape": _describe_list(of, self.listings[g], arrays, g),
                    "stability": alike,
                }
        write_layers(arrays["stability"], stability)
        return {**describe_claims(self.testing.fdr), "tests": tests, "null": null}


def run_tests(
    reading: Reading,
    selector: Selector,
    lists: Sequence[Selection],
    arrays: Arrays,
    testing: Testing,
    threads: int | None,
    advance: Callable[[int], object],
) -> Tested:
    """Test every neuron in every language that can be, into `arrays`.

    `lists` are the VAPE lists of the languages, pooled last.
    """
    values = arrays["p_value"].shape[2]
    most = getattr(selector, "most", None)
    languages, listings = {}, {}
    for g, (compared, listed) in enumerate(zip(reading.compared, lists, strict=True)):
        if compared.untested is not None:
            continue
        listings[g] = Listing.of(listed, values)
        languages[g] = LanguageTests(
            compared,
            testing,
            num_neurons=reading.num_neurons,
            rule=getattr(selector, "rule", None),
            most=1 if most is None else most(reading.num_neurons, values),
            listing=listings[g],
        )
    tests = Tests(reading.record, reading.parts, languages, reading.pairs, arrays)
    tests.run(threads, advance)
    results = {
        of.compared.language: TestResults(arrays=arrays, language=g, fdr=testing.fdr)
        for g, of in languages.items()
    }
    return Tested(
        languages=languages,
        listings=listings,
        compared=reading.compared,
        results=results,
        interactions=tests.interactions,
        values=reading.values,
        testing=testing,
    )


def _describe_tests(
    of: LanguageTests, arrays: Arrays, g: int, values: Sequence[str]
) -> dict[str, Any]:
    """What was compared in a language, and how much was found at each level."""
    compared, design = of.compared, of.design
    found, made = {}, {}
    for level, _, name in CLAIMS:
        if level in of.levels:
            q_LNV = read_language(arrays[name], g)
            claimed_LNV = q_LNV <= of.settings.fdr
            found[str(level)] = {
                "assignments": int(claimed_LNV.sum()),
                "neurons": int(claimed_LNV.any(axis=-1).sum()),
            }
            made[str(level)] = int(np.count_nonzero(~np.isnan(q_LNV)))
    length_f, length_p = compared.length_test()
    stance_sd = {}
    if compared.stance is not None:
        t_LNV = read_language(arrays["t_stance"], g)
        stance_sd = robust_sd(t_LNV, compared.stance.degrees, values)
    return {
        "untested": None,
        "clusters": dict(zip(values, design.counts_V.tolist(), strict=True)),
        "degrees": design.degrees,
        "absent": dict(compared.absent),
        "values_untested": {
            values[v]: "reduce.adjust leaves nothing of it" for v in design.explained
        },
        "tested": made,
        "found": found,
        "z_sd": robust_sd(read_language(arrays["t_value"], g), design.degrees, values),
        "z_sd_stance": stance_sd,
        "length": {"F": known(length_f), "p": known(length_p)},
    }


def _describe_null(of: LanguageTests, about: Mapping[str, Any]) -> dict[str, Any]:
    """What the same rules find under shuffled labels; `about` is of `_describe_tests`."""
    levels = {
        str(level): tally.summary(about["tested"][str(level)], of.settings.fdr)
        for level, tally in of.tallies.items()
    }
    first, topic = levels["1"], of.topic()
    histograms = {"t": of.t_histogram()}
    if of.vape is not None:
        histograms["entropy"] = of.vape.histogram()
    return {
        "shuffles": of.settings.shuffles,
        "any_rate": first["any_rate"],
        "any_rate_se": first["any_rate_se"],
        "mean_selected": first["mean_selected"],
        "levels": levels,
        "topic": topic,
        **({} if topic else {"topic_absent": "no two settings have enough recorded dilemmas"}),
        "z_sd": about["z_sd"],
        "length_F": about["length"]["F"],
        "length_p": about["length"]["p"],
        "histograms": histograms,
    }


def _describe_list(
    of: LanguageTests, listing: Listing | None, arrays: Arrays, g: int
) -> dict[str, Any] | None:
    """What the null says of VAPE's list; None if it is empty."""
    if of.vape is None or listing is None:
        return None
    q = read_language(arrays["q_value"], g).reshape(-1)[listing.assignment_K]
    supported = int((q <= of.settings.fdr).sum())
    return {**of.vape.summary(), "assignments_supported": supported}


def _stability(
    of: LanguageTests, selection: Selection
) -> tuple[Mapping[int, float] | None, dict[str, Any] | None]:
    """Share of half-samples by assignment (neuron x V + value); and how alike halves are, with the
    real labels and with shuffled ones. None where the selector has no rule that is known."""
    if of.lists_vape and of.vape is not None:
        about = of.vape.summary()
        observed, by_chance = about["split_jaccard_assignments"], about["split_jaccard_shuffled"]
        shares = of.vape.stability() if of.num_halves else None
        return shares, {"observed": observed, "shuffled": by_chance}
    if of.rule is None or not of.num_halves:
        return None, None
    size_V = selection.selected_LNV.sum(axis=(0, 1))
    chosen = assignments(of.leaders.first(size_V))
    real, shuffled = chosen[: of.num_halves], chosen[of.num_halves :]
    code_K, count_K = np.unique(np.concatenate(real), return_counts=True)
    shares = dict(zip(code_K.tolist(), (count_K / of.num_halves).tolist(), strict=True))
    return shares, {
        "observed": known(mean_jaccard(real)),
        "shuffled": known(mean_jaccard(shuffled)),
    }


def _spread_out(shares: Mapping[int, float], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Shares by code as an array (layer, neuron, value); 0 for all others."""
    whole = np.zeros(int(np.prod(shape)), dtype=np.float32)
    whole[np.fromiter(shares, dtype=np.int64)] = list(shares.values())
    return whole.reshape(shape)


def robust_sd(
    t_LNV: NDArray[np.float32], degrees: int, values: Sequence[str]
) -> dict[str, float | None]:
    """Spread, over neurons, of each value's t as z: interquartile range / 1.349.

    1 if only sampling varies; above, values differ as topics do.
    """
    found = {}
    for v, value in enumerate(values):
        t_K = t_LNV[..., v][~np.isnan(t_LNV[..., v])]
        quartiles = np.quantile(t_K, [0.25, 0.75]) if t_K.size else [np.nan, np.nan]
        low, high = stats.norm.isf(stats.t.sf(quartiles, degrees))
        found[value] = known(float(high - low) / 1.349)
    return found
