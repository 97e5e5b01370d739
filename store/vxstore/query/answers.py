"""What the model answered in its own words, intact and ablated, side by side."""

from typing import Any

import numpy as np
import pandas as pd

from vxstore.errors import StoreError
from vxstore.outcome import has_effect
from vxstore.query.lookup import get_attrs, reading, require_known, strings
from vxstore.read import Store

COLUMNS = ("id", "value", "language", "condition", "kind", "mask", "answer")
ANSWER = "answer"


def answers(
    store: Store,
    evaluation: str | None = None,
    *,
    value: str | None = None,
    language: str | None = None,
) -> pd.DataFrame:
    """The answers to each dilemma, under each condition in turn.

    Columns: id, value and language of the dilemma, condition, kind (intact, mask or control), mask
    (the value whose neurons, or whose control draw, were ablated) and answer. A mask and its
    control draw answer the dilemmas of every value; `value` and `language` leave only theirs. None,
    as `evaluation`, is the only one with answers. Raises StoreError if there is no such evaluation,
    value or language, naming the known ones, or it has no answers.
    """
    name = _find(store, evaluation)
    with reading(store, f"evaluation/{name}"):
        found = store.evaluation(name)
        text_CD = found[ANSWER].transpose("condition", "dilemma").values
        of_condition = {n: strings(found[n].values) for n in ("condition", "kind", "mask")}
        of_dilemma = {
            "id": strings(found["dilemma"].values),
            "value": strings(found["value"].values),
            "language": strings(found["dilemma_language"].values),
        }
    for kind, wanted in (("value", value), ("language", language)):
        if wanted is not None:
            require_known(store, kind, wanted, list(dict.fromkeys(of_dilemma[kind])))
    rows: list[dict[str, Any]] = []
    for d in range(text_CD.shape[1]):
        labels = {key: of[d] for key, of in of_dilemma.items()}
        if value in (None, labels["value"]) and language in (None, labels["language"]):
            rows += [
                {**labels, **{key: of[c] for key, of in of_condition.items()}, ANSWER: str(text)}
                for c, text in enumerate(np.asarray(text_CD)[:, d])
            ]
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)


def names_with_answers(store: Store) -> list[str]:
    """The finished evaluations that keep answers."""
    names = store.names("evaluation")
    return [name for name in names if not has_effect(get_attrs(store, f"evaluation/{name}"))]


def _find(store: Store, evaluation: str | None) -> str:
    known = names_with_answers(store)
    have = ", ".join(known) or "none"
    if evaluation is not None and evaluation not in known:
        raise StoreError(
            f"{store.path} has no finished evaluation {evaluation!r} with answers (there: {have})"
        )
    if evaluation is None and len(known) != 1:
        fix = "name one" if known else "run `vxdist evaluate` with evaluate.outcome: answers"
        raise StoreError(f"{store.path} has these evaluations with answers: {have}; {fix}")
    return known[0] if evaluation is None else evaluation
