"""Testing a whole store: every language by itself, pooled, and between languages.

V: value.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from vxdist.reduce.clusters import Compared, Pair
from vxdist.reduce.conclude import (
    describe_list,
    describe_null,
    describe_tests,
    find_stability,
    spread_out,
)
from vxdist.reduce.language_tests import LanguageTests
from vxdist.reduce.languages import LanguageFindings, write_languages
from vxdist.reduce.reading import Reading
from vxdist.reduce.results import TestResults
from vxdist.reduce.selectors import Selection, Selector
from vxdist.reduce.testing import Testing, describe_claims
from vxdist.reduce.tests import Arrays, Tests, read_language, write_language
from vxdist.reduce.vape_null import Listing
from vxstore.schema import POOLED


@dataclass(frozen=True, kw_only=True)
class Tested:
    """The tests of all languages, made; `languages` by position among the labels."""

    languages: Mapping[int, LanguageTests]
    listings: Sequence[Listing | None]
    arrays: Arrays
    pairs: Sequence[Pair]
    compared: Sequence[Compared]
    results: Mapping[str, TestResults]
    interaction_LNVR: NDArray[np.float32]
    values: Sequence[str]
    testing: Testing

    def compare_languages(
        self,
        path: str,
        group: str,
        selections: Sequence[Selection],
        activity_LN: NDArray[np.float64],
        exists_LN: NDArray[np.bool_],
        labels: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Write what languages share into `group`/languages; returns attributes of the score."""
        if not self.pairs:
            return {}
        findings = self._findings(selections)
        about = write_languages(
            path,
            f"{group}/languages",
            self.pairs,
            self.interaction_LNVR,
            findings,
            activity_LN,
            exists_LN,
            labels,
            self.testing,
        )
        return {"languages": about}

    def _findings(self, selections: Sequence[Selection]) -> dict[int, LanguageFindings]:
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
                read_p=partial(_read_layer, self.arrays["p_value"], g),
                differs_LNV=read_language(self.arrays["q_value"], g) <= self.testing.fdr,
                selected_LNV=selected_LNV,
                listed_LNV=listed_LNV,
            )
        return found

    def conclude(self, selections: Sequence[Selection]) -> dict[str, Any]:
        """Write what depends on the selection, and return the attributes of the score.

        Can be called once: what the null holds is freed.
        """
        tests: dict[str, Any] = {}
        null: dict[str, Any] = {}
        arrays = self.arrays
        for g, compared in enumerate(self.compared):
            name = compared.language
            if g not in self.languages:
                tests[name] = {"untested": compared.untested}
                continue
            of = self.languages[g]
            tests[name] = describe_tests(of, arrays, g, self.values)
            listed = describe_list(of, self.listings[g], arrays, g)
            shares, alike = find_stability(of, selections[g], listed)
            if shares is not None:
                shape_LNV = arrays["stability"].shape[:-1]
                write_language(arrays["stability"], g, spread_out(shares, shape_LNV))
            if self.testing.shuffles:
                null[name] = {
                    **describe_null(of, tests[name]),
                    "vape": listed,
                    "stability": alike,
                }
            of.forget()
        return {**describe_claims(self.testing.fdr), "tests": tests, "null": null}


def _read_layer(array: zarr.Array[Any], g: int, layer: int) -> NDArray[np.float32]:
    """One layer and language of an array."""
    return np.asarray(array[layer])[..., g]


def run_tests(
    reading: Reading,
    selector: Selector,
    listings: Sequence[Listing | None],
    arrays: Arrays,
    testing: Testing,
    threads: int | None,
    advance: Callable[[int], object],
) -> Tested:
    """Test every neuron in every language that can be, into `arrays`.

    `listings` are the VAPE lists of the languages, pooled last.
    """
    values = arrays["p_value"].shape[2]
    most = getattr(selector, "most", None)
    languages = {}
    for g, (compared, listing) in enumerate(zip(reading.compared, listings, strict=True)):
        if compared.untested is not None:
            continue
        languages[g] = LanguageTests(
            compared,
            testing,
            num_neurons=reading.num_neurons,
            rule=getattr(selector, "rule", None),
            most=1 if most is None else most(reading.num_neurons, values),
            listing=listing,
        )
    tests = Tests(reading.record, reading.parts, languages, reading.pairs, arrays, reading.blocks)
    tests.run(threads, advance)
    results = {
        of.compared.language: TestResults(arrays=arrays, language=g, fdr=testing.fdr)
        for g, of in languages.items()
    }
    return Tested(
        languages=languages,
        listings=listings,
        arrays=arrays,
        pairs=reading.pairs,
        compared=reading.compared,
        results=results,
        interaction_LNVR=tests.interaction_LNVR,
        values=reading.values,
        testing=testing,
    )
