"""What a score's tests allow to be claimed of a neuron, and the level of each neuron.

L: layer, N: neuron, V: value, G: language.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxstore.declared import BY_VALUE, SELECTED, find_array
from vxstore.errors import StoreError
from vxstore.text import shorten

LISTED, NOTHING = 0, -1
"""Levels of a neuron that is selected without any claim, and of one that is not selected either."""
LISTED_NAME = "listed"
HIGHEST = 127
ORDER = ("language", "value", "layer", "neuron")
P_VALUE = "p_value"
"""The array of the p behind the lowest claim, if the score has it."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim: a neuron has it for a value and language if `array` is at most the `fdr`."""

    level: int
    name: str
    array: str

    @property
    def title(self) -> str:
        """Level and name, as in `4 stance`."""
        return f"{self.level} {self.name}"


@dataclass(frozen=True, kw_only=True)
class Claims:
    """The claims of a score, from the lowest level; none where the score is not tested."""

    claims: tuple[Claim, ...] = ()
    fdr: float = 0.0

    @property
    def arrays(self) -> list[str]:
        """The arrays behind the claims."""
        return list(dict.fromkeys(claim.array for claim in self.claims))

    def name(self, level: int) -> str:
        """The name of a level; empty if it is that of no claim."""
        names = {claim.level: claim.name for claim in self.claims}
        return {LISTED: LISTED_NAME, **names}.get(level, "")

    def title(self, level: int) -> str:
        """Level and name, as in `0 listed`; empty if it is that of no claim."""
        return f"{level} {self.name(level)}" if self.name(level) else ""


def find_claims(scores: xr.Dataset) -> Claims:
    """What an opened score declares. Raises StoreError if its declaration is not lawful.

    Scores of earlier versions, and those that could not be tested, have no claims.
    """
    declared = scores.attrs.get("claims")
    if declared is None or is_untested(scores.attrs):
        return Claims()
    if not isinstance(declared, list):
        raise StoreError(f"claims: found {_shown(declared)}, expected a list of claims")
    claims = sorted((_find_claim(scores, item) for item in declared), key=lambda c: c.level)
    for what in ("level", "name"):
        if len({getattr(claim, what) for claim in claims}) < len(claims):
            raise StoreError(f"claims: two have the same {what}, expected one each")
    if not claims:
        return Claims()
    return Claims(claims=tuple(claims), fdr=_find_fdr(scores.attrs.get("fdr")))


def is_untested(attrs: Mapping[str, Any]) -> bool:
    """Whether a score's attributes say that no language could be tested."""
    tests = attrs.get("tests")
    if not isinstance(tests, Mapping) or not tests:
        return False
    return all(isinstance(of, Mapping) and of.get("untested") for of in tests.values())


def find_levels(block: xr.Dataset, claims: Claims) -> NDArray[np.int8]:
    """The highest level that each neuron has, int8 (language, value, layer, neuron).

    `block` holds some layers of a score: `selected` and the arrays of the claims. A neuron that is
    selected without any claim is `LISTED`, one that is not selected either `NOTHING`.
    """
    selected_GVLN = block[SELECTED].transpose(*ORDER).values
    level_GVLN = np.where(selected_GVLN, LISTED, NOTHING).astype(np.int8)
    for claim in claims.claims:
        level_GVLN[has_claim(block, claim, claims.fdr)] = claim.level
    return level_GVLN


def selected_with_claim(block: xr.Dataset, claims: Claims) -> NDArray[np.bool_]:
    """The selected neurons that have any claim, (language, value, layer, neuron); `block` as for
    `find_levels`."""
    selected_GVLN = block[SELECTED].transpose(*ORDER).values
    return np.asarray(selected_GVLN & (find_levels(block, claims) > LISTED))


def has_claim(block: xr.Dataset, claim: Claim, fdr: float) -> NDArray[np.bool_]:
    """Which neurons have a claim, (language, value, layer, neuron); NaN, not tested, never does."""
    return np.asarray(block[claim.array].transpose(*ORDER).values <= fdr)


def _find_claim(scores: xr.Dataset, item: object) -> Claim:
    if not isinstance(item, Mapping):
        raise StoreError(f"claims: found {_shown(item)}, expected an object: level, name, array")
    level, name = item.get("level"), item.get("name")
    if type(level) is not int or not LISTED < level <= HIGHEST:
        raise StoreError(f"claims: level: found {_shown(level)}, expected 1 to {HIGHEST}")
    if not isinstance(name, str) or not name.strip():
        raise StoreError(f"claims: name: found {_shown(name)}, expected a word")
    array = find_array(scores, "claims: array", item.get("array"))
    if set(array.dims) != set(BY_VALUE) or array.dtype.kind != "f":
        raise StoreError(
            f"claims: {shorten(array.name)} is {array.dtype} by {', '.join(map(str, array.dims))}, "
            f"expected floats by {', '.join(BY_VALUE)}"
        )
    return Claim(level=level, name=name, array=str(array.name))


def _find_fdr(found: object) -> float:
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    if not is_number or not 0 < found < 1:  # type: ignore[operator]
        raise StoreError(f"fdr: found {_shown(found)}, expected a number between 0 and 1")
    return float(found)  # type: ignore[arg-type]


def _shown(content: object) -> str:
    return shorten(repr(content), 40)
