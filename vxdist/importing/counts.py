"""What a format of counts is read into. L: layer, N: neuron.

To add a format, write a module with a function from a file to `Counts`, and a line in the table of
`command.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The counts of one file. The number of tokens or questions is None if the file lacks it."""

    active_count_LN: NDArray[np.int32]
    """Tokens on which each neuron was active."""
    token_count: int | None
    question_count: int | None
    sha256: str
    """Digest of the file's content."""
    names: Mapping[str, str]
    """What the format calls the `active` counts, the `tokens` and the `questions`, for messages."""
