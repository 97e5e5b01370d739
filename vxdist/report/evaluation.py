"""An evaluation as the store records it: its effects, and whether they pass.

M: mask, V: value, G: language, K: control draw.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxdist.report.text import NONE, digits_for, every
from vxstore.read import Store

NUMBERS = ("mean_shift", "shift_low", "shift_high", "flip_rate", "control_mean", "control_rank")


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What an effect is a change of: an array of the evaluation.

    `has_decision`: the number has a boundary at which the model's decision flips.
    """

    array: str
    long_name: str
    units: str
    """Empty if it has none."""
    has_decision: bool

    def with_units(self, number: str) -> str:
        """`number` and its units."""
        return f"{number} {self.units}" if self.units else number


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One mask on the dilemmas of one value in one language.

    Shifts are in the units of the measure. Where the mask holds no neuron, numbers are NaN. Stores
    of earlier versions do not record `passes` (None) and `control_shifts` (empty).
    """

    mask: str
    value: str
    language: str
    mean_shift: float
    shift_low: float
    shift_high: float
    flip_rate: float
    control_mean: float
    control_rank: float
    dilemma_count: int
    masked_count: int
    draws: int
    """Number of control draws of the mask."""
    control_shifts: tuple[float, ...]
    passes: bool | None

    @property
    def own(self) -> bool:
        """Whether the mask is that of the value itself."""
        return self.mask == self.value

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval excludes zero; a missing interval does not."""
        return self.shift_low > 0 or self.shift_high < 0

    @property
    def beyond_controls(self) -> bool:
        """Whether the shift is strictly outside all control draws, if there were any."""
        return self.control_rank in (0.0, 1.0)

    @property
    def among(self) -> str:
        """Where the shift is among the control draws', as in `above 2 of 3`."""
        if not self.draws or math.isnan(self.control_rank):
            return NONE
        if self.beyond_controls:
            side = "above" if self.control_rank else "below"
            return f"{side} {every(self.draws, 'draw').removesuffix(' draws')}"
        least, most = self.draws_below
        level = f", level with {most - least}" if most > least else ""
        return f"above {least} of {self.draws}{level}"

    @property
    def draws_below(self) -> tuple[int, int]:
        """Control draws whose shift is below the mask's: without those level with it, and with.

        A rank counts a tie as half a draw.
        """
        rank = self.control_rank * self.draws
        if not self.control_shifts:
            return math.floor(rank + 1e-9), math.ceil(rank - 1e-9)
        ties = sum(shift == self.mean_shift for shift in self.control_shifts)
        return round(rank - ties / 2), round(rank + ties / 2)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """An evaluation and its effects.

    `verdict` is that of the effect group, empty in stores of earlier versions. `mask_file` is the
    file that the ablated neurons came from, empty if they came from the score `scores`. `intact`
    holds what was measured of the intact model, by dilemma.
    """

    name: str
    outcome: str
    intervention: str
    scores: str
    mask_file: str
    measure: Measure
    masks: tuple[str, ...]
    languages: tuple[str, ...]
    confidence: float
    controls: int
    cells: tuple[Cell, ...]
    verdict: Mapping[str, Any]
    prompts: Mapping[str, str]
    intact: xr.Dataset

    @property
    def largest_shift(self) -> float:
        """The largest magnitude in the effect matrix, 0 if it is empty."""
        known = [abs(c.mean_shift) for c in self.cells if not math.isnan(c.mean_shift)]
        return max(known, default=0.0)

    @property
    def digits(self) -> int:
        """Decimals of the shifts in the matrix; the tables show one more."""
        return digits_for(self.largest_shift)

    @property
    def empty_masks(self) -> tuple[tuple[str, str], ...]:
        """Masks without a neuron, as (mask, language)."""
        return tuple(dict.fromkeys((c.mask, c.language) for c in self.cells if not c.masked_count))


