"""Writing an evaluation: one condition (intact, a mask, a control) at a time, sealed as it ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from vxstore.experts import count_experts, write_labels
from vxstore.io import arrays, lock
from vxstore.io.metadata import commit, utc_now
from vxstore.names import names_on_disk
from vxstore.read import read_root_attrs
from vxstore.schema import EVALUATION, layered_chunks


@dataclass(frozen=True, kw_only=True)
class ConditionLabels:
    """One condition: `kind` is intact, mask or control; `mask` the value, or empty if intact."""

    name: str
    kind: str
    mask: str
    draw: int


@dataclass(frozen=True, kw_only=True)
class DilemmaLabels:
    """One evaluation dilemma."""

    id: str
    value: str
    language: str


def create_evaluation(
    path: str,
    name: str,
    *,
    conditions: Sequence[ConditionLabels],
    dilemmas: Sequence[DilemmaLabels],
    languages: Sequence[str],
    masked_CLNG: NDArray[np.bool_],
    attrs: Mapping[str, Any],
) -> None:
    """Create evaluation/NAME, empty but for the masks (condition, layer, neuron, language)."""
    group = arrays.open_group(path, mode="r+").require_group(f"evaluation/{name}")
    group.update_attributes({"complete": False})
    shape = {"condition": len(conditions), "dilemma": len(dilemmas), "order": 2}
    for array_name in ("log_odds", "option_mass", "sealed"):
        spec = EVALUATION[array_name]
        full = tuple(shape[dim] for dim in spec.dims)
        arrays.create_array(group, array_name, spec, full, chunks=(1, *full[1:]))
    spec = EVALUATION["masked"]
    chunks = layered_chunks(spec.dims, masked_CLNG.shape, 1)
    masked = arrays.create_array(group, "masked", spec, masked_CLNG.shape, chunks=chunks)
    masked[...] = masked_CLNG

    arrays.write_coordinate(group, "condition", [c.name for c in conditions])
    arrays.write_coordinate(group, "kind", [c.kind for c in conditions], dim="condition")
    arrays.write_coordinate(group, "mask", [c.mask for c in conditions], dim="condition")
    arrays.write_coordinate(group, "dilemma", [d.id for d in dilemmas])
    attrs_of_root = read_root_attrs(path)
    on_disk = names_on_disk(f"evaluation/{name}", attrs_of_root["format_version"])
    value = on_disk.get("value", "value")
    arrays.write_coordinate(group, value, [d.value for d in dilemmas], dim="dilemma")
    arrays.write_coordinate(
        group, "dilemma_language", [d.language for d in dilemmas], dim="dilemma"
    )
    arrays.write_coordinate(group, "language", languages)
    arrays.write_coordinate(group, "order", ["aligned first", "violating first"])
    for dim, at in (("layer", 1), ("neuron", 2)):
        arrays.write_coordinate(group, dim, range(masked_CLNG.shape[at]))
    num_experts = count_experts(attrs_of_root)
    of_neuron = write_labels(group, masked_CLNG.shape[2], num_experts)
    coordinates = " ".join(("kind", "mask", value, "dilemma_language", *of_neuron))
    group.update_attributes({**attrs, "coordinates": coordinates, "created": utc_now()})


class ConditionRecorder:
    """Fills and seals conditions of an evaluation that `create_evaluation` made."""

    def __init__(self, path: str, name: str) -> None:
        self._path = path
        self._run = lock.current_run(path)
        self._group = arrays.open_group(path, f"evaluation/{name}", mode="r+")

    def array(self, name: str) -> zarr.Array[Any]:
        """One of the evaluation's arrays."""
        return arrays.get_array(self._group, name)

    def sealed(self) -> NDArray[np.bool_]:
        """Which conditions are scored whole; shape (condition,)."""
        return arrays.read_array(self._group, "sealed").astype(bool)

    def write(
        self,
        condition: int,
        log_odds_DO: NDArray[np.float64],
        option_mass_DO: NDArray[np.float64],
    ) -> None:
        """Write one condition's (dilemma, order) and, last, seal it.

        Raises ValueError, before anything is written, if a number is not finite; StoreError if
        another run has taken the store over.
        """
        lock.require(self._path, self._run)
        if not (np.isfinite(log_odds_DO).all() and np.isfinite(option_mass_DO).all()):
            raise ValueError(f"condition {condition}: a log-odds is not finite")
        arrays.write_region(self.array("log_odds"), condition, log_odds_DO)
        arrays.write_region(self.array("option_mass"), condition, option_mass_DO)
        arrays.write_region(self.array("sealed"), condition, np.asarray(True))

    def complete(self) -> None:
        """Mark the evaluation complete, and vouch for it."""
        self._group.update_attributes({"complete": True})
        commit(self._path, {})
