"""How statistics beside the default ones are measured: each by a function, in its own file.

The function is given the activations of some counted rows, (row, neuron) in float32 and at least
one row, and returns one number for each neuron. The numbers of several blocks of rows are combined
as the statistic's row in `vxstore.statistics` says.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vxdist.errors import UserError
from vxstore.statistics import DEFAULT, STATISTICS, Statistic

if TYPE_CHECKING:
    import torch

    Measure = Callable[[torch.Tensor], torch.Tensor]

MEASURES: dict[str, str] = {
    "activation_max": "vxdist.hooks.measures.activation_max:measure",
}
"""Statistic to `module:function`, imported when chosen."""


def choose(names: Sequence[str]) -> tuple[Statistic, ...]:
    """The rows of `locate.statistics`, in the order of the table. Raises UserError."""
    known = [name for name in STATISTICS if name in DEFAULT or name in MEASURES]
    for name in names:
        if name not in known:
            raise UserError(
                f"locate.statistics: found {name!r}, expected names among {', '.join(known)}"
            )
    if "active_count" not in names:
        raise UserError(
            f"locate.statistics: found {', '.join(names) or 'none'}, expected active_count among "
            "them, which scores and checks are made from; add it"
        )
    return tuple(STATISTICS[name] for name in known if name in names)


def find_measure(name: str) -> "Measure":
    """The function that measures a statistic that is not a default one."""
    module, _, function = MEASURES[name].partition(":")
    found: Measure = getattr(importlib.import_module(module), function)
    return found
