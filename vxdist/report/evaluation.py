"""An evaluation as the store records it: its effects, and whether they pass."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import xarray as xr

from vxdist.report.text import NONE, digits_for, every
from vxstore.effect_words import conclude, is_tested, rests_on_tails
from vxstore.query import doses, effects
from vxstore.query.doses import held_by
from vxstore.query.effects import NUMBERS
from vxstore.query.lookup import strings
from vxstore.read import Store


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

    Shifts are in the units of the measure. Where the mask holds no neuron, numbers are NaN, and so
    is what a store does not record, such as p and q in those of earlier versions. `passes` is
    recorded in those only.
    """

    mask: str
    value: str
    language: str
    mean_shift: float
    shift_low: float
    shift_high: float
    flip_rate: float
    flip_low: float
    flip_high: float
    control_mean: float
    control_sd: float
    control_rank: float
    se_total: float
    p_value: float
    q_value: float
    specific_shift: float
    p_specific: float
    q_specific: float
    harm_shift: float
    """Divergence from the intact model on neutral text; NaN if it was not measured."""
    harm_p: float
    nll_shift: float
    """Change of the negative log-likelihood of neutral text; NaN if this is of dilemmas."""
    p_attributed: float
    warrant_r: float
    warrant_slope: float
    dilemma_count: int
    masked_count: int
    draws: int
    """Number of control draws of the mask."""
    control_shifts: tuple[float, ...]
    passes: bool | None
    fdr: float
    """Rate at which an effect is found; NaN in stores of earlier versions."""

    @property
    def is_found(self) -> bool:
        """Whether the mask moves these dilemmas more than its matched draws do."""
        return self.q_value <= self.fdr

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

    `verdict` is that of the effect group, empty where none is recorded, and `sentence` the same in
    words. `null_rate` is None where it is not recorded. `mask_file` is the
    file that the ablated neurons came from, empty if they came from the score `scores`. `intact`
    holds what was measured of the intact model, by dilemma.
    """

    name: str
    outcome: str
    intervention: str
    intervention_settings: Mapping[str, Any]
    scores: str
    mask_file: str
    measure: Measure
    masks: tuple[str, ...]
    values: tuple[str, ...]
    """Those of the dilemmas; of neutral passages what stands for their value."""
    has_values: bool
    harm_of: str
    """The evaluation that measured the harm of the masks; empty if there is none."""
    languages: tuple[str, ...]
    confidence: float
    fdr: float
    controls: int
    cells: tuple[Cell, ...]
    verdict: Mapping[str, Any]
    sentence: str
    null_rate: float | None
    null_count: int
    p_source: str
    on_tails: bool
    """Whether something is found by a p that is too small to be believed in its size."""
    asks_own: bool
    """Whether control draws were asked about their own value's dilemmas only."""
    prompts: Mapping[str, str]
    intact: xr.Dataset
    doses: Mapping[str, Any] | None = None
    """The dose curve that holds it, as `vxstore.doses` gives it; None if there is none."""

    @property
    def is_tested(self) -> bool:
        """Whether effects have p and q; those of earlier versions have a rank among the draws."""
        return is_tested(self.verdict)

    @property
    def own_cells(self) -> list[Cell]:
        """Each mask on the dilemmas of its own value; on all texts, where these have no values."""
        return [cell for cell in self.cells if cell.own or not self.has_values]

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
    evaluation, found = store.evaluation(name), effects(store, name)
    settings = evaluation.attrs.get("settings", {})
    # Which neurons each draw ablated is large, and the page does not show it.
    at = strings(evaluation["kind"].values).index("intact")
    intact = evaluation.drop_vars("masked").isel(condition=at).load()
    effect = store.effect(name)
    languages = strings(effect["language"].values)
    return Evaluation(
        name=name,
        outcome=str(found["outcome"]),
        intervention=str(found["intervention"]),
        intervention_settings=found["intervention_settings"],
        scores=str(settings.get("scores", "")),
        mask_file=str(settings.get("masks") or ""),
        measure=_find_measure(found, evaluation),
        masks=tuple(strings(effect["mask"].values)),
        values=tuple(strings(effect["value"].values)),
        has_values=found["split"] is None,
        harm_of=str(found["harm_of"] or ""),
        languages=tuple(languages),
        confidence=float(found["confidence"]),
        fdr=_rate(found),
        controls=int(found["controls"]),
        cells=tuple(sorted(_make_cells(found, effect), key=lambda c: languages.index(c.language))),
        verdict=found["verdict"] or {},
        sentence=conclude(found["verdict"], str(found["outcome"])),
        null_rate=found["null_rate"],
        asks_own=found["control_dilemmas"] == "own",
        null_count=int(found["null_count"] or 0),
        p_source=str(found["p_source"] or ""),
        on_tails=rests_on_tails(found["verdict"], int(found["controls"]), found["p_source"]),
        prompts=_find_prompts(settings, strings(intact["dilemma_language"].values)),
        intact=intact,
        doses=doses(store, name) if name in held_by(store) else None,
    )


def _rate(found: Mapping[str, Any]) -> float:
    return math.nan if found["fdr"] is None else float(found["fdr"])


def _find_measure(found: Mapping[str, Any], evaluation: xr.Dataset) -> Measure:
    array = str(found["effect_of"])
    units = str(found["units"] or "1")
    return Measure(
        array=array,
        long_name=str(evaluation[array].attrs.get("long_name", array.replace("_", " "))),
        units="" if units == "1" else units,
        has_decision=found["decision_boundary"] is not None,
    )


def _find_prompts(settings: Mapping[str, Any], languages: Sequence[str]) -> dict[str, str]:
    """The questions in the languages of the dilemmas, if the outcome has a setting `prompts`."""
    prompts = settings.get("prompts")
    if not isinstance(prompts, Mapping):
        return {}
    return {str(k): str(prompt) for k, prompt in prompts.items() if k in languages}


def _make_cells(found: Mapping[str, Any], effect: xr.Dataset) -> Iterator[Cell]:
    """Cells of a query's answer, in its order, with the shifts of their control draws."""
    rows = found["cells"].to_dict("records")
    shifts: Sequence[Sequence[float]] = [()] * len(rows)
    if "control_shift" in effect:
        array = effect["control_shift"].transpose("mask", "value", "language", "draw").values
        shifts = array.reshape(len(rows), -1).tolist()
    for row, control_shifts in zip(rows, shifts, strict=True):
        cell = Cell(
            **row,
            draws=int(found["controls"]),
            fdr=_rate(found),
            control_shifts=tuple(shift for shift in control_shifts if not math.isnan(shift)),
        )
        yield cell if cell.masked_count else _blank(cell)


def _blank(cell: Cell) -> Cell:
    """A cell whose mask holds no neuron: what was measured is not an effect."""
    passes = None if cell.passes is None else False
    nothing: dict[str, Any] = dict.fromkeys(NUMBERS, math.nan)
    return replace(cell, **nothing, control_shifts=(), passes=passes)
