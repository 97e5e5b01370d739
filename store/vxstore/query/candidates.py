"""Neurons of one language that may be among the first of a score.

V: value, K: one of the neurons.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vxstore.query.ranking import Bools, Floats


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Neurons of one language, by layer and neuron; `member_KV` are the values they belong to.

    `number_K` is what the score ranks by, `ranked_K` whether it ranks the neuron; `shown_K` holds
    further numbers, by the array they are from: the best over values.
    """

    layer_K: NDArray[np.int64]
    neuron_K: NDArray[np.int64]
    member_KV: Bools
    number_K: Floats
    ranked_K: Bools
    level_K: NDArray[np.int8]
    shown_K: Mapping[str, Floats]

    def take(self, at_K: NDArray[np.int64]) -> "Candidates":
        """The candidates at these positions."""
        own = {n: getattr(self, n)[at_K] for n in _ARRAYS}
        return Candidates(**own, shown_K={name: of[at_K] for name, of in self.shown_K.items()})


_ARRAYS = ("layer_K", "neuron_K", "member_KV", "number_K", "ranked_K", "level_K")


def joined(*pieces: Candidates) -> Candidates:
    """The candidates of several pieces, one after another."""
    return Candidates(
        **{n: np.concatenate([getattr(p, n) for p in pieces]) for n in _ARRAYS},
        shown_K={
            name: np.concatenate([piece.shown_K[name] for piece in pieces])
            for name in pieces[0].shown_K
        },
    )
