"""Mixture of experts: whose unit a neuron is, and the tokens that its expert was given.

Neuron n of a layer is unit n % U of expert n // U, of U units an expert. An expert is given some
tokens only, those routed to it: of them, and not of all, is a neuron's activation probability.

P: part, L: layer, E: expert, N: neuron, V: value, G: language, K: one of the neurons asked for.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from vxstore.blocks import BLOCKS, PLACES, check_blocks, read_blocks, write_places
from vxstore.errors import StoreError
from vxstore.io import arrays
from vxstore.schema import EXPERTS_VERSION, ArraySpec

ROUTED = "routed_count"
LABELS = ("expert", "unit")
"""Coordinates along `neuron`."""

ROUTED_ROOT: Mapping[str, ArraySpec] = {
    ROUTED: ArraySpec(
        dims=("layer", "routed_expert", "value", "language"),
        dtype="int64",
        units="tokens",
        long_name="tokens routed to the expert",
    )
}
ROUTED_RECORD: Mapping[str, ArraySpec] = {
    ROUTED: ArraySpec(
        dims=("part", "layer", "routed_expert"),
        dtype="int32",
        units="tokens",
        long_name="tokens of the part routed to the expert",
    )
}

Integers = NDArray[np.integer[Any]]


def count_experts(attrs: Mapping[str, Any]) -> int:
    """Routed experts of each layer, of the one that has most, from the root's attributes.

    0 in a dense store.
    """
    blocks = read_blocks(attrs)
    return int(attrs.get("num_experts", 0)) if blocks is None else blocks.num_experts


def check_attrs(path: str, attrs: Mapping[str, Any]) -> None:
    """Raise StoreError if the attributes on experts cannot be, or are not of this format."""
    check_blocks(path, attrs)
    version = attrs["format_version"]
    if version != EXPERTS_VERSION and "num_experts" not in attrs:
        return
    for name in ("num_experts", "experts_per_token"):
        found = attrs.get(name)
        optional = name == "experts_per_token" and found is None
        if not optional and (type(found) is not int or found < 1):
            raise StoreError(
                f"{path}: {name}: found {str(found)[:40]!r}, expected a number above zero; its "
                "metadata are damaged"
            )
    if version < EXPERTS_VERSION:
        raise StoreError(
            f"{path}: format_version: found {version}, expected at least {EXPERTS_VERSION} of a "
            "store with experts; its metadata are damaged"
        )


def describe_experts(
    num_experts: int, num_neurons: int, attrs: Mapping[str, Any]
) -> dict[str, Any]:
    """Attributes that a new store has for its experts; none if it is dense. Raises ValueError."""
    if "num_experts" in attrs:
        raise ValueError("num_experts is given by itself, not among the attributes")
    if not num_experts:
        return {}
    if num_experts < 0 or num_neurons % num_experts:
        raise ValueError(f"{num_neurons} neurons cannot be shared out over {num_experts} experts")
    if attrs.get("denominator", "tokens") != "tokens":
        raise ValueError("a store with experts counts tokens")
    return {"num_experts": num_experts, "coordinates": " ".join(LABELS)}


def labels(name: str, num_neurons: int, num_experts: int) -> NDArray[np.int64]:
    """The coordinate `name` of whole numbers, as it must be: (neuron,), or from 0."""
    number_N = np.arange(num_neurons)
    if name not in LABELS or not num_experts:
        return number_N
    return np.divmod(number_N, max(1, num_neurons // num_experts))[LABELS.index(name)]


def write_labels(
    group: zarr.Group, num_neurons: int, root_attrs: Mapping[str, Any]
) -> tuple[str, ...]:
    """Write `expert` and `unit` along `neuron`, and what `write_places` does where layers differ.

    Returns their names: none in a dense store.
    """
    if (blocks := read_blocks(root_attrs)) is not None:
        return write_places(group, blocks)
    num_experts = count_experts(root_attrs)
    if not num_experts:
        return ()
    for name in LABELS:
        data = labels(name, num_neurons, num_experts)
        arrays.write_coordinate(group, name, data, dim="neuron")
    return LABELS


def check_layout(what: str, dataset: xr.Dataset, root_attrs: Mapping[str, Any]) -> None:
    """Raise StoreError unless `/` or `/record`, opened, has all that experts need, or nothing."""
    if BLOCKS in root_attrs:
        _check_places(what, dataset, root_attrs)
        return
    num_experts = count_experts(root_attrs)
    if not num_experts:
        if ROUTED in dataset.variables:
            raise StoreError(
                f"{what}: found {ROUTED}, but no num_experts in the root; its metadata are damaged"
            )
        return
    missing = [n for n in (ROUTED, "routed_expert", *LABELS) if n not in dataset.variables]
    if missing:
        raise StoreError(f"{what}: {', '.join(missing)} of its experts are missing")
    routed, neurons = (dataset.sizes.get(dim, 0) for dim in ("routed_expert", "neuron"))
    if routed != num_experts or neurons % num_experts:
        raise StoreError(
            f"{what}: {neurons} neurons and {routed} along routed_expert do not go with "
            f"{num_experts} experts; its metadata are damaged"
        )


def _check_places(what: str, dataset: xr.Dataset, root_attrs: Mapping[str, Any]) -> None:
    """Raise StoreError unless the sizes are those of the blocks, and all neurons have places."""
    blocks = read_blocks(root_attrs)
    assert blocks is not None
    routed = ("routed_expert", ROUTED) if blocks.num_experts else ()
    missing = [name for name in (*PLACES, *routed) if name not in dataset.variables]
    if missing:
        raise StoreError(f"{what}: {', '.join(missing)} of its blocks are missing")
    expected = (len(blocks.layers), blocks.num_neurons, blocks.num_experts)
    found = tuple(dataset.sizes.get(dim, 0) for dim in ("layer", "neuron", "routed_expert"))
    if found != expected or any(dataset[name].dims != ("layer", "neuron") for name in PLACES):
        raise StoreError(
            f"{what}: found {found} layers, neurons and routed experts, expected {expected} of its "
            "blocks; its metadata are damaged"
        )


def by_neuron(routed_LE: NDArray[Any], num_neurons: int) -> NDArray[Any]:
    """Counts by expert (layer, expert, ...) as counts by neuron (layer, neuron, ...)."""
    return np.asarray(np.repeat(routed_LE, num_neurons // routed_LE.shape[1], axis=1))


def tokens_given(root: xr.Dataset, layers: slice) -> NDArray[np.int64]:
    """Tokens that neurons were given, what their active counts are divided by.

    (layer, neuron, value, language), of `layers` of an opened root. In a dense store all neurons
    are given all tokens, so layer and neuron are 1 long; neurons that do not exist are given none.
    """
    blocks, routed_LEVG = read_blocks(root.attrs), None
    token_VG = root.token_count.transpose("value", "language").values
    if ROUTED in root:
        order = ("layer", "routed_expert", "value", "language")
        routed_LEVG = root[ROUTED].isel(layer=layers).transpose(*order).values
    if blocks is not None:
        return blocks.given(routed_LEVG, token_VG, layers)
    if routed_LEVG is None:
        return np.asarray(token_VG[None, None])
    return by_neuron(routed_LEVG, root.sizes["neuron"])


def share(count: NDArray[Any], among: NDArray[Any]) -> NDArray[Any]:
    """`count` / `among`, in the wider of their types; NaN, and no warning, where that is of 0."""
    kind = np.result_type(count, among)
    if kind.kind != "f":
        kind = np.dtype("float64")
    shape = np.broadcast_shapes(count.shape, among.shape)
    nothing = np.full(shape, np.nan, dtype=kind)
    return np.asarray(np.divide(count, among, out=nothing, where=among > 0))


def routed_expert(
    attrs: Mapping[str, Any], num_neurons: int, layer: int, neuron: int
) -> int | None:
    """The expert whose routed tokens a neuron is given; None if it is given all of them.

    Raises StoreError if the neuron does not exist.
    """
    if (blocks := read_blocks(attrs)) is not None:
        return blocks.routed_expert(layer, neuron)
    num_experts = count_experts(attrs)
    return neuron * num_experts // num_neurons if num_experts else None


def columns(
    attrs: Mapping[str, Any], num_neurons: int, layer_K: Any, neuron_K: Any
) -> dict[str, Any]:
    """Columns `expert` and `unit` of these neurons, or of one; none in a dense store.

    Where layers differ `block` comes first, and a dense block's expert is -1.
    """
    if (blocks := read_blocks(attrs)) is not None:
        return blocks.place(layer_K, neuron_K)
    if not count_experts(attrs):
        return {}
    return dict(zip(LABELS, divmod(neuron_K, num_neurons // count_experts(attrs)), strict=True))


def find_neuron(
    path: str, attrs: Mapping[str, Any], num_neurons: int, layer: int, at: tuple[int, ...]
) -> int:
    """The number of the neuron (expert, unit) or, where layers differ, (block, expert, unit).

    Raises StoreError if there is none such.
    """
    if (blocks := read_blocks(attrs)) is not None:
        if len(at) != len(PLACES):
            raise StoreError(f"{path}: found {at}, expected block, expert and unit of the neuron")
        return blocks.find(path, layer, at)
    if len(at) != len(LABELS):
        raise StoreError(f"{path}: found {at}, expected expert and unit of the neuron")
    num_experts = count_experts(attrs)
    if not num_experts:
        raise StoreError(f"{path} has no experts; give the number of the neuron alone")
    units = num_neurons // num_experts
    for name, number, of in zip(LABELS, at, (num_experts, units), strict=True):
        if not 0 <= number < of:
            raise StoreError(f"{path} has no {name} {number}; there are 0 to {of - 1:,}")
    return at[0] * units + at[1]
