"""Writing an attribution: one dilemma at a time, sealed as it ends; then the sums over dilemmas.

Until the sums are made every dilemma has a row of its own, so that a run that was killed goes on
with the next, nothing is summed twice, and sums do not depend on who computed what.

D: dilemma, L: layer, N: neuron, V: value, G: language.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from vxstore.begun import seals, start_group
from vxstore.experts import write_labels
from vxstore.io import arrays, lock
from vxstore.io.digests import DATA, REVISION, digest_arrays, write_seal
from vxstore.io.metadata import commit, next_revision, utc_now
from vxstore.io.storage import find_storage
from vxstore.read import read_root_attrs
from vxstore.schema import ATTRIBUTION, SEAL, ArraySpec, record_chunks

Floats = NDArray[np.float64]
Cells = Mapping[tuple[int, int], NDArray[np.intp]]
"""Positions of the dilemmas of each value and language, by their positions."""
ROWS = "attribution"
SUMMED = ("attribution_sum", "attribution_square_sum", "dilemma_count")
"""Arrays that are made when all dilemmas are sealed."""
BY_VALUE = ("layer", "neuron", "value", "language")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What an attribution is labelled with: its dilemmas, and the store's values and languages."""

    dilemmas: Sequence[str]
    dilemma_values: Sequence[str]
    dilemma_languages: Sequence[str]
    values: Sequence[str]
    languages: Sequence[str]
    further: Mapping[str, Sequence[str]]
    """Dimensions of the measured number behind the dilemma, such as order."""


def create_attribution(
    path: str,
    name: str,
    *,
    labels: Labels,
    shape_LN: tuple[int, int],
    measured: tuple[str, ArraySpec],
    attrs: Mapping[str, Any],
) -> None:
    """Create attribution/NAME, empty; `measured` is what is attributed, by its name."""
    group = start_group(path, f"attribution/{name}")
    dilemmas = len(labels.dilemmas)
    number, of_number = measured
    spec = replace(ATTRIBUTION[ROWS], units=of_number.units)
    shape = (dilemmas, *shape_LN)
    shards, chunks = record_chunks(spec, shape)
    arrays.create_array(group, ROWS, spec, shape, chunks=chunks, shards=shards)
    behind = tuple(len(labels.further[dim]) for dim in of_number.dims[1:])
    for one, kind, full in (
        (number, of_number, (dilemmas, *behind)),
        ("sealed", ATTRIBUTION["sealed"], (dilemmas,)),
        (SEAL, ATTRIBUTION[SEAL], (dilemmas,)),
    ):
        arrays.create_array(group, one, kind, full, chunks=(1, *full[1:]))
    arrays.write_coordinate(group, "dilemma", labels.dilemmas)
    for dim in ("value", "language"):
        along = getattr(labels, f"dilemma_{dim}s")
        arrays.write_coordinate(group, f"dilemma_{dim}", along, dim="dilemma")
        arrays.write_coordinate(group, dim, getattr(labels, f"{dim}s"))
    for dim, of_dim in labels.further.items():
        arrays.write_coordinate(group, dim, of_dim)
    for dim, length in zip(("layer", "neuron"), shape_LN, strict=True):
        arrays.write_coordinate(group, dim, range(length))
    of_neuron = write_labels(group, shape_LN[1], read_root_attrs(path))
    coordinates = " ".join(("dilemma_value", "dilemma_language", *of_neuron))
    about = {"coordinates": coordinates, "created": utc_now()}
    vouched = {DATA: digest_arrays(arrays.written(group), group.path)}
    group.update_attributes({**attrs, **about, **vouched})


def cells(
    dilemma_values: Sequence[str],
    dilemma_languages: Sequence[str],
    values: Sequence[str],
    languages: Sequence[str],
) -> Cells:
    """The dilemmas of each value and language."""
    value_D, language_D = np.array(dilemma_values), np.array(dilemma_languages)
    return {
        (v, g): np.flatnonzero((value_D == value) & (language_D == language))
        for v, value in enumerate(values)
        for g, language in enumerate(languages)
    }


