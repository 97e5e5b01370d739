"""Writing an evaluation: one condition (intact, a mask, a control) at a time, sealed as it ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from vxstore import begun
from vxstore.begun import seals, start_group
from vxstore.experts import write_labels
from vxstore.io import arrays, lock
from vxstore.io.digests import DATA, REVISION, digest_arrays, write_seal
from vxstore.io.metadata import commit, next_revision, utc_now
from vxstore.names import names_on_disk
from vxstore.outcome import asks_own, find_asked
from vxstore.read import read_root_attrs
from vxstore.schema import EVALUATION, SEAL, ArraySpec, layered_chunks


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
    measures: Mapping[str, ArraySpec],
    labels: Mapping[str, Sequence[str]],
    masked_CLNG: NDArray[np.bool_],
    attrs: Mapping[str, Any],
) -> None:
    """Create evaluation/NAME, empty but for the masks (condition, layer, neuron, language).

    `measures` are the outcome's arrays, of dimensions condition, dilemma and those of `labels`.
    """
    group = start_group(path, f"evaluation/{name}")
    shape = {"condition": len(conditions), "dilemma": len(dilemmas)}
    shape |= {dim: len(of_dim) for dim, of_dim in labels.items()}
    rows = {name: EVALUATION[name] for name in ("sealed", SEAL)}
    for array_name, spec in {**measures, **rows}.items():
        full = tuple(shape[dim] for dim in spec.dims)
        arrays.create_array(group, array_name, spec, full, chunks=(1, *full[1:]))
    spec = EVALUATION["masked"]
    chunks = layered_chunks(spec.dims, masked_CLNG.shape, 1)
    masked = arrays.create_array(group, "masked", spec, masked_CLNG.shape, chunks=chunks)
    masked[...] = masked_CLNG
    root_attrs = read_root_attrs(path)
    value = names_on_disk(f"evaluation/{name}", root_attrs["format_version"]).get("value", "value")
    _write_labels(group, conditions, dilemmas, value, {"language": languages, **labels})
    for dim, at in (("layer", 1), ("neuron", 2)):
        arrays.write_coordinate(group, dim, range(masked_CLNG.shape[at]))
    of_neuron = write_labels(group, masked_CLNG.shape[2], root_attrs)
    coordinates = " ".join(("kind", "mask", value, "dilemma_language", *of_neuron))
    about = {"coordinates": coordinates, "created": utc_now()}
    vouched = {DATA: digest_arrays(arrays.written(group), group.path)}
    group.update_attributes({**attrs, **about, **vouched})


def _write_labels(
    group: zarr.Group,
    conditions: Sequence[ConditionLabels],
    dilemmas: Sequence[DilemmaLabels],
    value: str,
    labels: Mapping[str, Sequence[str]],
) -> None:
    """`value` is the name on disk of the dilemmas' values."""
    arrays.write_coordinate(group, "condition", [c.name for c in conditions])
    arrays.write_coordinate(group, "kind", [c.kind for c in conditions], dim="condition")
    arrays.write_coordinate(group, "mask", [c.mask for c in conditions], dim="condition")
    arrays.write_coordinate(group, "dilemma", [d.id for d in dilemmas])
    arrays.write_coordinate(group, value, [d.value for d in dilemmas], dim="dilemma")
    spoken = [d.language for d in dilemmas]
    arrays.write_coordinate(group, "dilemma_language", spoken, dim="dilemma")
    for dim, of_dim in labels.items():
        arrays.write_coordinate(group, dim, of_dim)


def begun_attrs(path: str, name: str) -> dict[str, Any]:
    """Attributes of evaluation/NAME if it was begun, perhaps not finished; else empty."""
    return begun.begun_attrs(path, f"evaluation/{name}")


class ConditionRecorder:
    """Fills and seals conditions of an evaluation that `create_evaluation` made."""

    def __init__(self, path: str, name: str) -> None:
        self._path = path
        self._run = lock.own_run(path)
        self._group = arrays.open_group(path, f"evaluation/{name}", mode="r+")

    def array(self, name: str) -> zarr.Array[Any]:
        """One of the evaluation's arrays."""
        return arrays.get_array(self._group, name)

    @property
    def questions_digest(self) -> str | None:
        """Digest of all questions; None in an evaluation that an earlier version began."""
        digest = self._group.attrs.get("questions_digest")
        return None if digest is None else str(digest)

    @property
    def shares_prompts(self) -> bool:
        """Whether what questions share is computed once; false in one of an earlier version."""
        return bool(self._group.attrs.get("shares_prompts", False))

    def sealed(self) -> NDArray[np.bool_]:
        """Which conditions are scored whole; shape (condition,)."""
        return arrays.read_array(self._group, "sealed").astype(bool)

    def mask(self, condition: int) -> str:
        """The value whose neurons, or whose controls, a condition ablates; empty if intact."""
        return str(arrays.read_array(self._group, "mask")[condition])

    def asked(self) -> NDArray[np.bool_]:
        """Which dilemmas each condition is asked about; shape (condition, dilemma)."""
        kind_C, mask_C, id_D = (
            arrays.read_array(self._group, name) for name in ("kind", "mask", "dilemma")
        )
        if not asks_own(dict(self._group.attrs)):
            return np.ones((len(kind_C), len(id_D)), dtype=bool)
        return find_asked(kind_C, mask_C, arrays.read_array(self._group, "dilemma_value"))

    def write(self, condition: int, measured: Mapping[str, NDArray[Any]]) -> None:
        """Write one condition's measures, each (dilemma, ...), and, last, seal it.

        Raises ValueError, before anything is written, if a number of a dilemma that was asked is
        not finite, or a text is missing (None); StoreError if another run has taken the store over.
        """
        lock.require(self._path, self._run)
        asked_D = self.asked()[condition]
        for name, found in measured.items():
            if found.dtype == object and not all(isinstance(text, str) for text in found.flat):
                raise ValueError(f"condition {condition}: {name} has no text for a question")
            if found.dtype != object and not np.isfinite(found[asked_D]).all():
                raise ValueError(f"condition {condition}: {name} is not finite")
        chunks = {}
        for name, numbers in measured.items():
            array = self.array(name)
            chunks[name] = arrays.write_region(array, condition, numbers.astype(array.dtype))
        if SEAL in self._group:
            seal = write_seal("condition", condition, chunks)
            arrays.write_string(self.array(SEAL), condition, seal)
        arrays.write_region(self.array("sealed"), condition, np.asarray(True))

    def complete(self) -> None:
        """Mark the evaluation complete, and vouch for it."""
        if not self._group.attrs.get("complete"):  # else it is vouched for as it is
            self._group.update_attributes(
                {**seals(self._group), REVISION: next_revision(self._path), "complete": True}
            )
        commit(self._path, {})
