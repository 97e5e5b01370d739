"""What every query does first: open what it asks of, know the names, and tell damage as such."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from vxstore.errors import StoreError
from vxstore.io import arrays
from vxstore.read import Store
from vxstore.schema import POOLED

EVALUATION = "choice"
"""The evaluation that is meant where several are there and none is named."""


def open_root(store: Store) -> tuple[xr.Dataset, list[str], list[str]]:
    """The counts, not read yet, and their values and languages.

    Raises StoreError if the store is not complete, saying how many parts are missing.
    """
    root = store.root()
    with reading(store, "value or language"):
        values, languages = (strings(root.indexes[dim]) for dim in ("value", "language"))
    return root, values, languages


def open_scores(store: Store, score: str) -> tuple[xr.Dataset, list[str], list[str]]:
    """A score, not read yet, and its values and languages, `pooled` among them.

    Raises StoreError if the store is not complete, or naming the known scores.
    """
    if not store.complete:
        store.root()  # raises, saying how many parts are missing
    with reading(store, f"scores/{score}"):
        scores = store.scores(score)
        values, languages = (strings(scores.indexes[dim]) for dim in ("value", "language"))
    return scores, values, languages


def default_score(store: Store, preferred: str = "vape") -> str:
    """The score to use where none is named: the only one, else `preferred`.

    Raises StoreError, listing the scores, if that leaves it open.
    """
    return _default(store, "scores", preferred, "--score")


def default_evaluation(store: Store, preferred: str = "choice") -> str:
    """The evaluation to use where none is named: the only one, else `preferred`.

    Raises StoreError, listing the evaluations, if that leaves it open.
    """
    return _default(store, "evaluation", preferred, "--evaluation")


def _default(store: Store, kind: str, preferred: str, option: str) -> str:
    known = store.names(kind)
    if len(known) == 1:
        return known[0]
    if not known or preferred in known:
        return preferred  # opening it says what is missing
    raise StoreError(f"{store.path} has {kind} {', '.join(known)}; name one with {option}")


def recorded(languages: Iterable[str]) -> list[str]:
    """`languages` without the pooled one."""
    return [name for name in languages if name != POOLED]


def require_known(store: Store, kind: str, name: str, known: Sequence[str]) -> None:
    """Raise StoreError, listing the known names, if `name` is none of them."""
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
    """Attributes of a group, without the marks that say how far its writing got."""
    attrs = arrays.plain_attrs(arrays.open_group(store.path, group))
    return {k: v for k, v in attrs.items() if k not in ("complete", "created", "coordinates")}


def get_array(store: Store, name: str) -> zarr.Array[Any]:
    """One array, not read yet."""
    with reading(store, name):
        return arrays.get_array(arrays.open_group(store.path), name)


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
    """Tell of damage as StoreError: what zarr and xarray raise is many kinds."""
    try:
        yield
    except StoreError as error:
        if store.path in str(error):
            raise
        raise StoreError(f"{store.path} is damaged in {what}: {error}") from error
    except (AssertionError, AttributeError, KeyError, OSError, RuntimeError, ValueError) as error:
        raise StoreError(f"{store.path} is damaged in {what}: {error}") from error
