"""What a derived group declares: how a score ranks neurons, and the laws that its arrays obey.

Groups of earlier versions declare nothing: those are VAPE scores, and evaluations by choice.
"""

import dataclasses
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vxstore.defaults import DEFAULT_OUTCOME, DEFAULT_SELECTOR
from vxstore.errors import StoreError
from vxstore.outcome import DEFAULTS, describe_outcome, has_effect
from vxstore.schema import LAWS, POOLED

if TYPE_CHECKING:
    import xarray as xr

DEFAULT_RANKED_BY, DEFAULT_RANKED_AMONG = "entropy", "passed_filter"
DEFAULT_EFFECT_OF = DEFAULTS["effect_of"]
SELECTED = "selected"
BY_LANGUAGE = ("layer", "neuron", "language")
BY_VALUE = ("layer", "neuron", "value", "language")


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """How a score ranks neurons: the array, its direction, and the neurons that took part.

    `by_value`: each value has a ranking of its own. `among`: the bool array of the neurons that
    took part; None is every neuron with a finite number.
    """

    array: str
    ascending: bool
    by_value: bool
    among: str | None

    @property
    def sign(self) -> int:
        """1 or -1: what the numbers are multiplied by to put the neuron ranked first lowest."""
        return 1 if self.ascending else -1

    @property
    def first(self) -> str:
        """Which numbers rank first, in a word."""
        return "lowest" if self.ascending else "highest"


@dataclass(frozen=True, kw_only=True)
class Laws:
    """What the numbers of one array obey; see `vxstore.schema.ArraySpec`. `finite`: none is NaN."""

    valid_min: float | None = None
    valid_max: float | None = None
    quotient_of: str | None = None
    subset_of: str | None = None
    finite: bool = False


def find_selector(attrs: Mapping[str, Any]) -> Any:
    """The selector that made a score; None if its attributes do not say which."""
    return attrs.get("selector", None if "ranked_by" in attrs else DEFAULT_SELECTOR)


