"""Opening a store, and refusing what is not one, not finished, or newer than this reader."""

from pathlib import Path
from typing import Any

import xarray as xr
import zarr

from vxstore import zarrio
from vxstore.errors import StoreError
from vxstore.schema import FORMAT_NAME, FORMAT_VERSION

STATE_CREATING = "creating"
STATE_RECORDING = "recording"
STATE_COMPLETE = "complete"


def read_root_attrs(path: str, *, need_format: bool = True) -> dict[str, Any]:
    """Attributes of the root group.

    Raises StoreError if nothing is there or, with `need_format`, it is not a store this version
    can read.
    """
    if "://" not in path and not Path(path).exists():
        raise StoreError(f"no store at {path}; `vxdist locate --store {path} ...` makes one")
    try:
        attrs = zarrio.plain_attrs(zarrio.open_group(path))
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is not a vxstore: no readable Zarr v3 group there") from error
    if need_format:
        _check_format(path, attrs)
    return attrs


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


class Store:
    """A store opened for reading. Data are read lazily, chunk by chunk.

    Open it with `vxstore.open(path)`.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.attrs = read_root_attrs(path)

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
        """Counts by (part, layer, neuron), with value, language and stance along part."""
        return self._open("record")

    def scores(self, name: str) -> xr.Dataset:
        """The score `name`. Raises StoreError, listing the known ones, if there is none."""
        return self._derived("scores", name)

    def evaluation(self, name: str) -> xr.Dataset:
        """Log-odds by (condition, dilemma, order) of the evaluation `name`."""
        return self._derived("evaluation", name)

    def unfinished_evaluation(self, name: str) -> xr.Dataset:
        """The same while it is being written."""
        return self._open(f"evaluation/{name}")

    def effect(self, name: str) -> xr.Dataset:
        """Shifts by (mask, value, language) of the evaluation `name`."""
        return self._derived("evaluation", name, "effect")

    def names(self, kind: str) -> list[str]:
        """Names of the finished groups below `scores` or `evaluation`."""
        root = zarrio.open_group(self.path)
        if kind not in root:
            return []
        group = root[kind]
        assert isinstance(group, zarr.Group)
        return sorted(n for n, child in group.groups() if child.attrs.get("complete"))

    def _derived(self, kind: str, name: str, *below: str) -> xr.Dataset:
        known = self.names(kind)
        if name not in known:
            have = ", ".join(known) or "none"
            stage = "reduce" if kind == "scores" else "evaluate"
            raise StoreError(
                f"{self.path} has no finished {kind}/{name} (there: {have}); run `vxdist {stage}`"
            )
        return self._open("/".join((kind, name, *below)))

    def _open(self, group: str) -> xr.Dataset:
        dataset: xr.Dataset = xr.open_zarr(self.path, group=group, consolidated=False)
        return dataset


def open_store(path: str) -> Store:
    """Open the store at `path` for reading. Raises StoreError if it is not one."""
    return Store(path)
