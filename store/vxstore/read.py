"""Opening a store, and refusing what is not one, not finished, or newer than this reader."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from zarr.abc.store import Store as ZarrStore

from vxstore import cluster_labels, experts, statistics
from vxstore.blocks import read_blocks
from vxstore.errors import StoreError
from vxstore.io.clean import zarr_store
from vxstore.io.digests import VOUCHING
from vxstore.io.guard import LARGEST_CHUNK, guarded
from vxstore.io.metadata import (
    FILE,
    OTHERS,
    OWN,
    STATE_COMPLETE,
    Document,
    is_listed,
    read_document,
    read_group,
    read_root,
)
from vxstore.io.one_run import RUN
from vxstore.io.storage import find_storage
from vxstore.names import names_on_disk
from vxstore.schema import FORMAT_NAME, FORMAT_VERSION, SEAL
from vxstore.sizes import check_sizes
from vxstore.text import clean

STATE_CREATING = "creating"
STATE_RECORDING = "recording"
UNSHOWN = (OWN, OTHERS, RUN, *VOUCHING)
"""Attributes that are about the storage, and not about what is stored."""
STAGES = {"scores": "reduce", "evaluation": "evaluate", "attribution": "attribute"}
"""The stage that makes each kind of group."""


def read_root_attrs(path: str, *groups: str) -> dict[str, Any]:
    """Attributes of the root group; the metadata of `groups` are verified too.

    Raises StoreError if nothing is there, it is damaged, or not a store this version can read.
    """
    root = _read_root(path)
    for group in groups:
        read_group(path, group, root)
    attrs: dict[str, Any] = root["attributes"]
    return attrs


def _read_root(path: str) -> Document:
    storage = find_storage(path)
    if storage.size(FILE) is None:
        if storage.size("") is None and not storage.children():
            raise StoreError(f"no store at {path}; `vxdist locate --store {path} ...` makes one")
        raise StoreError(f"{path} is not a vxstore: there is no {FILE} of a Zarr v3 group")
    try:
        root = read_root(path)
    except StoreError as error:
        raise StoreError(f"{path} is not a readable vxstore: {error}") from error
    _check_format(path, root["attributes"])
    return root


def _check_format(path: str, attrs: dict[str, Any]) -> None:
    if attrs.get("state") == STATE_CREATING:
        raise StoreError(f"{path} was never fully created; run `vxdist locate` again")
    if attrs.get("format") != FORMAT_NAME:
        raise StoreError(f"{path} is a Zarr group but not a vxstore (no `format: {FORMAT_NAME}`)")
    if attrs.get("state") not in (STATE_RECORDING, STATE_COMPLETE):
        raise StoreError(
            f"{path} has state {attrs.get('state')!r}, expected {STATE_RECORDING!r} "
            f"or {STATE_COMPLETE!r}; its metadata are damaged"
        )
    version = attrs.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise StoreError(
            f"{path} has store format {version}, and this vxdist reads up to {FORMAT_VERSION}; "
            "install a newer vxdist"
        )
    experts.check_attrs(path, attrs)
    statistics.check_names(path, attrs)


class Store:
    """A store opened for reading. Data are read lazily, chunk by chunk.

    Open it with `vxstore.open(path)`.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.attrs = read_root_attrs(path)

    def __repr__(self) -> str:
        """What the store is of and how far it is, on a few lines."""
        try:
            about = self._describe()
        except (StoreError, OSError, RuntimeError, ValueError) as error:
            return f"<vxstore.Store {self.path!r}: {clean(error)}>"
        lines = (f"  {name + ':':<13}{clean(what)}" for name, what in about.items())
        return "\n".join((f"<vxstore.Store {self.path!r}>", *lines))

    def _describe(self) -> dict[str, str]:
        of = self._open("", whole=self.complete)
        num_experts, blocks = experts.count_experts(self.attrs), read_blocks(self.attrs)
        by_layer = f"{of.sizes['neuron']:,}"
        if blocks is not None:
            by_layer = f"{int(blocks.exists().sum(1).min()):,} to {blocks.num_neurons:,}"
        elif num_experts:
            by_layer = f"{num_experts} experts x {of.sizes['neuron'] // num_experts:,}"
        recorded = "complete"
        if not self.complete:
            sealed = self.record()["sealed"].values
            recorded = f"{int(sealed.sum()):,} of {sealed.size:,} parts recorded"
        return {
            "model": f"{self.attrs.get('model')} ({self.attrs.get('dtype')})",
            "neurons": f"{of.sizes['layer']} layers x {by_layer}",
            "values": ", ".join(of["value"].values.tolist()),
            "languages": ", ".join(of["language"].values.tolist()),
            "state": recorded,
            "scores": ", ".join(self.names("scores")) or "none",
            "evaluations": ", ".join(self.names("evaluation")) or "none",
        }

    @property
    def complete(self) -> bool:
        """Whether every part was recorded and summed into the root."""
        return bool(self.attrs["state"] == STATE_COMPLETE)

    def root(self) -> xr.Dataset:
        """Counts by (layer, neuron, value, language). Raises StoreError while incomplete."""
        if not self.complete:
            sealed = self.record()["sealed"].values
            raise StoreError(
                f"{self.path} is not complete: {int((~sealed).sum())} of {sealed.size} parts are "
                "missing; run `vxdist locate` again"
            )
        return self._open("")

    def record(self) -> xr.Dataset:
        """Counts by (part, layer, neuron); along part value, language, stance and, in stores that
        have them, cluster and setting."""
        return self._open("record", whole=self.complete)

    def scores(self, name: str) -> xr.Dataset:
        """The score `name`. Raises StoreError, listing the known ones, if there is none."""
        return self._derived("scores", name)

    def languages(self, name: str) -> xr.Dataset:
        """What languages share of the score `name`. Raises StoreError if they were not compared."""
        return self._derived("scores", name, "languages")

    def evaluation(self, name: str) -> xr.Dataset:
        """Log-odds by (condition, dilemma, order) of the evaluation `name`."""
        return self._derived("evaluation", name)

    def unfinished_evaluation(self, name: str) -> xr.Dataset:
        """The same while it is being written."""
        return self._open(f"evaluation/{name}", whole=False)

    def effect(self, name: str) -> xr.Dataset:
        """Shifts by (mask, value, language) of the evaluation `name`."""
        return self._derived("evaluation", name, "effect")

    def dose(self, name: str) -> xr.Dataset:
        """The dose curve written with the evaluation `name`: shifts by (evaluation, mask, value,
        language), and slopes. Raises StoreError if none was."""
        return self._derived("evaluation", name, "dose")

    def attribution(self, name: str) -> xr.Dataset:
        """First-order effects by (layer, neuron, value, language) of the attribution `name`."""
        return self._derived("attribution", name)

    def names(self, kind: str) -> list[str]:
        """Names of the finished groups below `scores`, `evaluation` or `attribution`."""
        storage, root = find_storage(self.path), read_root(self.path)
        found = []
        for name in storage.children(kind):
            file = f"{kind}/{name}/{FILE}"
            if storage.size(file) is None or not is_listed(root, f"{kind}/{name}"):
                continue
            if OTHERS in root["attributes"]:  # only what is finished is listed
                found.append(name)
                continue
            doc, _ = read_document(storage, file, f"{self.path}/{file}")
            if dict(doc.get("attributes", {})).get("complete"):
                found.append(name)
        return found

    def _derived(self, kind: str, name: str, *below: str) -> xr.Dataset:
        known = self.names(kind)
        if name not in known:
            have = ", ".join(known) or "none"
            stage = STAGES[kind]
            raise StoreError(
                f"{self.path} has no finished {kind}/{name} (there: {have}); run `vxdist {stage}`"
            )
        group = "/".join((kind, name, *below))
        if not is_listed(read_root(self.path), group):
            raise StoreError(f"{self.path} has no finished {group}; run `vxdist {STAGES[kind]}`")
        return self._open(group)

    def _open(self, group: str, *, whole: bool = True) -> xr.Dataset:
        """With `whole`, a missing chunk is damage. Raises StoreError before reading a number."""
        # Read again: a stage may have written a group since the store was opened.
        root = read_root(self.path)
        read_group(self.path, group, root)
        store = zarr_store(self.path, whole=whole)
        what = f"{self.path}/{group}".rstrip("/")
        dataset = _open_group(what, store, group)
        check_sizes(what, dataset)
        if "sealed" in dataset:
            dataset = dataset.drop_vars(SEAL, errors="ignore")
        dataset.attrs = _shown(dataset.attrs)
        for variable in dataset.variables.values():
            variable.attrs = _shown(variable.attrs)
        num_experts = experts.count_experts(root["attributes"])
        if group in ("", "record"):
            experts.check_layout(what, dataset, root["attributes"])
        _check_coordinates(what, dataset, num_experts)
        if group == "record":
            dataset = cluster_labels.as_coordinate(what, dataset)
        return _for_users(dataset, group, root["attributes"]["format_version"])


