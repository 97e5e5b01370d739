"""Answers to `vxstore effects`: from several evaluations, of several stores."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from vxstore import query
from vxstore.cli.pipeline import call
from vxstore.errors import StoreError, UserError
from vxstore.query.lookup import default_evaluation
from vxstore.read import Store


def find_evaluations(
    stores: Sequence[Store], names: Sequence[str] | None
) -> list[tuple[Store, str]]:
    """The evaluations asked for: of each store, those of `names` that it has, or its default.

    Raises StoreError, listing the known ones, if a store has none of them or no store has one.
    """
    if not names:
        return [(store, default_evaluation(store)) for store in stores]
    known = [(store, store.names("evaluation")) for store in stores]
    for name in names:
        if not any(name in have for _, have in known):
            stores[0].evaluation(name)  # raises, listing the known ones
    for store, have in known:
        if not set(names) & set(have):
            store.evaluation(names[0])  # raises, listing the known ones
    unique = dict.fromkeys(names)
    return [(store, name) for store, have in known for name in unique if name in have]


def gather(
    evaluations: Iterable[tuple[Store, str]],
    chosen: Mapping[str, Any],
    *,
    dilemmas: bool,
    corpus: str | None,
) -> list[dict[str, Any]]:
    """What `query.effects` says of each evaluation, with `chosen` cells.

    With `dilemmas` its cells give way to the table of `query.flips`, and `texts` says why the
    texts of the dilemmas are not at hand; it is None if they are.
    """
    if corpus is not None and not dilemmas:
        raise StoreError("--corpus has the texts of --dilemmas; give both, or neither")
    answers = []
    for store, name in evaluations:
        found = query.effects(store, name, **chosen)
        if dilemmas:
            del found["cells"]
            texts, found["texts"] = _read_texts(store, name, corpus)
            found["dilemmas"] = query.flips(store, name, **chosen, texts=texts)
        answers.append(found)
    return answers


def _read_texts(
    store: Store, name: str, corpus: str | None
) -> tuple[dict[str, dict[str, str]], str | None]:
    """Texts of the dilemmas by id, and why there are none.

    Only a corpus that the user names must be there: the path in the store is that of the machine
    that recorded it. Raises StoreError if it is not.
    """
    path = str(store.attrs.get("corpus", "")) if corpus is None else corpus
    try:
        return query.read_dilemmas(_find_folder(store, name, path, given=corpus is not None)), None
    except UserError as error:
        if corpus is not None:
            raise StoreError(f"--corpus: {error}") from error
        return {}, f"the texts are not at hand; give --corpus DIRECTORY ({error})"


def _find_folder(store: Store, name: str, path: str, *, given: bool) -> str:
    """The folder of a corpus; of the bundled one, the edition that was evaluated, unless given."""
    if not path.startswith("builtin:"):
        return path
    if given:
        return str(call("find_corpus", path))
    attrs = store.evaluation(name).attrs
    return str(call("find_recorded", path, attrs, "evaluation_digest"))


def make_flat(answers: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """All cells, or all dilemmas, in one table, headed by store and evaluation."""
    tables = []
    for answer in answers:
        table = (answer["dilemmas"] if "dilemmas" in answer else answer["cells"]).astype(object)
        labels = {"store": answer["store"], "evaluation": answer["evaluation"]}
        tables.append(pd.DataFrame(labels, index=table.index, dtype=object).join(table))
    return pd.concat(tables, ignore_index=True)
