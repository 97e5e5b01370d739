"""Routed counts that can be: how many tokens the experts of a layer are given together.

L: layer, E: expert.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vxstore.blocks import read_blocks
from vxstore.experts import Integers, count_experts


def check_routed(
    part: int,
    routed_LE: Integers | None,
    shape: tuple[int, ...],
    token_count: int,
    attrs: Mapping[str, Any],
) -> None:
    """Raise ValueError if the routed counts of a part with (layer, neuron) `shape` cannot be.

    A dense store has none. With experts, 0 <= tokens routed to an expert <= tokens and, if the
    root's attributes have `experts_per_token`, each token is routed to as many in each layer.
    """
    num_experts = count_experts(attrs)
    if (routed_LE is not None) != bool(num_experts):
        found = "none are given" if routed_LE is None else "routed counts are given"
        raise ValueError(f"part {part}: the store has {num_experts} experts, and {found}")
    if routed_LE is None:
        return
    if routed_LE.shape != (shape[0], num_experts):
        raise ValueError(
            f"part {part}: routed counts are of shape {routed_LE.shape}, expected "
            f"{(shape[0], num_experts)}"
        )
    if routed_LE.min() < 0 or routed_LE.max() > token_count:
        raise ValueError(
            f"part {part}: routed counts from {routed_LE.min()} to {routed_LE.max()} do not lie "
            f"within 0 and its {token_count} tokens"
        )
    wrong_L = wrong_totals(attrs, routed_LE, token_count)
    if wrong_L.any():
        layer = int(np.argmax(wrong_L))
        wanted = per_token(attrs, shape[0])[layer]
        raise ValueError(
            f"part {part}: layer {layer} routed {routed_LE[layer].sum()} times, expected {wanted} "
            f"for each of its {token_count} tokens"
        )


def per_token(attrs: Mapping[str, Any], num_layers: int) -> NDArray[np.int64]:
    """Experts that each token is routed to, (layer,); -1 where that is not known."""
    blocks = read_blocks(attrs)
    if blocks is not None:
        return blocks.routed_totals(1)
    known = attrs.get("experts_per_token")
    return np.full(num_layers, -1 if known is None else known)


def wrong_totals(
    attrs: Mapping[str, Any],
    routed_LE: NDArray[Any],
    token_count: int,
    layers: slice = slice(None),
) -> NDArray[np.bool_]:
    """Which of some layers routed more or fewer tokens than they must, (layer,)."""
    total_L = routed_LE.sum(axis=1, dtype=np.int64)
    last = len(routed_LE) if layers.stop is None else layers.stop
    known_L = per_token(attrs, last)[layers]
    return np.asarray((known_L >= 0) & (total_L != known_L * token_count))
