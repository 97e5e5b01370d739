"""Thousands of matched sets at once, by the rule of `matching.draw_control`.

R: set, M: neuron of a mask in a layer, F: free neuron of the layer, W: candidate of a neuron,
L: layer, N: neuron, V: value.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vxdist.stats.matching import LanguageNeurons

Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]
AT_ONCE = 2000
"""Sets drawn at once, so that their flags stay in the cache."""


def draw_sets(
    neurons: LanguageNeurons, target_LN: Bools, *, pool: int, sets: int, rng: np.random.Generator
) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Layer by layer, the neurons of each set: (layer, (set, neuron of the mask)).

    As `draw_control`, but that neurons exactly as active as each other may be exchanged for each
    other at the edge of a pool. Layers in which the mask has no neuron are left out. Nothing is
    yielded of a layer that has too few free neurons, or a neuron of unknown activity: there
    `draw_control` refuses.
    """
    unknown_LN = np.isnan(neurons.activity_LN)
    free_LN = ~np.any(neurons.selected_LNV, axis=-1) & ~unknown_LN
    for layer in np.flatnonzero(target_LN.any(axis=-1)):
        target_M, free_F = np.flatnonzero(target_LN[layer]), np.flatnonzero(free_LN[layer])
        if unknown_LN[layer][target_M].any() or len(free_F) < len(target_M):
            continue
        candidate_MW = nearest(neurons.activity_LN[layer], target_M, free_F, pool)
        yield int(layer), _draw(candidate_MW, pool, sets, rng)


def nearest(
    activity_N: NDArray[np.float64], target_M: Ints, free_F: Ints, pool: int
) -> NDArray[np.int32]:
    """The free neurons nearest in activity to each of the mask's, nearest first, (M, W).

    As many as can matter: `pool`, and those that the others may have taken.
    """
    wanted = min(pool + len(target_M) - 1, len(free_F))
    by_activity_F = free_F[np.argsort(activity_N[free_F], kind="stable")]
    sorted_F = activity_N[by_activity_F]
    found = np.empty((len(target_M), wanted), dtype=np.int32)
    for m, target in enumerate(target_M):
        at = int(np.searchsorted(sorted_F, activity_N[target]))
        near = by_activity_F[max(0, at - wanted) : at + wanted]
        near = np.sort(near)
        order = np.argsort(np.abs(activity_N[near] - activity_N[target]), kind="stable")
        found[m] = near[order[:wanted]]
    return found


def _draw(
    candidate_MW: NDArray[np.int32], pool: int, sets: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """A candidate of each neuron, none of them twice in a set, (R, M)."""
    drawn_RM = np.empty((sets, len(candidate_MW)), dtype=np.int32)
    alone_M = _alone(candidate_MW[:, :pool])
    for m in np.flatnonzero(alone_M):
        drawn_RM[:, m] = candidate_MW[m, rng.integers(min(pool, candidate_MW.shape[1]), size=sets)]
    rest = np.flatnonzero(~alone_M)
    for first in range(0, sets if rest.size else 0, AT_ONCE):
        some = slice(first, min(first + AT_ONCE, sets))
        drawn_RM[some, rest] = _draw_in_turn(candidate_MW[rest], pool, some.stop - first, rng)
    return drawn_RM


def _alone(pool_MW: NDArray[np.int32]) -> Bools:
    """Whether no candidate of a neuron is another's: it can then be drawn by itself."""
    _, which, count = np.unique(pool_MW, return_inverse=True, return_counts=True)
    return np.asarray((count[which].reshape(pool_MW.shape) == 1).all(axis=1))


def _draw_in_turn(
    candidate_MW: NDArray[np.int32], pool: int, sets: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Each set draws for the neurons in an order of its own, from the nearest that are left."""
    neuron_U, at = np.unique(candidate_MW, return_inverse=True)
    at_MW = at.reshape(candidate_MW.shape)
    taken_RU = np.zeros((sets, neuron_U.size), dtype=bool)
    drawn_RM = np.empty((sets, len(candidate_MW)), dtype=np.int32)
    rows_R, most = np.arange(sets), candidate_MW.shape[1]
    order_RM = rng.permuted(np.tile(np.arange(len(candidate_MW)), (sets, 1)), axis=1)
    for target_R in order_RM.T:
        chosen_R: Ints = np.full(sets, -1, dtype=np.intp)
        # Few of the nearest are taken, so the first ones nearly always hold a pool.
        for width in (2 * pool, most):
            some_R = np.flatnonzero(chosen_R < 0)
            at_RW = at_MW[target_R[some_R], :width]
            left_RW: NDArray[np.int16] = np.cumsum(
                ~taken_RU[some_R[:, None], at_RW], axis=1, dtype=np.int16
            )
            count_R = left_RW[:, -1]
            whole_R = (count_R >= pool) | (width >= most)
            size_R = np.minimum(pool, count_R)
            pick_R = (rng.random(some_R.size) * size_R).astype(np.int16)
            first_R = np.argmax(left_RW > pick_R[:, None], axis=1)
            found_R = at_RW[np.arange(some_R.size), first_R]
            chosen_R[some_R[whole_R]] = found_R[whole_R]
        taken_RU[rows_R, chosen_R] = True
        drawn_RM[rows_R, target_R] = neuron_U[chosen_R]
    return drawn_RM
