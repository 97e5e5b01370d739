"""What was measured of single dilemmas, and which of them a mask flipped.

C: condition, D: dilemma.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vxstore.errors import StoreError
from vxstore.outcome import averaged, describe_outcome
from vxstore.query.lookup import (
    default_evaluation,
    pick,
    reading,
    require_effect,
    require_known,
    strings,
)
from vxstore.read import Store
from vxstore.text import name_binary

LARGEST = 1 << 30
"""Bytes of the file of dilemmas."""
FILE = "evaluation.jsonl"
OPTIONS = ("aligned", "violating")
TEXTS = ("dilemma", *OPTIONS)
"""Texts of a dilemma, as the corpus has them."""


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """An evaluation: the array whose change is the effect, one number a dilemma, and labels."""

    measure: str
    boundary: float | None
    number_CD: NDArray[np.float64]
    of_condition: Mapping[str, list[str]]
    """Labels of the conditions: condition, kind, mask."""
    of_dilemma: Mapping[str, list[str]]
    """Labels of the dilemmas: id, value, language."""

    def conditions(self, kind: str) -> list[int]:
        """The conditions of one kind."""
        return [c for c, found in enumerate(self.of_condition["kind"]) if found == kind]

    def known(self, label: str) -> list[str]:
        """Each value or language of the dilemmas once, in order."""
        return list(dict.fromkeys(self.of_dilemma[label]))


def flips(
    store: Store,
    evaluation: str | None = None,
    *,
    value: str | None = None,
    mask: str | None = None,
    language: str | None = None,
    own: bool = False,
    texts: Mapping[str, Mapping[str, str]] | None = None,
) -> pd.DataFrame:
    """The dilemmas on which the model decides otherwise with a mask on than intact.

    Columns: mask, value, language, id (of the dilemma), before and after (what the evaluation
    measured, averaged to one number; they are on different sides of its decision boundary), and
    dilemma, aligned and violating, their texts as `read_dilemmas` returns them: None for an id
    that is not among `texts`, or has another value or language there. Empty if the outcome has
    no decision boundary. Filters, and what is raised, are those of `effects`.
    """
    scored = _open(store, evaluation)
    masks = {scored.of_condition["mask"][c]: c for c in scored.conditions("mask")}
    known = {"mask": list(masks), "value": scored.known("value")}
    known["language"] = scored.known("language")
    for kind, wanted in (("mask", mask), ("value", value), ("language", language)):
        if wanted is not None:
            require_known(store, kind, wanted, known[kind])
    rows = [
        {"mask": name, **labels, "before": before, "after": after, **_pick_texts(texts, labels)}
        for name, c in masks.items()
        if mask in (None, name)
        for labels, before, after in _flipped(scored, c)
        if value in (None, labels["value"]) and language in (None, labels["language"])
        if not own or labels["value"] == name
    ]
    names = ("mask", "value", "language", "id", "before", "after", *TEXTS)
    # As objects: a column of strings would have NaN in place of None.
    found = pd.DataFrame(rows, columns=list(names), dtype=object)
    return found.astype({"before": "float64", "after": "float64"})


def _flipped(scored: _Scored, condition: int) -> Iterator[tuple[dict[str, str], float, float]]:
    """Labels of each dilemma that a condition flips, and its numbers before and after."""
    if scored.boundary is None:
        return
    before_D, after_D = (scored.number_CD[c] for c in (*scored.conditions("intact"), condition))
    for d in np.flatnonzero((before_D > scored.boundary) != (after_D > scored.boundary)):
        labels = {name: of_all[d] for name, of_all in scored.of_dilemma.items()}
        yield labels, float(before_D[d]), float(after_D[d])


def _pick_texts(
    texts: Mapping[str, Mapping[str, str]] | None, labels: Mapping[str, str]
) -> dict[str, str | None]:
    found = (texts or {}).get(labels["id"], {})
    same = all(found.get(key) == labels[key] for key in ("value", "language"))
    return {name: found.get(name) if same else None for name in TEXTS}


def dilemma_rows(
    store: Store,
    evaluation: str | None = None,
    *,
    values: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
) -> Iterator[pd.DataFrame]:
    """What was measured of every dilemma, a table for each condition, for files.

    Columns: condition, kind (intact, mask or control), mask, id, value, language, and the array
    whose change is the effect, under its name, averaged to one number for each dilemma. Labels
    are categories. `values` (of the dilemmas) and `languages` leave only theirs. Raises
    StoreError if there is no such evaluation, value or language, naming the known ones.
    """
    scored = _open(store, evaluation)
    wanted_D = np.full(scored.number_CD.shape[1], True)
    for kind, wanted in (("value", values), ("language", languages)):
        known = scored.known(kind)
        wanted_D &= np.isin(scored.of_dilemma[kind], pick(store, kind, wanted, known, known))
    return _dilemma_blocks(scored, wanted_D)


def _dilemma_blocks(scored: _Scored, wanted_D: NDArray[np.bool_]) -> Iterator[pd.DataFrame]:
    """A generator, apart from `dilemma_rows` so that a wrong question is refused at once."""
    wanted = np.flatnonzero(wanted_D)
    of_dilemma = {name: _category(all_).take(wanted) for name, all_ in scored.of_dilemma.items()}
    of_condition = {name: _category(all_) for name, all_ in scored.of_condition.items()}
    for c, number_D in enumerate(scored.number_CD[:, wanted]):
        repeated = {name: label.take([c] * len(wanted)) for name, label in of_condition.items()}
        yield pd.DataFrame({**repeated, **of_dilemma, scored.measure: number_D})


def _category(labels: Sequence[str]) -> pd.Categorical:
    return pd.Categorical(np.array(labels, dtype=object), pd.Index(list(dict.fromkeys(labels))))


def _open(store: Store, evaluation: str | None) -> _Scored:
    name = default_evaluation(store) if evaluation is None else evaluation
    require_effect(store, name)
    with reading(store, f"evaluation/{name}"):
        dataset = store.evaluation(name)
        outcome = describe_outcome(dataset.attrs)
        return _Scored(
            measure=outcome["effect_of"],
            boundary=outcome["decision_boundary"],
            number_CD=averaged(dataset),
            of_condition={n: strings(dataset[n].values) for n in ("condition", "kind", "mask")},
            of_dilemma={
                "id": strings(dataset["dilemma"].values),
                "value": strings(dataset["value"].values),
                "language": strings(dataset["dilemma_language"].values),
            },
        )


def read_dilemmas(folder: str | Path) -> dict[str, dict[str, str]]:
    """The dilemmas of a corpus directory, by id: value, language, dilemma, aligned, violating.

    Raises StoreError if there is no evaluation.jsonl in it, or naming the line that is no dilemma.
    """
    file = Path(folder) / FILE
    try:
        with file.open("rb") as stream:
            content = stream.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise StoreError(
                f"{file} is longer than {LARGEST:,} bytes; give another, with --corpus"
            )
        lines = content.decode("utf-8-sig").split("\n")
    except OSError as error:
        raise StoreError(
            f"{folder} is not a corpus directory here: no {FILE} can be read in it"
        ) from error
    except UnicodeDecodeError as error:
        binary = name_binary(content)
        what = "not UTF-8" if binary is None else f"{binary}, not text"
        raise StoreError(f"{file} is {what}; give a copy in UTF-8, with --corpus") from error
    found = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            row = _parse(line)
            if row is None:
                raise StoreError(f"{file}:{number}: not a dilemma with id, value and texts")
            found[row.pop("id")] = row
    return found


def _parse(line: str) -> dict[str, str] | None:
    """The fields that are needed, or None if one is missing or is no text."""
    try:
        row = json.loads(line)
        kept = {name: row[name] for name in ("id", "value", "language", *TEXTS)}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return kept if all(isinstance(item, str) for item in kept.values()) else None
