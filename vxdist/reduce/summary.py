"""What the tests found in a language, in lines for the terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from vxdist.reduce.testing import CLAIMS


def summary_lines(language: str, attrs: Mapping[str, Any]) -> Iterator[str]:
    """What can be claimed, and what the same rules find under shuffled labels."""
    tests = attrs.get("tests", {}).get(language, {})
    if reason := tests.get("untested"):
        yield f"not tested: {reason}"
        return
    found = tests.get("found", {})
    claims = [
        f"{found[str(level)]['assignments']:,} {name}"
        for level, name, _ in CLAIMS
        if str(level) in found
    ]
    yield f"(neuron, value) at an FDR of {attrs['fdr']:g}: {', '.join(claims)}"
    for value, why in tests.get("values_untested", {}).items():
        yield f"{value} is not tested: {why}"
    null = attrs.get("null", {}).get(language)
    if null is None:
        yield "no null was computed"
        return
    rates = [
        f"{name} {levels['any_rate']:.0%}"
        for level, name, _ in CLAIMS
        if (levels := null["levels"].get(str(level)))
    ]
    yield f"found anything in {null['shuffles']} shuffles of the labels: {', '.join(rates)}"
    for level, name, _ in CLAIMS:
        if not null["levels"].get(str(level), {"calibrated": True})["calibrated"]:
            yield f"warning: {name} is found too often under shuffled labels; q is p of the max"
    if listed := null.get("vape"):
        yield (
            f"VAPE's list: {listed['assignments_supported']:,} of {listed['assignments']:,} "
            f"(neuron, value) differ; {listed['false_share']:.0%} of its neurons would be listed "
            "under shuffled labels"
        )
