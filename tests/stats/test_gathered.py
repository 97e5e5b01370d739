"""Numbers gathered in pieces."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vxdist.stats.gathered import LEAST, Gathered


@given(st.lists(st.integers(0, 3 * LEAST), max_size=6))
def test_all_pieces_in_order(sizes: list[int]) -> None:
    """Nothing is lost where the array grows."""
    gathered, start = Gathered(np.int32), 0
    pieces = []
    for size in sizes:
        pieces.append(np.arange(start, start + size))
        gathered.add(pieces[-1])
        start += size
    assert gathered.all.dtype == np.int32
    np.testing.assert_array_equal(gathered.all, np.arange(start))
