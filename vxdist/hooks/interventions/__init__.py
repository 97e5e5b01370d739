"""Interventions: what the activation of an ablated neuron becomes, h -> scale * h + shift.

To add one, write a module with its class and its settings, and a line in the table. If it can be
unsuitable for what a store holds, it has a method `check(known, masks)` too, as in `other_mean`:
the values that are recorded, and those to ablate; it raises UserError, before a model is loaded.

L: layer, N: neuron.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

INTERVENTIONS = {
    "zero": "vxdist.hooks.interventions.zero:Zero",
    "mean": "vxdist.hooks.interventions.mean:Mean",
    "other_mean": "vxdist.hooks.interventions.other_mean:OtherMean",
    "scale": "vxdist.hooks.interventions.scale:Scale",
    "add": "vxdist.hooks.interventions.add:Add",
}

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Affine:
    """An affine map of each neuron's activation: scale * h + shift, (layer, neuron) each.

    Where the scale is 0 the shift replaces the activation, whatever it was.
    """

    scale_LN: Floats
    shift_LN: Floats


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What the store knows of the activations that an intervention replaces.

    `mean_LN` gives the mean of a statistic, such as activation_sum, over the tokens that each
    neuron was given: of some values, or of all (None), in one language; NaN where no tokens were.
    `values` are those recorded.
    """

    shape_LN: tuple[int, int]
    values: tuple[str, ...]
    mean_LN: Callable[[str, tuple[str, ...] | None, str], NDArray[np.float64]]


class Intervention(Protocol):
    """Says what to replace activations by; the hooks do it."""

    settings: Any
    """An instance of the class's dataclass `Settings`; None if it has none."""
    needs: ClassVar[tuple[str, ...]]
    """Statistics of the store that it reads."""

    def affine(self, recorded: Recorded, value: str, language: str) -> Affine:
        """The map for the mask of `value`, on texts in `language`.

        It is computed for all neurons: control draws are ablated by the same map as the mask that
        they are matched to.
        """