def describe_ranking(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Selector, ranking array and direction of a score, as its attributes have them, unverified."""
    selector = find_selector(attrs)
    return {
        **({} if selector is None else {"selector": selector}),
        "ranked_by": attrs.get("ranked_by", DEFAULT_RANKED_BY),
        "ascending": attrs.get("ascending", True),
    }


def find_ranking(scores: "xr.Dataset") -> Ranking:
    """How an opened score ranks. Raises StoreError if its declaration is not lawful."""
    ascending = scores.attrs.get("ascending", True)
    if not isinstance(ascending, bool):
        raise StoreError(f"ascending: found {_shown(ascending)}, expected true or false")
    ranked = find_array(scores, "ranked_by", scores.attrs.get("ranked_by", DEFAULT_RANKED_BY))
    if set(ranked.dims) not in ({*BY_LANGUAGE}, {*BY_VALUE}) or ranked.dtype.kind not in "iuf":
        raise StoreError(
            f"ranked_by: {ranked.name} is {_described(ranked)}, expected numbers by layer, neuron, "
            "language and, at most, value"
        )
    default = DEFAULT_RANKED_AMONG if DEFAULT_RANKED_AMONG in scores.data_vars else None
    among = scores.attrs.get("ranked_among", default)
    if among is not None:
        _require_bool("ranked_among", find_array(scores, "ranked_among", among), BY_LANGUAGE)
    return Ranking(
        array=str(ranked.name),
        ascending=ascending,
        by_value="value" in ranked.dims,
        among=among,
    )


def find_selected(scores: "xr.Dataset") -> "xr.DataArray":
    """The neurons that a score selects, for each value and language, not read yet.

    Raises StoreError if there is no such array, or it has another type or other dimensions.
    """
    selected = find_array(scores, SELECTED, SELECTED)
    _require_bool(SELECTED, selected, BY_VALUE)
    return selected


def find_array(dataset: "xr.Dataset", what: str, name: object) -> "xr.DataArray":
    """The array that `what` names. Raises StoreError if the group has none of that name."""
    if not isinstance(name, str) or name not in dataset.data_vars:
        raise StoreError(f"{what}: found {_shown(name)}, expected the name of one of its arrays")
    return dataset[name]


def require_labels(scores: "xr.Dataset", root: "xr.Dataset") -> None:
    """Raise StoreError unless a score has the root's layers, neurons, values and languages.

    It may have `pooled` besides.
    """
    for dim in ("layer", "neuron"):
        if scores.sizes.get(dim) != root.sizes[dim]:
            raise StoreError(
                f"it has {scores.sizes.get(dim)} along {dim}, and the counts have {root.sizes[dim]}"
            )
    for dim in ("value", "language"):
        found, expected = ({str(name) for name in ds.indexes[dim]} for ds in (scores, root))
        if found - {POOLED} != expected - {POOLED}:
            raise StoreError(
                f"{dim}: found {_listed(found)}, expected those of the counts, {_listed(expected)}"
            )


def score_laws(scores: "xr.Dataset") -> dict[str, Laws]:
    """Laws of a score's arrays. Raises StoreError if a declaration is not lawful."""
    if find_selector(scores.attrs) != DEFAULT_SELECTOR:
        return _with_declared(scores, {})
    defaults = {
        DEFAULT_RANKED_BY: Laws(valid_min=0.0, valid_max=math.log(scores.sizes["value"])),
        "activation_probability": Laws(quotient_of="active_count"),
        SELECTED: Laws(subset_of=DEFAULT_RANKED_AMONG),
    }
    required = "selector" not in scores.attrs
    return _with_declared(scores, _present(scores, defaults, required=required))


def evaluation_laws(evaluation: "xr.Dataset") -> dict[str, Laws]:
    """Laws of an evaluation's arrays; what has bounds is finite. Raises StoreError likewise."""
    if has_effect(evaluation.attrs):
        find_array(evaluation, "effect_of", describe_outcome(evaluation.attrs)["effect_of"])
    defaults: dict[str, Laws] = {}
    if describe_outcome(evaluation.attrs)["outcome"] == DEFAULT_OUTCOME:
        defaults = {
            DEFAULT_EFFECT_OF: Laws(finite=True),
            "option_mass": Laws(valid_min=0.0, valid_max=1.0),
        }
        required = "outcome" not in evaluation.attrs
        defaults = _present(evaluation, defaults, required=required)
    laws = _with_declared(evaluation, defaults)
    for name, law in laws.items():
        if law.valid_min is not None or law.valid_max is not None:
            laws[name] = dataclasses.replace(law, finite=True)
    return laws


def array_laws(dataset: "xr.Dataset") -> dict[str, Laws]:
    """Laws that the arrays of any group declare. Raises StoreError likewise."""
    return _with_declared(dataset, {})


def _present(
    dataset: "xr.Dataset", defaults: Mapping[str, Laws], *, required: bool
) -> dict[str, Laws]:
    missing = [name for name in defaults if name not in dataset.data_vars]
    if missing and required:
        raise StoreError(f"{', '.join(missing)}: missing")
    return {name: laws for name, laws in defaults.items() if name not in missing}


def _with_declared(dataset: "xr.Dataset", defaults: Mapping[str, Laws]) -> dict[str, Laws]:
    found = dict(defaults)
    for name, array in dataset.data_vars.items():
        declared = {law: array.attrs[law] for law in LAWS if array.attrs.get(law) is not None}
        for law, content in declared.items():
            _check_declaration(f"{name}: {law}", law, content)
        if declared:
            found[str(name)] = dataclasses.replace(found.get(str(name), Laws()), **declared)
    return found


def _check_declaration(what: str, law: str, content: object) -> None:
    if law in ("valid_min", "valid_max"):
        is_number = isinstance(content, int | float) and not isinstance(content, bool)
        if not (is_number and abs(content) <= sys.float_info.max):  # type: ignore[arg-type]
            raise StoreError(f"{what}: found {_shown(content)}, expected a number")
    elif not isinstance(content, str):
        raise StoreError(f"{what}: found {_shown(content)}, expected the name of an array")


def _require_bool(what: str, array: "xr.DataArray", dims: tuple[str, ...]) -> None:
    if set(array.dims) != set(dims) or array.dtype.kind != "b":
        raise StoreError(
            f"{what}: {array.name} is {_described(array)}, expected bool by {', '.join(dims)}"
        )


def _described(array: "xr.DataArray") -> str:
    return f"{array.dtype} by {', '.join(map(str, array.dims)) or 'nothing'}"


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _shown(content: object) -> str:
    return repr(content)[:40]
