"""What one part adds to a store, and what is verified of it before it is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxstore.blocks import is_padded, read_blocks
from vxstore.experts import ROUTED, by_neuron, columns
from vxstore.recorded import Recorded
from vxstore.routing import check_routed


@dataclass(frozen=True, kw_only=True)
class PartCounts:
    """What one part adds. L: layer, N: neuron, E: expert."""

    statistics: Mapping[str, NDArray[Any]]
    """By name, each (layer, neuron); at least those that the store records."""
    token_count: int
    story_count: int
    routed_count_LE: NDArray[np.integer[Any]] | None = None
    """Tokens given to each expert; None if the model has none."""


def check_planned(part: int, counts: PartCounts, planned: Mapping[str, Sequence[int]]) -> None:
    """Raise ValueError unless the part holds as many tokens and stories as were planned.

    `planned` is what `read_planned` gave.
    """
    for name, planned_P in planned.items():
        if (found := getattr(counts, name)) != planned_P[part]:
            raise ValueError(
                f"part {part}: {name} of {found}, and {planned_P[part]} were planned for it"
            )


def check_counts(
    part: int,
    counts: PartCounts,
    recorded: Mapping[str, Recorded],
    attrs: Mapping[str, Any],
) -> dict[str, NDArray[Any]]:
    """The arrays to write, by name. Raises ValueError if one is missing or breaks its law."""
    most = np.iinfo(np.int32).max
    if not 0 <= counts.token_count <= most:
        raise ValueError(
            f"part {part}: {counts.token_count} tokens are less than none, or more than int32 holds"
        )
    data = {name: counts.statistics[name] for name in recorded if name in counts.statistics}
    if missing := [name for name in recorded if name not in (*data, ROUTED)]:
        raise ValueError(f"part {part}: the store records {missing[0]}, and none is given")
    active_LN, routed_LE = data["active_count"], counts.routed_count_LE
    check_routed(part, routed_LE, active_LN.shape, counts.token_count, attrs)
    given_LN: NDArray[Any] | None = np.broadcast_to(counts.token_count, active_LN.shape)
    if (blocks := read_blocks(attrs)) is not None:
        given_LN = blocks.given(routed_LE, counts.token_count)
    elif routed_LE is not None:
        given_LN = by_neuron(routed_LE, active_LN.shape[1])
    elif attrs.get("denominator", "tokens") != "tokens":
        given_LN = None
    for name, found_LN in data.items():
        _check_law(part, recorded[name], found_LN, given_LN, attrs)
        empty = recorded[name].law.empty
        if blocks is not None and not is_padded(blocks, found_LN, empty, slice(None)):
            raise ValueError(f"part {part}: {name} has numbers of neurons that do not exist")
    return data if routed_LE is None else {**data, ROUTED: routed_LE}


def _check_law(
    part: int,
    recorded: Recorded,
    found_LN: NDArray[Any],
    given_LN: NDArray[Any] | None,
    attrs: Mapping[str, Any],
) -> None:
    """Raise ValueError, naming the first neuron, unless all numbers are possible."""
    law, dtype = recorded.law, recorded.array.dtype
    assert np.can_cast(found_LN.dtype, dtype, "same_kind"), f"{recorded.name}: {found_LN.dtype}"
    if dtype.kind == "i" and found_LN.max() > np.iinfo(dtype).max:
        raise ValueError(
            f"part {part}: {recorded.name} of {found_LN.max()} is more than {dtype} holds"
        )
    # As they will be read: float64 can be beyond float32.
    read_LN = found_LN.astype(dtype)
    sound_LN = law.holds(read_LN, given_LN)
    if sound_LN.all():
        return
    layer, neuron = (int(n) for n in np.argwhere(~sound_LN)[0])
    place = {"layer": layer}
    place |= columns(attrs, found_LN.shape[1], layer, neuron) or {"neuron": neuron}
    given = "" if given_LN is None else f" (it was given {given_LN[layer, neuron]} tokens)"
    raise ValueError(
        f"part {part}: {', '.join(f'{dim} {n}' for dim, n in place.items())}: {recorded.name} is "
        f"{read_LN[layer, neuron]}, expected {law.expected}{given}"
    )
