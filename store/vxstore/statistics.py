"""The statistics that are recorded for every neuron, each a row of data.

Recording, combining, checking and documentation follow from the row. A statistic beside those of
`DEFAULT` is a row here and a function in `vxdist/hooks/measures`. Its arrays carry the law it
obeys as attributes, so that a reader that does not know the row can still combine and check it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vxstore.errors import StoreError

Combine = Literal["sum", "max"]
Bound = Literal["tokens", "non-negative"]
_COMBINED_BY: Mapping[Combine, np.ufunc] = {"sum": np.add, "max": np.maximum}


@dataclass(frozen=True, kw_only=True)
class Law:
    """How the numbers of two sets of tokens combine into that of both, and what bounds each."""

    combine: Combine
    bound: Bound | None = None
    """`tokens`: from 0 to the tokens that the neuron was given; None: any finite number."""

    @property
    def empty(self) -> float:
        """The number over no tokens: 0 for a sum, minus infinity for a maximum."""
        return -np.inf if self.combine == "max" else 0.0

    @property
    def asks_for_tokens(self) -> bool:
        """Whether it depends on the tokens given if a number is possible."""
        return self.bound == "tokens" or self.combine == "max"

    @property
    def expected(self) -> str:
        """The numbers that are possible, in words."""
        words = {
            "tokens": "a number from 0 to the tokens given",
            "non-negative": "a finite number not below 0",
            None: "a finite number",
        }[self.bound]
        return words + (", minus infinity without tokens" if self.combine == "max" else "")

    def merge(self, total: NDArray[Any], found: NDArray[Any]) -> None:
        """Combine `found` into `total`, in place."""
        _COMBINED_BY[self.combine](total, found, out=total)

    def pool(self, number: NDArray[Any], axis: int) -> NDArray[Any]:
        """Combine along one axis."""
        return np.asarray(_COMBINED_BY[self.combine].reduce(number, axis=axis))

    def holds(
        self, number: NDArray[Any], given: NDArray[Any] | int | None = None, *, exact: bool = True
    ) -> NDArray[np.bool_]:
        """Where `number` is possible for a neuron that was given `given` tokens.

        None, or a number below 0, means that `given` is not known. Unless `exact`, it is only the
        most that the neuron can have been given.
        """
        sound = np.asarray(np.isfinite(number))
        if self.bound is not None:
            sound &= number >= 0
        if self.bound == "tokens" and given is not None:
            sound &= (number <= given) | (np.asarray(given) < 0)
        if self.combine == "sum":
            return sound
        is_empty = np.asarray(np.isneginf(number))
        if given is None or not exact:
            return sound | is_empty
        may_be_empty = np.asarray(given) < 0
        return np.where(np.asarray(given) == 0, is_empty, sound | (is_empty & may_be_empty))


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """One number for every neuron: its arrays in `/record` and `/`, and the law they obey."""

    name: str
    record_dtype: str
    """Type of a part's number."""
    total_dtype: str
    """Type in which the numbers of batches and parts are combined."""
    combine: Combine
    units: str
    long_name: str
    """What the array in `/` holds."""
    record_long_name: str
    """What the array in `/record` holds."""
    bound: Bound | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if lost numbers, or those over no tokens, could not be distinguished."""
        record, total = np.dtype(self.record_dtype), np.dtype(self.total_dtype)
        if record.kind not in "if" or record.kind != total.kind:
            raise ValueError(f"{self.name}: its types must both be integers or both floats")
        if record.kind == "i" and (self.bound is None or self.combine == "max"):
            raise ValueError(f"{self.name}: integers must be bounded sums, as -1 marks a lost one")
        if self.combine == "sum" and total.itemsize < 8:
            raise ValueError(f"{self.name}: sums need a total of 64 bits")

    @property
    def law(self) -> Law:
        """How it combines, and what bounds it."""
        return Law(combine=self.combine, bound=self.bound)

    @property
    def attributes(self) -> dict[str, str]:
        """Attributes that say its law to a reader without this table; the default ones have none.

        See `read_law`.
        """
        if self.name in DEFAULT:
            return {}
        return {"combine": self.combine, **({"bound": self.bound} if self.bound else {})}


DEFAULT = ("active_count", "activation_sum", "activation_square_sum")
"""What is recorded unless the root's attribute `statistics` says otherwise."""

STATISTICS: dict[str, Statistic] = {
    "active_count": Statistic(
        name="active_count",
        record_dtype="int32",
        total_dtype="int64",
        combine="sum",
        bound="tokens",
        units="tokens",
        long_name="tokens on which the neuron's activation is above zero",
        record_long_name="tokens of the part on which the neuron's activation is above zero",
    ),
    "activation_sum": Statistic(
        name="activation_sum",
        record_dtype="float32",
        total_dtype="float64",
        combine="sum",
        units="1",
        long_name="sum of the activation over tokens",
        record_long_name="sum of the activation over the tokens of the part",
    ),
    "activation_square_sum": Statistic(
        name="activation_square_sum",
        record_dtype="float32",
        total_dtype="float64",
        combine="sum",
        bound="non-negative",
        units="1",
        long_name="sum of the squared activation over tokens",
        record_long_name="sum of the squared activation over the tokens of the part",
    ),
    "activation_max": Statistic(
        name="activation_max",
        record_dtype="float32",
        total_dtype="float32",
        combine="max",
        units="1",
        long_name="largest activation over tokens; minus infinity over none",
        record_long_name="largest activation over the tokens of the part; minus infinity over none",
    ),
}


def recorded_names(attrs: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the statistics of a store whose root has these attributes."""
    return tuple(attrs.get("statistics", DEFAULT))


def check_names(path: str, attrs: Mapping[str, Any]) -> None:
    """Raise StoreError if the root's attribute `statistics` cannot be."""
    names = attrs.get("statistics", list(DEFAULT))
    if not isinstance(names, list) or not all(
        isinstance(name, str) and name.isidentifier() for name in names
    ):
        found = f"{str(names)[:80]!r}, expected a list of names"
    elif len(set(names)) < len(names) or "active_count" not in names:
        found = f"{str(names)[:80]!r}, expected distinct names, active_count among them"
    else:
        return
    raise StoreError(f"{path}: statistics: found {found}; its metadata are damaged")


def read_law(name: str, attributes: Mapping[str, Any]) -> Law:
    """The law of a statistic, by the attributes of its array; default ones need none.

    Raises StoreError if an attribute is missing, or this version does not know what it says.
    """
    if name in DEFAULT:
        return STATISTICS[name].law
    for key, known in (("combine", get_args(Combine)), ("bound", (None, *get_args(Bound)))):
        if attributes.get(key) not in known:
            raise StoreError(
                f"{name}: {key}: found {str(attributes.get(key))[:40]!r}, expected one of "
                f"{', '.join(map(str, known))}; install a newer vxdist"
            )
    return Law(combine=attributes["combine"], bound=attributes.get("bound"))
