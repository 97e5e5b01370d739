"""Numbers that arrive in many small pieces, kept in one array: so many arrays would split the heap.

K: number.
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

LEAST = 1024
"""Numbers that there is room for from the start."""


class Gathered:
    """An array that grows at its end."""

    def __init__(self, dtype: DTypeLike) -> None:
        self._room_K = np.empty(LEAST, dtype=dtype)
        self._size = 0

    def add(self, number_K: NDArray[Any]) -> None:
        """Append these numbers."""
        end = self._size + len(number_K)
        if end > len(self._room_K):
            wider_K = np.empty(max(end, 2 * len(self._room_K)), dtype=self._room_K.dtype)
            wider_K[: self._size] = self.all
            self._room_K = wider_K
        self._room_K[self._size : end] = number_K
        self._size = end

    @property
    def all(self) -> NDArray[Any]:
        """All numbers so far, in the order in which they came; a view."""
        return self._room_K[: self._size]