def sum_dilemmas(
    rows_DLN: NDArray[np.float32], at: Cells, shape_VG: tuple[int, ...]
) -> tuple[Floats, Floats]:
    """Sums of attributions and of their squares, (layer, neuron, value, language) each."""
    sums = np.zeros((*rows_DLN.shape[1:], *shape_VG))
    squares = np.zeros_like(sums)
    for (v, g), of in at.items():
        rows = rows_DLN[of].astype(np.float64)
        sums[..., v, g], squares[..., v, g] = rows.sum(axis=0), (rows**2).sum(axis=0)
    return sums, squares


class AttributionRecorder:
    """Fills and seals the dilemmas of an attribution that `create_attribution` made."""

    def __init__(self, path: str, name: str) -> None:
        self._path, self._name = path, f"attribution/{name}"
        self._run = lock.own_run(path)
        self._group = arrays.open_group(path, self._name, mode="r+")

    @property
    def questions_digest(self) -> str:
        """Digest of all questions."""
        return str(self._group.attrs["questions_digest"])

    def sealed(self) -> NDArray[np.bool_]:
        """Which dilemmas are attributed whole, (dilemma,)."""
        return arrays.read_array(self._group, "sealed").astype(bool)

    def write(
        self, dilemma: int, row_LN: NDArray[np.float32], measured: Mapping[str, Floats]
    ) -> None:
        """Write one dilemma's attributions, and what was measured of it, and, last, seal it.

        Raises ValueError, before anything is written, if a number is not finite; StoreError if
        another run has taken the store over.
        """
        lock.require(self._path, self._run)
        written: dict[str, NDArray[Any]] = {ROWS: row_LN, **measured}
        for name, numbers in written.items():
            if not np.isfinite(numbers).all():
                raise ValueError(f"dilemma {dilemma}: {name} is not finite")
        chunks = {}
        for name, numbers in written.items():
            array = self._array(name)
            chunks[name] = arrays.write_region(array, dilemma, numbers.astype(array.dtype))
        if SEAL in self._group:
            arrays.write_string(self._array(SEAL), dilemma, write_seal("dilemma", dilemma, chunks))
        arrays.write_region(self._array("sealed"), dilemma, np.asarray(True))

    def complete(self, *, keep_rows: bool) -> None:
        """Sum over the dilemmas, which are all sealed; mark the attribution complete, and vouch
        for it. Without `keep_rows` the dilemmas' own rows are removed."""
        if not self._group.attrs.get("summed"):
            self._sum()
            found = digest_arrays(arrays.written(self._group), self._name)
            found = {name: of for name, of in found.items() if name in SUMMED}
            labels: Any = self._group.attrs.get(DATA, {})
            self._group.update_attributes({"summed": True, DATA: {**labels, **found}})
        if not keep_rows:
            lock.require(self._path, self._run)
            find_storage(self._path).remove(f"{self._name}/{ROWS}")
        if not self._group.attrs.get("complete"):
            self._group.update_attributes(
                {**seals(self._group), REVISION: next_revision(self._path), "complete": True}
            )
        commit(self._path, {})

    def _sum(self) -> None:
        labels = {
            dim: [str(label) for label in arrays.read_array(self._group, dim)]
            for dim in ("dilemma_value", "dilemma_language", "value", "language")
        }
        at = cells(*labels.values())
        shape_VG = (len(labels["value"]), len(labels["language"]))
        count_VG = np.array([len(of) for of in at.values()]).reshape(shape_VG)
        rows = self._array(ROWS)
        _, num_layers, num_neurons = rows.shape
        units = str(rows.attrs["units"])
        squared = f"({units})2" if " " in units else f"{units}2"
        totals = [
            arrays.create_whole(
                self._group,
                name,
                replace(ATTRIBUTION[name], units=of_units),
                (num_layers, num_neurons, *shape_VG),
            )
            for name, of_units in (("attribution_sum", units), ("attribution_square_sum", squared))
        ]
        step = totals[0].chunks[0]
        for first in range(0, num_layers, step):
            layers = slice(first, min(first + step, num_layers))
            block = np.asarray(rows[:, layers])
            for total, found in zip(totals, sum_dilemmas(block, at, shape_VG), strict=True):
                total[layers] = found
        arrays.write_array(self._group, "dilemma_count", ATTRIBUTION["dilemma_count"], count_VG)

    def _array(self, name: str) -> zarr.Array[Any]:
        return arrays.get_array(self._group, name)
