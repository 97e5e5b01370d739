"""What the tests of a score found in one language, as selectors read it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class TestResults:
    """The finished tests of the language at position `language` of the score's labels."""

    arrays: Mapping[str, zarr.Array[Any]]
    language: int
    fdr: float

    def read(self, name: str, layers: slice) -> NDArray[np.float32]:
        """One of the arrays by value, of some layers: (layer, neuron, value)."""
        return np.asarray(self.arrays[name][layers])[..., self.language]
