"""What the null check of a score found: the same rules on shuffled labels, and on settings.

V: value, G: language.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vxstore.claims import LISTED, LISTED_NAME
from vxstore.declared import SELECTED
from vxstore.query import verdict
from vxstore.query.evidence import Evidence, PairFacts, number, read_evidence, read_pairs
from vxstore.query.lookup import Score, open_score
from vxstore.query.ranking import layer_blocks, selections
from vxstore.read import Store

LIST = (
    "listed", "assignments", "values_per_neuron", "assignments_supported", "below_cut_mean",
    "below_cut_low", "below_cut_high", "false_share", "noise_overlap", "split_jaccard",
    "split_jaccard_assignments", "shuffled_jaccard",
)  # fmt: skip
LEVEL = [
    "language", "level", "claim", "assignments", "neurons", "shuffled_mean", "shuffled_most",
    "any_rate", "any_rate_se", "calibrated", "settings",
]  # fmt: skip
SPREAD = ["language", "value", "clusters", "z_sd", "z_sd_stance"]
TOPIC = [
    "language", "clusters", "settings", "values", "excess_at_999", "length_F", "length_p",
]  # fmt: skip
PAIRS = ["pair", "of", "shared", "expected_other", "expected_matched", "p_value"]
STABLE = ["language", "observed", "shuffled"]
SENTENCES: dict[str, tuple[Callable[[Evidence], str], ...]] = {
    "levels": (verdict.found, verdict.shuffled, verdict.absent),
    "list": (verdict.listed,),
    "topic": (verdict.topic, verdict.length, verdict.spread),
    "stability": (verdict.stability,),
}
"""What is said under each table."""


def null(store: Store, *, score: str | None = None) -> dict[str, Any]:
    """What the tests of a score found, and what they find where there is nothing to be found.

    Keys: store, score, fdr, testing (the settings of the tests), untested (by language, the reason
    in words; only of those that were not tested), shuffles (by language; 0: no null was computed),
    sentences (by language and table: what the numbers mean), and tables, with NaN where nothing is
    recorded. `levels`: language, level, claim, assignments (pairs of neuron and value), neurons,
    shuffled_mean and shuffled_most (assignments under shuffled labels), any_rate and any_rate_se
    (the fraction of shuffles that find any), calibrated (in words), settings (what the same test
    finds with settings in the place of values; level 1). `list`, of VAPE: language, listed,
    assignments, values_per_neuron, assignments_supported (by level 1), below_cut_mean, _low, _high
    (neurons below the cut under shuffles: mean, 5 and 95 %), false_share, noise_overlap (Jaccard
    with lists from shuffled labels), split_jaccard, split_jaccard_assignments (of halves of the
    dilemmas) and shuffled_jaccard (of two shuffles). `topic`: language, clusters, settings and
    values (their findings on the same clusters), excess_at_999, length_F, length_p. `spread`:
    language, value, clusters, z_sd, z_sd_stance (1 if only sampling noise). `stability`: language,
    observed, shuffled (Jaccard of the selections of two halves). `languages`, neurons that two
    languages share for equal values: pair, of (selected, or listed by VAPE), shared,
    expected_other (were equal values like different ones), expected_matched (by layer and
    activity), p_value (of permutations of the values); `pair_sentences`, by pair, what they mean.

    Raises StoreError if the store is not complete, has no such score, or its claims are unlawful.
    """
    found = open_score(store, score)
    evidence = read_evidence(found)
    tested = [of for of in evidence if not of.untested]
    testing = found.data.attrs.get("testing")
    pairs = read_pairs(found)
    return {
        "store": store.path,
        "score": found.name,
        "fdr": found.claims.fdr if tested else None,
        "testing": dict(testing) if isinstance(testing, dict) else {},
        "untested": {of.language: of.untested for of in evidence if of.untested},
        "shuffles": {of.language: of.shuffles for of in tested},
        "sentences": {of.language: _sentences(of) for of in evidence},
        "levels": _levels(found, evidence),
        "list": pd.DataFrame([_list(of) for of in tested if of.vape], columns=["language", *LIST]),
        "topic": pd.DataFrame([_topic(of) for of in tested if of.null], columns=TOPIC),
        "spread": pd.DataFrame([row for of in tested for row in _spread(of)], columns=SPREAD),
        "languages": pd.DataFrame([r for of in pairs for r in _shared(of)], columns=PAIRS),
        "pair_sentences": {of.pair: said for of in pairs if (said := verdict.languages(of))},
        "stability": pd.DataFrame([_stability(of) for of in tested if of.null], columns=STABLE),
    }


def _sentences(of: Evidence) -> dict[str, str]:
    if of.untested:
        return {"levels": f"{verdict.untested(of)}."}
    said = {name: " ".join(filter(None, (f(of) for f in fs))) for name, fs in SENTENCES.items()}
    return {name: text for name, text in said.items() if text}


def _count_listed(score: Score) -> NDArray[np.int64]:
    """What is selected in each language: assignments, neurons."""
    count_G2 = np.zeros((len(score.languages), 2), dtype=np.int64)
    for _, block in layer_blocks(score, SELECTED):
        selected_GVLN = selections(block)
        count_G2[:, 0] += selected_GVLN.sum(axis=(1, 2, 3))
        count_G2[:, 1] += selected_GVLN.any(axis=1).sum(axis=(1, 2))
    return count_G2


def _levels(score: Score, evidence: list[Evidence]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for of, (assignments, neurons) in zip(evidence, _count_listed(score).tolist(), strict=True):
        rows.append(
            {
                "language": of.language,
                "level": LISTED,
                "claim": LISTED_NAME,
                "assignments": float(assignments),
                "neurons": float(neurons),
                **dict.fromkeys(LEVEL[5:], math.nan),
                "calibrated": "",
            }
        )
        rows += [
            {
                "language": of.language,
                "level": level.claim.level,
                "claim": level.claim.name,
                "assignments": level.assignments,
                "neurons": level.neurons,
                "shuffled_mean": level.shuffled_mean,
                "shuffled_most": level.shuffled_most,
                "any_rate": level.any_rate,
                "any_rate_se": level.any_rate_se,
                "calibrated": verdict.calibrated(level),
                "settings": number(of.topic, "discoveries") if level.claim.level == 1 else math.nan,
            }
            for level in of.levels
        ]
    return pd.DataFrame(rows, columns=LEVEL)


def _list(of: Evidence) -> dict[str, Any]:
    span = of.vape.get("below_cut_95")
    low, high = span if isinstance(span, list) and len(span) == 2 else (None, None)
    known = {**of.vape, "below_cut_low": low, "below_cut_high": high}
    return {"language": of.language, **{name: number(known, name) for name in LIST}}


def _topic(of: Evidence) -> dict[str, Any]:
    return {
        "language": of.language,
        "clusters": number(of.topic, "clusters"),
        "settings": number(of.topic, "discoveries"),
        "values": number(of.topic, "value_discoveries_same_clusters"),
        "excess_at_999": number(of.topic, "excess_at_999"),
        "length_F": of.length[0],
        "length_p": of.length[1],
    }


def _spread(of: Evidence) -> list[dict[str, Any]]:
    of_value = {name: of.by_value(name) for name in SPREAD[2:]}
    values = dict.fromkeys(value for found in of_value.values() for value in found)
    return [
        {
            "language": of.language,
            "value": value,
            **{name: found.get(value, math.nan) for name, found in of_value.items()},
        }
        for value in values
    ]


def _shared(of: PairFacts) -> list[dict[str, Any]]:
    return [
        {"pair": of.pair, "of": name, **{key: number(facts, key) for key in PAIRS[2:]}}
        for name, facts in (("selected", of.selected), ("listed", of.vape))
        if facts
    ]


def _stability(of: Evidence) -> dict[str, Any]:
    return {
        "language": of.language,
        "observed": number(of.stability, "observed"),
        "shuffled": number(of.stability, "shuffled"),
    }
