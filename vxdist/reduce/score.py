"""Writing a score: one selector over every language of a store, and over all of them pooled.

L: layer, N: neuron, V: value, G: language.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from vxdist.errors import UserError
from vxdist.reduce.counts import LanguageCounts
from vxdist.reduce.reading import Reading
from vxdist.reduce.run_tests import Tested, run_tests
from vxdist.reduce.selectors import Selection, Selector
from vxdist.reduce.selectors.vape import Vape, VapeSettings
from vxdist.reduce.testing import TESTS, Testing
from vxdist.reduce.vape_null import Listing
from vxstore.defaults import DEFAULT_SELECTOR
from vxstore.errors import StoreError
from vxstore.experts import share
from vxstore.groups import DerivedGroup, begin_group
from vxstore.identity import check_name, finished_alike
from vxstore.read import Store, open_store
from vxstore.schema import POOLED, SCORES, ArraySpec

Thresholds = dict[str, dict[str, Any]]
"""What a selector reports, by language."""


def write_score(
    path: str,
    name: str,
    selector: Selector,
    *,
    kind: str = DEFAULT_SELECTOR,
    config: Mapping[str, Any] | None = None,
    testing: Testing | None = None,
    listing: VapeSettings | None = None,
    threads: int | None = None,
    advance: Callable[[int], object] = lambda _: None,
) -> Thresholds:
    """Score and test each language of a complete store, and all pooled, and write scores/NAME.

    `kind` is the selector's name in the table, `config` the sections of the configuration to keep
    with the score, `testing` how neurons are tested (None: as by default), `listing` the settings
    of the VAPE list that the null is shown for (None: the selector's own, or the defaults). Returns
    the thresholds by language, also of a score that is there already and was made with the same
    settings. `advance` is called with the layers just tested.

    Raises StoreError if the store is missing or not complete, or the name is taken by other
    settings; UserError if a setting is out of range, or the store has one value only, no tokens of
    one, not the statistics that the selector needs, or too few dilemmas for the tests it needs.
    """
    testing = testing or Testing()
    check_name(name, "reduce.name")
    selector.check()
    testing.check()
    store = open_store(path)
    identity = _identify(name, selector, kind, testing)
    group = f"scores/{name}"
    absent = {"selector": DEFAULT_SELECTOR, "testing": identity["testing"]}
    if finished_alike(path, group, identity, "reduce.name", absent=absent):
        return _thresholds_of(store, name, selector)
    root = store.root()
    _check_root(path, root, selector)
    source: dict[str, Any] = getattr(selector, "describe_source", lambda _: {})(store)
    reading = Reading.of(store, root, testing)
    reading.check(selector)
    languages = [*(str(label) for label in root.language.values), POOLED]
    counts = [LanguageCounts(store=store, root=root, language=name) for name in languages]
    lists, listings = _list_vape(selector, listing, counts) if reading.testable else ([], [])
    labels = _labels(root, languages)
    written = begin_group(store.path, group, labels)
    found: Tested | None = None
    if reading.testable:
        arrays = {n: _create(written, n, spec, labels) for n, spec in TESTS.items()}
        found = run_tests(reading, selector, listings, arrays, testing, threads, advance)
        counts = [dataclasses.replace(of, tests=found.results.get(of.language)) for of in counts]
    selections = lists or [selector.select(of) for of in counts]
    for array, spec in {**selector.arrays, **SCORES}.items():
        _fill(_create(written, array, spec, labels), [_array(one, array) for one in selections])
    about = reading.untested
    if found is not None:
        about = found.conclude(selections)
        activity_LN, exists_LN = _activity(counts[-1]), counts[-1].exists()
        about |= found.compare_languages(path, group, selections, activity_LN, exists_LN, labels)
    thresholds = {name: dict(of.thresholds) for name, of in zip(languages, selections, strict=True)}
    about["thresholds"] = thresholds
    kept = {} if config is None else {"config": dict(config)}
    written.finish({**identity, **_describe_ranking(selector), **source, **about, **kept})
    return thresholds


def _identify(name: str, selector: Selector, kind: str, testing: Testing) -> dict[str, Any]:
    """What a score is made of: the attributes by which the same one is recognised."""
    settings = {} if selector.settings is None else dataclasses.asdict(selector.settings)
    return {
        "settings": {"name": name, **settings},
        "selector": kind,
        "testing": dataclasses.asdict(testing),
    }


def _list_vape(
    selector: Any, listing: VapeSettings | None, counts: Sequence[LanguageCounts]
) -> tuple[list[Selection], list[Listing | None]]:
    """VAPE's list of each language; and the selections, if VAPE is the selector."""
    own = isinstance(selector, Vape)
    vape = selector if own else Vape(listing or VapeSettings())
    lists, listings = [], []
    for of in counts:
        listed = vape.select(of)
        listings.append(Listing.of(listed, len(of.values)))
        lists += [listed] if own else []
    return lists, listings


def _activity(pooled: LanguageCounts) -> NDArray[np.float64]:
    """Share of all tokens on which each neuron is active, (layer, neuron); NaN without any."""
    activity_LN = np.empty(pooled.shape_LN)
    for layers in pooled.blocks():
        active_LN = pooled.total("active_count", layers).sum(axis=-1)
        activity_LN[layers] = share(active_LN, pooled.tokens(layers).sum(axis=-1))
    return activity_LN


def _labels(root: xr.Dataset, languages: Sequence[str]) -> dict[str, Sequence[str] | range]:
    return {
        "layer": range(root.sizes["layer"]),
        "neuron": range(root.sizes["neuron"]),
        "value": [str(label) for label in root.value.values],
        "language": languages,
    }


def _create(
    group: DerivedGroup, name: str, spec: ArraySpec, labels: Mapping[str, Sequence[str] | range]
) -> zarr.Array[Any]:
    return group.create_array(name, spec, tuple(len(labels[dim]) for dim in spec.dims))


def _thresholds_of(store: Store, name: str, selector: Selector) -> Thresholds:
    """The thresholds of a finished score.

    Raises StoreError if an earlier version wrote it with another value of a setting that is fixed.
    """
    attrs = store.scores(name).attrs
    recorded = attrs.get("settings", {})
    for key, fixed in getattr(selector, "fixed", {}).items():
        if recorded.get(key, fixed) != fixed:
            raise StoreError(
                f"{store.path}/scores/{name} was made by an earlier version, with {key} "
                f"{recorded[key]}, and it is always {fixed} now. Choose another reduce.name"
            )
    return dict(attrs.get("thresholds", {}))


def _check_root(path: str, root: xr.Dataset, selector: Selector) -> None:
    if root.sizes["value"] < 2:
        raise StoreError(f"{path} holds one value; scoring neurons over values needs at least two")
    missing = [name for name in selector.needs if name not in root]
    if missing:
        raise UserError(
            f"reduce.selector: it needs {', '.join(missing)}, which {path} does not record"
        )
    token_VG = root.token_count.transpose("value", "language")
    for v, g in np.argwhere(token_VG.values == 0)[:1]:
        raise StoreError(
            f"{path} has no tokens of value {token_VG.value.values[v]!s} in language "
            f"{token_VG.language.values[g]!s}, so no activation probability; record stories of "
            "every value in every language"
        )


def _describe_ranking(selector: Selector) -> dict[str, Any]:
    among = selector.ranked_among
    return {
        "ranked_by": selector.ranked_by,
        "ascending": selector.ascending,
        **({} if among is None else {"ranked_among": among}),
    }


def _array(selection: Selection, name: str) -> Any:
    return selection.selected_LNV if name == "selected" else selection.arrays[name]


def _fill(target: zarr.Array[Any], by_language: Sequence[Any]) -> None:
    """Write an array whose last dimension is the language, whole chunks of layers at a time."""
    num_layers, step = target.shape[0], target.chunks[0]
    for first in range(0, num_layers, step):
        layers = slice(first, min(first + step, num_layers))
        block = np.stack(
            [found(layers) if callable(found) else found[layers] for found in by_language], axis=-1
        )
        target[layers] = block.astype(target.dtype)