def read_evaluation(store: Store, name: str) -> Evaluation:
    """Read an evaluation and its effects. Raises StoreError if they are missing or damaged."""
    evaluation, effect = store.evaluation(name), store.effect(name).load()
    attrs, settings = evaluation.attrs, evaluation.attrs.get("settings", {})
    # Which neurons each draw ablated is large, and the page does not show it.
    at = [str(kind) for kind in evaluation["kind"].values].index("intact")
    intact = evaluation.drop_vars("masked").isel(condition=at).load()
    return Evaluation(
        name=name,
        outcome=str(attrs.get("outcome", "choice")),
        intervention=str(attrs.get("intervention", "zero")),
        scores=str(settings.get("scores", "")),
        mask_file=str(settings.get("masks") or ""),
        measure=_find_measure(evaluation),
        masks=_labels(effect, "mask"),
        languages=_labels(effect, "language"),
        confidence=float(effect.attrs["confidence"]),
        controls=int(effect.attrs["controls"]),
        cells=_read_cells(effect),
        verdict=dict(effect.attrs.get("verdict") or {}),
        prompts=_find_prompts(settings, _labels(intact, "dilemma_language")),
        intact=intact,
    )


def _find_measure(evaluation: xr.Dataset) -> Measure:
    array = str(evaluation.attrs.get("effect_of", "log_odds"))
    attrs = evaluation[array].attrs
    units = str(attrs.get("units", "1"))
    return Measure(
        array=array,
        long_name=str(attrs.get("long_name", array.replace("_", " "))),
        units="" if units == "1" else units,
        has_decision=evaluation.attrs.get("decision_boundary", 0.0) is not None,
    )


def _find_prompts(settings: Mapping[str, Any], languages: Sequence[str]) -> dict[str, str]:
    """The questions in the languages of the dilemmas, if the outcome has a setting `prompts`."""
    prompts = settings.get("prompts")
    if not isinstance(prompts, Mapping):
        return {}
    return {str(k): str(prompt) for k, prompt in prompts.items() if k in languages}


def _read_cells(effect: xr.Dataset) -> tuple[Cell, ...]:
    order = ("mask", "value", "language")
    found = {
        str(name): array.transpose(*order, ...).values
        for name, array in effect.data_vars.items()
        if set(order) <= set(array.dims)
    }
    masked_MG = effect["masked_count"].transpose("mask", "language").values
    masks, values, languages = (_labels(effect, dim) for dim in order)
    return tuple(
        Cell(
            mask=mask,
            value=value,
            language=language,
            masked_count=int(masked_MG[m, g]),
            dilemma_count=int(found["dilemma_count"][m, v, g]),
            draws=int(effect.attrs["controls"]),
            **_numbers({name: of[m, v, g] for name, of in found.items()}, masked_MG[m, g] > 0),
        )
        for g, language in enumerate(languages)
        for m, mask in enumerate(masks)
        for v, value in enumerate(values)
    )


def _numbers(found: Mapping[str, Any], has_neurons: bool) -> dict[str, Any]:
    """What one cell says of the mask; nothing if the mask holds no neuron."""
    recorded = "passes" in found
    if not has_neurons:
        nothing = dict.fromkeys(NUMBERS, math.nan)
        return {**nothing, "control_shifts": (), "passes": False if recorded else None}
    return {
        **{name: float(found[name]) for name in NUMBERS},
        "control_shifts": _known(found.get("control_shift", np.array([]))),
        "passes": bool(found["passes"]) if recorded else None,
    }


def _labels(dataset: xr.Dataset, dim: str) -> tuple[str, ...]:
    return tuple(str(label) for label in dataset[dim].values)


def _known(shift_K: NDArray[np.float64]) -> tuple[float, ...]:
    """The numbers that are not NaN, as they are where there are no dilemmas."""
    return tuple(float(shift) for shift in shift_K[~np.isnan(shift_K)])
