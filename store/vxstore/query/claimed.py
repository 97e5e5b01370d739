"""What is claimed of neurons: how many have each claim, and all of the tests' numbers of one.

V: value, G: language.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vxstore.claims import LISTED, LISTED_NAME, ORDER, P_VALUE, Claim, find_levels, has_claim
from vxstore.declared import BY_LANGUAGE, SELECTED
from vxstore.errors import StoreError
from vxstore.query.evidence import read_evidence
from vxstore.query.lookup import Score, open_score, reading, require_known
from vxstore.query.ranking import column, layer_blocks, selections
from vxstore.read import Store

T_VALUE = "t_value"
BESIDE = ("auc", "stability")
"""Arrays that say more of a neuron and a value, if the score has them."""


def claimed(
    store: Store,
    *,
    value: str | None = None,
    language: str | None = None,
    score: str | None = None,
) -> pd.DataFrame:
    """How many neurons have each claim; level 0, `listed`, is being selected.

    `language` is a recorded language or `pooled`; None is every recorded one, `value` None is all.
    `score` None is `vxstore.query.default_score`. Columns language, level, claim (its name),
    assignments (pairs of a neuron and a value that have it) and neurons (that have it for any
    value). A neuron may have a claim and not be selected. A score without tests has level 0 only.

    Raises StoreError if the store is not complete, or, naming the known ones, if there is no such
    score, value or language.
    """
    found = open_score(store, score)
    if value is not None:
        require_known(store, "value", value, found.values)
    if language is not None:
        require_known(store, "language", language, found.languages)
    wanted = found.recorded if language is None else [language]
    at_V = list(range(len(found.values))) if value is None else [found.values.index(value)]
    language_G = [found.languages.index(name) for name in wanted]
    names = {claim.level: claim.name for claim in found.claims.claims}
    count_G2 = _count(found, language_G, at_V)
    return pd.DataFrame(
        [
            {
                "language": name,
                "level": level,
                "claim": names.get(level, LISTED_NAME),
                "assignments": int(of_level_G2[g, 0]),
                "neurons": int(of_level_G2[g, 1]),
            }
            for g, name in enumerate(wanted)
            for level, of_level_G2 in count_G2.items()
        ]
    )


def _count(
    score: Score, language_G: Sequence[int], at_V: Sequence[int]
) -> dict[int, NDArray[np.int64]]:
    """By level, the assignments and the neurons that have it: (language, 2)."""
    claims = score.claims
    levels = (LISTED, *(claim.level for claim in claims.claims))
    count_G2 = {level: np.zeros((len(language_G), 2), dtype=np.int64) for level in levels}
    for _, whole in layer_blocks(score, *claims.arrays, SELECTED):
        block = whole.isel(language=language_G)
        having = {claim.level: has_claim(block, claim, claims.fdr) for claim in claims.claims}
        for level, has_GVLN in {LISTED: selections(block), **having}.items():
            count_G2[level][:, 0] += has_GVLN[:, at_V].sum(axis=(1, 2, 3))
            count_G2[level][:, 1] += has_GVLN[:, at_V].any(axis=1).sum(axis=(1, 2))
    return count_G2


def require_claim(score: Score, level: int) -> Claim:
    """The claim of a level. Raises StoreError if the score has none such, saying what to do."""
    claims = score.claims
    for claim in claims.claims:
        if claim.level == level:
            return claim
    name = f"{score.store.path}: the score {score.name}"
    if claims.claims:
        known = ", ".join(claims.title(n) for n in (LISTED, *(c.level for c in claims.claims)))
        raise StoreError(f"{name} has no level {level}; there are {known}")
    reasons: dict[str, list[str]] = {}
    for of in read_evidence(score):
        reasons.setdefault(of.untested, []).append(of.language)
    why = "; ".join(f"{reason} ({', '.join(of)})" for reason, of in reasons.items() if reason)
    if len(reasons) == 1:
        why = next(iter(reasons))
    raise StoreError(f"{name} is not tested, so nothing is claimed of its neurons: {why}")


def level_columns(score: Score, level: int = LISTED) -> list[str]:
    """Arrays of p and q that are shown beside a level: of the lowest claim, and of this one.

    Without the one that ranks, which is shown anyway.
    """
    claims = score.claims.claims
    if not claims:
        return []
    names = [P_VALUE] if score.has(P_VALUE) else []
    names += [claim.array for claim in claims if claim.level in (claims[0].level, level)]
    return [name for name in dict.fromkeys(names) if name != score.ranking.array]


def claim_tables(score: Score, layer: int, neuron: int) -> dict[str, pd.DataFrame]:
    """The tests' numbers of one neuron, as `query.neuron` says: `claims` and `rivals`."""
    claims = score.claims
    by_value = [name for name in (T_VALUE, P_VALUE) if score.has(name)]
    by_value += [*claims.arrays, *(name for name in BESIDE if score.has(name))]
    by_language = [name for name in ("q_omnibus",) if score.has(name, BY_LANGUAGE)]
    rivals = ["rival"] if score.has("rival", BY_LANGUAGE, "i") else []
    names = [*dict.fromkeys(by_value)] if claims.claims else []
    with reading(score.store, f"{', '.join([*names, *by_language, *rivals])} or {SELECTED}"):
        cell = score.data[[*names, *by_language, *rivals, SELECTED]]
        cell = cell.isel(layer=[layer], neuron=[neuron]).load()
    level_GV = find_levels(cell, claims)[..., 0, 0]
    table = _by_value(score, level_GV, claims.name)
    for name in names:
        table[column(name)] = cell[name].transpose(*ORDER).values.reshape(-1).astype(np.float64)
    if not claims.claims:
        return {"claims": table}
    of_language: dict[str, Any] = {"language": np.array(score.languages, dtype=object)}
    for name in by_language:
        of_language[name] = cell[name].values.reshape(-1).astype(np.float64)
    for name in rivals:
        at_G = cell[name].values.reshape(-1).tolist()
        known = [score.values[v] if 0 <= v < len(score.values) else None for v in at_G]
        of_language[name] = pd.Series(known, dtype=object)
    return {"claims": table, "rivals": pd.DataFrame(of_language)}


def _by_value(score: Score, level_GV: Any, name: Any) -> pd.DataFrame:
    values, languages = score.values, score.languages
    levels = level_GV.reshape(-1).astype(np.int64)
    return pd.DataFrame(
        {
            "language": np.repeat(np.array(languages, dtype=object), len(values)),
            "value": np.tile(np.array(values, dtype=object), len(languages)),
            "level": levels,
            "claim": pd.Series([name(level) for level in levels.tolist()], dtype=object),
        }
    )