def _shown(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: of for key, of in attrs.items() if key not in UNSHOWN}


def _open_group(what: str, store: ZarrStore, group: str) -> xr.Dataset:
    try:
        with guarded():
            opened: xr.Dataset = xr.open_zarr(store, group=group, consolidated=False)
    except ValueError as error:  # such as arrays of different lengths along one dimension
        raise StoreError(f"{what}: {clean(error)}; its metadata are damaged") from error
    return opened


def _check_coordinates(what: str, dataset: xr.Dataset, num_experts: int) -> None:
    """Labels are small and are read on opening, so what is wrong with them is reported at once."""
    for name, labels in dataset.coords.items():
        if labels.ndim == 2:
            continue  # of all neurons, which are many: `vxstore check` reads them
        if labels.dtype.kind == "i":
            expected = experts.labels(str(name), labels.size, num_experts)
            sound = np.array_equal(labels.values, expected)
        else:
            known = {str(label) for label in labels.values}
            sound = "" not in known or name == "mask"  # no mask is on in the intact condition
            sound = sound and (name not in dataset.sizes or len(known) == labels.size)
        if not sound:
            raise StoreError(f"{what}: the labels in {name} are damaged; restore them from a copy")


def _for_users(dataset: xr.Dataset, group: str, version: int) -> xr.Dataset:
    """Coordinates under their names in memory, and labels of a type that xarray plots.

    Zarr's `string` arrives as NumPy's StringDType, and pandas' strings are objects: xarray refuses
    either on an axis.
    """
    names = {at: name for name, at in names_on_disk(group, version).items() if at in dataset.coords}
    labels = {
        name: label.copy(data=as_unicode(label.values))
        for name, label in dataset.coords.items()
        if label.dtype.kind not in "if"
    }
    return dataset.assign_coords(labels).rename(names)


def as_unicode(labels: NDArray[Any]) -> NDArray[Any]:
    """Strings as NumPy's own, which are padded to the longest; as objects if that were too much."""
    texts = [str(label) for label in labels]
    too_much = 4 * len(texts) * max(map(len, texts), default=0) > LARGEST_CHUNK
    return np.array(texts, dtype=object if too_much else np.str_)


def open_store(path: str) -> Store:
    """Open the store at `path` for reading. Raises StoreError if it is not one."""
    return Store(path)
