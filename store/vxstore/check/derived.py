"""Verifying the finished scores and evaluations of a store.

N: neuron, V: value, G: language.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import xarray as xr

from vxstore.check.findings import DERIVED_GROUP, Report
from vxstore.errors import StoreError
from vxstore.experts import share, tokens_given
from vxstore.io import arrays
from vxstore.io.metadata import is_listed, read_root
from vxstore.read import Store
from vxstore.schema import RECORD


def check_group(store: Store, group: str, report: Report) -> None:
    """Verify a finished score or evaluation."""
    try:
        kind, name = group.split("/")
        dataset = store.scores(name) if kind == "scores" else store.evaluation(name)
        bad = [*_bad_arrays(group, dataset)]
        if kind == "evaluation" and is_listed(read_root(store.path), f"{group}/effect"):
            bad += _bad_arrays(f"{group}/effect", store.effect(name))
        if not bad and kind == "evaluation":
            _check_evaluation(dataset)
        elif not bad:
            _check_score(store, dataset)
    except (StoreError, RuntimeError, ValueError, KeyError) as error:
        below = [group] if group.startswith("scores") else [group, f"{group}/effect"]
        bad = [found for at in below for found in bad_labels(store.path, at)]
        bad = bad or [(group, str(error))]
    for array, what in bad:
        report.add(array, what, DERIVED_GROUP)


def bad_labels(path: str, group: str) -> Iterator[tuple[str, str]]:
    """Arrays of labels in a group that cannot be read, and why."""
    opened = arrays.open_group(path, group, whole=True)
    for name in sorted(opened.array_keys()):
        array = arrays.get_array(opened, name)
        if array.ndim == 1 and name not in RECORD:
            try:
                array[...]
            except (StoreError, RuntimeError, ValueError) as error:
                yield f"{group}/{name}".lstrip("/"), getattr(error, "why", str(error))


def _bad_arrays(group: str, dataset: xr.Dataset) -> Iterator[tuple[str, str]]:
    for array, name in _chunks(dataset):
        try:
            array.load()
        except (StoreError, RuntimeError, ValueError) as error:
            yield f"{group}/{name}", getattr(error, "why", str(error))


def _chunks(dataset: xr.Dataset) -> Iterator[tuple[xr.DataArray, str]]:
    """Every array, by as many layers (or conditions) as a chunk holds."""
    for name, array in dataset.data_vars.items():
        chunks = array.encoding["chunks"]
        ranges = [range(0, n, c) for n, c in zip(array.shape, chunks, strict=True)]
        for starts in itertools.product(*ranges):
            at = {
                dim: slice(start, start + length)
                for dim, start, length in zip(array.dims, starts, chunks, strict=True)
            }
            yield array.isel(at), str(name)


def _check_evaluation(evaluation: xr.Dataset) -> None:
    if not evaluation.sealed.values.all():
        raise StoreError("finished, but a condition is not sealed")
    if not np.isfinite(evaluation.log_odds.values).all():
        raise StoreError("log_odds: not finite")
    mass = evaluation.option_mass.values
    if not ((mass >= 0) & (mass <= 1 + 1e-6)).all():
        raise StoreError("option_mass: not between 0 and 1")


def _check_score(store: Store, scores: xr.Dataset) -> None:
    """Probabilities are those of the root; what is selected passed the filter."""
    root = store.root()
    for layer in range(scores.sizes["layer"]):
        of = scores.isel(layer=layer).load()
        if bool((of.selected.any("value") & ~of.passed_filter).any()):
            raise StoreError(f"selected: layer {layer} has neurons that did not pass the filter")
        if bool((of.entropy > np.log(of.sizes["value"]) + 1e-6).any()):
            raise StoreError(f"entropy: layer {layer} is above its maximum")
        active = root.active_count.isel(layer=layer).transpose("neuron", "value", "language")
        given_NVG = tokens_given(root, slice(layer, layer + 1))[0]
        expected_NVG = share(active.values, given_NVG)
        found = of.activation_probability.sel(language=root.language.values)
        found_NVG = found.transpose(*active.dims).values
        if not np.allclose(found_NVG, expected_NVG, rtol=1e-5, atol=0, equal_nan=True):
            raise StoreError(f"activation_probability: layer {layer} is not that of the counts")
