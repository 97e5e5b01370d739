"""What every query does first: open what it reads, resolve names, and report damage as such."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from vxstore.claims import Claims, find_claims
from vxstore.declared import BY_VALUE, Ranking, find_ranking, find_selected
from vxstore.defaults import DEFAULT_OUTCOME, DEFAULT_SELECTOR
from vxstore.errors import DAMAGE, StoreError
from vxstore.io import arrays
from vxstore.io.digests import VOUCHING
from vxstore.io.metadata import DERIVED
from vxstore.outcome import has_effect, is_neutral
from vxstore.read import Store
from vxstore.schema import POOLED

UNSHOWN = ("complete", "created", "coordinates", *VOUCHING)
"""Attributes that record how a group was written."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """An opened score of a store, its numbers not read yet."""

    store: Store
    name: str
    data: xr.Dataset
    values: list[str]
    languages: list[str]

    @property
    def recorded(self) -> list[str]:
        """The languages without `pooled`; what a query answers if no language is given."""
        return [name for name in self.languages if name != POOLED] or self.languages

    @property
    def ranking(self) -> Ranking:
        """How the score ranks neurons. Raises StoreError if its declaration is not lawful."""
        with reading(self.store, f"scores/{self.name}"):
            return find_ranking(self.data)

    @property
    def claims(self) -> Claims:
        """What its tests allow to be claimed. Raises StoreError if it declares that unlawfully."""
        with reading(self.store, f"scores/{self.name}"):
            return find_claims(self.data)

    def has(self, array: str, dims: Sequence[str] = BY_VALUE, kinds: str = "f") -> bool:
        """Whether it has such an array, of numbers of these kinds by these dimensions."""
        if array not in self.data.data_vars:
            return False
        found = self.data[array]
        return set(found.dims) == set(dims) and found.dtype.kind in kinds


def default_score(store: Store, preferred: str = DEFAULT_SELECTOR) -> str:
    """The score meant where none is given: the only one, or else `preferred`.

    Raises StoreError if there is none, or, listing them, if there are several of other names.
    """
    return _choose(store, store.names("scores"), "score", preferred, "reduce")


def default_evaluation(store: Store) -> str:
    """The evaluation meant where none is given: the only one with effects on dilemmas (or, without
    any, the only one with effects), or else `choice`.

    Raises StoreError if there is none, or, listing them, if there are several of other names.
    """
    known = names_with_effects(store)
    of_dilemmas = [n for n in known if not is_neutral(get_attrs(store, f"evaluation/{n}"))]
    known = of_dilemmas or known or store.names("evaluation")
    return _choose(store, known, "evaluation", DEFAULT_OUTCOME, "evaluate")


def names_with_effects(store: Store) -> list[str]:
    """The finished evaluations that measured an effect."""
    names = store.names("evaluation")
    return [name for name in names if has_effect(get_attrs(store, f"evaluation/{name}"))]


def require_effect(store: Store, name: str) -> None:
    """Raise StoreError if the evaluation `name` is finished, and measured no effect."""
    if name in store.names("evaluation") and name not in names_with_effects(store):
        raise StoreError(
            f"{store.path} has in evaluation/{name} answers and no effects; `vxstore answers` "
            "shows them"
        )


def _choose(store: Store, known: Sequence[str], noun: str, preferred: str, stage: str) -> str:
    if not known:
        raise StoreError(f"{store.path} has no finished {noun}; run `vxdist {stage}`")
    if len(known) > 1 and preferred not in known:
        names = ", ".join(known)
        raise StoreError(f"{store.path} has several {noun}s, {names}; name the one to use")
    return known[0] if len(known) == 1 else preferred


def open_root(store: Store) -> tuple[xr.Dataset, list[str], list[str]]:
    """The counts, not read yet, and their values and languages.

    Raises StoreError if the store is not complete, saying how many parts are missing.
    """
    root = store.root()
    with reading(store, "value or language"):
        values, languages = (strings(root.indexes[dim]) for dim in ("value", "language"))
    return root, values, languages


def open_score(store: Store, score: str | None = None) -> Score:
    """A score, not read yet; None is `default_score`.

    Raises StoreError if the store is not complete, has no such score (naming those it has), or the
    score does not say which neurons it selects.
    """
    if not store.complete:
        store.root()  # raises, saying how many parts are missing
    name = default_score(store) if score is None else score
    with reading(store, f"scores/{name}"):
        data = store.scores(name)
        find_selected(data)
        values, languages = (strings(data.indexes[dim]) for dim in ("value", "language"))
        if not values or not languages:
            raise StoreError("it has no value or no language")
    return Score(store=store, name=name, data=data, values=values, languages=languages)


def require_known(store: Store, kind: str, name: str, known: Sequence[str]) -> None:
    """Raise StoreError, listing the known names, if `name` is not among them."""
    if name not in known:
        raise StoreError(f"{store.path} has no {kind} {name!r}; there are {', '.join(known)}")


def pick(
    store: Store,
    kind: str,
    wanted: Sequence[str] | None,
    known: Sequence[str],
    default: Sequence[str],
) -> list[str]:
    """`wanted`, each once, or `default` if it is None. Raises StoreError if one is not known."""
    if wanted is None:
        return list(default)
    for name in wanted:
        require_known(store, kind, name, known)
    return list(dict.fromkeys(wanted))


def get_attrs(store: Store, group: str) -> dict[str, Any]:
    """Attributes of a group, without those that record the progress of writing it."""
    with reading(store, group):
        attrs = arrays.plain_attrs(arrays.open_group(store.path, group))
    return {k: v for k, v in attrs.items() if k not in UNSHOWN}


def get_array(store: Store, name: str) -> zarr.Array[Any]:
    """One array, not read yet; in what is finished a missing chunk is an error."""
    group, _, array = name.rpartition("/")
    whole = store.complete or group.startswith(tuple(f"{kind}/" for kind in DERIVED))
    with reading(store, name):
        return arrays.get_array(arrays.open_group(store.path, group, whole=whole), array)


def read_array(store: Store, array: zarr.Array[Any]) -> NDArray[Any]:
    """All of one array."""
    with reading(store, array.path):
        return np.asarray(array[:])


def read_labels(store: Store, name: str) -> list[str]:
    """All labels of one coordinate."""
    return strings(read_array(store, get_array(store, name)))


def strings(labels: Iterable[Any]) -> list[str]:
    """Labels as plain strings."""
    return [str(label) for label in labels]


@contextlib.contextmanager
def reading(store: Store, what: str) -> Iterator[None]:
    """Convert the many exceptions of zarr and xarray to StoreError."""
    try:
        yield
    except StoreError as error:
        if store.path in str(error):
            raise
        raise StoreError(f"{store.path} is damaged in {what}: {error}") from error
    except DAMAGE as error:
        raise StoreError(f"{store.path} is damaged in {what}: {error}") from error
