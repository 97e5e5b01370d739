"""Verifying the finished scores, attributions and evaluations of a store, by what they declare."""

import itertools
from collections.abc import Iterator, Mapping

import xarray as xr

from vxstore.begun import begun_attrs
from vxstore.check.attribution import broken_attribution
from vxstore.check.effects import broken_doses, broken_effects
from vxstore.check.findings import RECOMPUTE, Report
from vxstore.check.laws import broken_laws, broken_quotients, broken_ranking
from vxstore.check.vape import broken_vape
from vxstore.claims import find_claims
from vxstore.declared import (
    array_laws,
    evaluation_laws,
    find_ranking,
    find_selected,
    require_labels,
    score_laws,
)
from vxstore.errors import DAMAGE, StoreError
from vxstore.io import arrays
from vxstore.io.metadata import BELOW, FILE, is_listed, read_root
from vxstore.io.storage import find_storage
from vxstore.outcome import asks_own, find_asked
from vxstore.read import Store
from vxstore.schema import RECORD


def check_group(store: Store, group: str, report: Report) -> None:
    """Verify a finished score, attribution or evaluation."""
    try:
        bad = list(_check(store, group))
    except (StoreError, *DAMAGE) as error:
        below = [group, *(f"{group}/{name}" for name in BELOW)]
        bad = [found for name in below for found in bad_labels(store.path, name)]
        bad = bad or [(group, str(error))]
    for array, what in bad:
        report.add(array, what, RECOMPUTE)


def _check(store: Store, group: str) -> Iterator[tuple[str, str]]:
    """Arrays that are damaged or break a law, and how; laws only where nothing is damaged."""
    kind, name = group.split("/")
    if kind == "scores":
        scores = store.scores(name)
        bad = list(_bad_arrays(group, scores))
        below = f"{group}/languages"
        if is_group(store, below):
            bad += _bad_arrays(below, store.languages(name))
        yield from bad or _broken_score(store, group, scores)
        return
    if kind == "attribution":
        attribution = store.attribution(name)
        bad = list(_bad_arrays(group, attribution))
        yield from bad or broken_attribution(group, attribution)
        return
    datasets = {group: store.evaluation(name)}
    for below, read in (("effect", store.effect), ("dose", store.dose)):
        if is_group(store, f"{group}/{below}"):
            datasets[f"{group}/{below}"] = read(name)
    bad = [found for at, dataset in datasets.items() for found in _bad_arrays(at, dataset)]
    yield from bad
    broken = [
        found
        for at, dataset in datasets.items()
        if not bad
        for found in _broken_evaluation(at, dataset, is_effect=at != group)
    ]
    yield from broken
    if not bad and not broken:
        yield from _broken_conclusions(store, group, datasets)


def is_group(store: Store, group: str) -> bool:
    """Whether a finished group is there."""
    there = find_storage(store.path).size(f"{group}/{FILE}") is not None
    return there and is_listed(read_root(store.path), group)


def bad_labels(path: str, group: str) -> Iterator[tuple[str, str]]:
    """Arrays of labels in a group that cannot be read, and why."""
    if find_storage(path).size(f"{group}/{FILE}".lstrip("/")) is None:
        return
    try:
        opened = arrays.open_group(path, group, whole=True)
    except StoreError:
        return  # not of labels; its metadata have a finding
    for name in sorted(opened.array_keys()):
        array = arrays.get_array(opened, name)
        if array.ndim == 1 and name not in RECORD:
            try:
                array[...]
            except (StoreError, *DAMAGE) as error:
                yield f"{group}/{name}".lstrip("/"), getattr(error, "why", str(error))


def _bad_arrays(group: str, dataset: xr.Dataset) -> Iterator[tuple[str, str]]:
    for array, name in _chunks(dataset):
        try:
            array.load()
        except (StoreError, *DAMAGE) as error:
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


def _only_asked(evaluation: xr.Dataset) -> xr.Dataset:
    """An evaluation with the numbers of the intact model where a condition was asked nothing."""
    if not asks_own(evaluation.attrs):
        return evaluation
    kind_C, mask_C, value_D = (
        evaluation[name].values.astype(str) for name in ("kind", "mask", "value")
    )
    asked = xr.DataArray(find_asked(kind_C, mask_C, value_D), dims=("condition", "dilemma"))
    measured = {
        name: array.where(asked, array.isel(condition=0))
        for name, array in evaluation.data_vars.items()
        if {"condition", "dilemma"} <= set(array.dims)
    }
    return evaluation.assign(measured)


def _broken_evaluation(
    group: str, dataset: xr.Dataset, *, is_effect: bool
) -> Iterator[tuple[str, str]]:
    if is_effect:
        laws = array_laws(dataset)
    else:
        laws = evaluation_laws(dataset)
        dataset = _only_asked(dataset)
        if not dataset["sealed"].values.all():
            yield f"{group}/sealed", "finished, but a condition is not sealed"
    for name, law in laws.items():
        if law.quotient_of is not None:
            raise StoreError(f"{name}: quotient_of: only arrays of scores are quotients of counts")
    for name, what in broken_laws(dataset, laws):
        yield f"{group}/{name}", what


def _broken_conclusions(
    store: Store, group: str, datasets: Mapping[str, xr.Dataset]
) -> Iterator[tuple[str, str]]:
    """Effects and dose curves that do not follow from the evaluations that they are of."""
    evaluation = datasets[group]
    if (effect := datasets.get(f"{group}/effect")) is not None:
        of = str(effect.attrs.get("harm_of"))
        known = of in store.names("evaluation") and is_group(store, f"evaluation/{of}/effect")
        harm = store.effect(of).load() if known else None
        for name, what in broken_effects(evaluation, effect, harm):
            yield f"{group}/effect/{name}", what
    if (dose := datasets.get(f"{group}/dose")) is not None:
        members = {
            name: store.evaluation(name)
            for name, created in dose.attrs.get("members", {}).items()
            if name in store.names("evaluation")
            and begun_attrs(store.path, f"evaluation/{name}").get("created") == created
        }
        for name, what in broken_doses(dose, members):
            yield f"{group}/dose/{name}", what


def _broken_score(store: Store, group: str, scores: xr.Dataset) -> Iterator[tuple[str, str]]:
    """What is broken in the first layer that breaks a law."""
    root = store.root()
    find_selected(scores)
    ranking = find_ranking(scores)
    find_claims(scores)
    require_labels(scores, root)
    laws = score_laws(scores)
    for layer in range(scores.sizes["layer"]):
        block, where = scores.isel(layer=layer).load(), f"layer {layer}: "
        broken = [
            *broken_ranking(block, ranking, where),
            *broken_laws(block, laws, where),
            *broken_quotients(root, block, laws, layer),
        ]
        broken = broken or list(broken_vape(scores, block, where))
        yield from ((f"{group}/{name}", what) for name, what in broken)
        if broken:
            return
