"""attribution: neurons whose zeroing lowers the log-odds of the aligned option, to first order.

They are chosen by what they do, on the dilemmas that `vxdist attribute` attributed; so their effect
on those very dilemmas says nothing, and is measured on others (`evaluate.dilemmas`).

L: layer, N: neuron, V: value, G: language.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxdist.errors import UserError
from vxdist.reduce.counts import LanguageCounts
from vxdist.reduce.selectors import Selection, check_top_fraction, most_of_value
from vxstore.read import Store
from vxstore.schema import POOLED, ArraySpec
from vxstore.text import plural

Floats = NDArray[np.float64]
LEAST_DILEMMAS = 3
"""Dilemmas of a value below which a t is hardly one."""


@dataclass(kw_only=True)
class AttributionSettings:
    """attribution: selecting neurons by gradient attribution of the choices."""

    name: str | None = None
    """Name of the attribution in the store; null takes the only one."""
    top_fraction: float = 0.01
    """Fraction of all neurons to select at most, the same number for each value."""


class Attribution:
    """The most negative t of the attributions over a value's dilemmas first."""

    Settings = AttributionSettings
    needs: ClassVar[tuple[str, ...]] = ()
    arrays: ClassVar[Mapping[str, ArraySpec]] = {
        "t_attribution": ArraySpec(
            dims=("layer", "neuron", "value", "language"),
            dtype="float32",
            units="1",
            long_name="t, over the value's attributed dilemmas, of the first-order change of the "
            "aligned log-odds when the neuron is zeroed",
        ),
        "mean_attribution": ArraySpec(
            dims=("layer", "neuron", "value", "language"),
            dtype="float32",
            units="nats",
            long_name="mean of that change",
        ),
    }
    ranked_by = "t_attribution"
    ascending = True
    ranked_among = None

    def __init__(self, settings: AttributionSettings) -> None:
        self.settings = settings

    def check(self) -> None:
        """Raise UserError if a setting is out of range."""
        check_top_fraction("attribution", self.settings.top_fraction)

    def describe_source(self, store: Store) -> dict[str, Any]:
        """Attributes of the score: the attribution that it is made from.

        Raises UserError if the store has none, or several and none is named.
        """
        name = self._find(store)
        attrs = store.attribution(name).attrs
        kept = ("outcome", "half", "questions_digest")
        return {"attribution": {"name": name, **{key: attrs[key] for key in kept}}}

    def _find(self, store: Store) -> str:
        known = store.names("attribution")
        name = self.settings.name
        if name is None and len(known) == 1:
            return known[0]
        if not known:
            raise UserError(
                f"reduce.selector: attribution needs an attribution, and {store.path} has none; "
                "run `vxdist attribute` first"
            )
        if name not in known:
            found = "not given" if name is None else f"found {name!r}"
            raise UserError(
                f"reduce.attribution.name: {found}; {store.path} has {', '.join(known)}"
            )
        return name

    def select(self, counts: LanguageCounts) -> Selection:
        """Of each value, the first by t that are below zero, as many for each value."""
        source = counts.store.attribution(self._find(counts.store))
        values = len(counts.values)
        most = most_of_value(self.settings.top_fraction, counts.num_neurons, values)
        t_LNV = np.concatenate([_t(source, counts, of)[0] for of in counts.blocks()])
        flat = t_LNV.reshape(-1, values)
        selected_LNV = np.zeros(t_LNV.shape, dtype=bool)
        for v in range(values):
            able = np.flatnonzero(flat[:, v] < 0)  # NaN is not
            first = able[np.argsort(flat[able, v], kind="stable")[:most]]
            selected_LNV.reshape(-1, values)[first, v] = True
        chosen = t_LNV[selected_LNV]
        return Selection(
            selected_LNV=selected_LNV,
            arrays={
                "t_attribution": t_LNV,
                "mean_attribution": lambda layers: _t(source, counts, layers)[1],
            },
            thresholds={
                "selected_assignments": int(selected_LNV.sum()),
                "selected_count": int(selected_LNV.any(axis=-1).sum()),
                "highest_t": float(chosen.max()) if chosen.size else None,
            },
        )

    def describe(self, thresholds: Mapping[str, float | int | None]) -> str:
        """How many neurons were selected, and down to which t."""
        selected, highest = int(thresholds["selected_count"] or 0), thresholds["highest_t"]
        if highest is None:
            return f"no neuron selected: no value has {LEAST_DILEMMAS} attributed dilemmas"
        found = f"{plural(selected, 'neuron')} selected whose zeroing lowers the aligned log-odds"
        return f"{found} (t at most {highest:.2f})"


def _t(
    source: xr.Dataset, counts: LanguageCounts, layers: slice
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """t and mean over dilemmas of some layers, (layer, neuron, value); NaN with too few dilemmas.

    A neuron that never does anything has t 0.
    """
    dims = ("layer", "neuron", "value", "language")
    block = source.isel(layer=layers)
    sum_LNV, square_LNV = (
        _pick(block[name].transpose(*dims).values, counts)
        for name in ("attribution_sum", "attribution_square_sum")
    )
    n_V = _pick(source["dilemma_count"].transpose(*dims[2:]).values, counts).astype(np.float64)
    few_V = n_V < LEAST_DILEMMAS
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_LNV = sum_LNV / n_V
        variance_LNV = (square_LNV - n_V * mean_LNV**2) / (n_V - 1)
        t_LNV = mean_LNV / np.sqrt(np.maximum(variance_LNV, 0) / n_V)
    t_LNV = np.where(sum_LNV == 0, 0.0, t_LNV)
    t_LNV, mean_LNV = (np.where(few_V, np.nan, found) for found in (t_LNV, mean_LNV))
    return t_LNV.astype(np.float32), mean_LNV.astype(np.float32)


def _pick(number_G: Floats, counts: LanguageCounts) -> Floats:
    """Of the language, the last dimension; or summed over all."""
    if counts.language == POOLED:
        return np.asarray(number_G.sum(axis=-1))
    names = [str(label) for label in counts.root.language.values]
    return np.asarray(number_G[..., names.index(counts.language)])
