"""The cells of an effect matrix: one mask on the dilemmas of one value in one language."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import xarray as xr

from vxdist.report.text import NONE, every
from vxstore.query.effects import NUMBERS


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
    """p among the matched sets that an attribution predicts; NaN without a warrant."""
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


def found_rate(found: Mapping[str, Any]) -> float:
    """The rate at which an effect is found; NaN where it is not recorded."""
    return math.nan if found["fdr"] is None else float(found["fdr"])


def make_cells(found: Mapping[str, Any], effect: xr.Dataset) -> Iterator[Cell]:
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
            fdr=found_rate(found),
            control_shifts=tuple(shift for shift in control_shifts if not math.isnan(shift)),
        )
        yield cell if cell.masked_count else _blank(cell)


def _blank(cell: Cell) -> Cell:
    """A cell whose mask holds no neuron: what was measured is not an effect."""
    passes = None if cell.passes is None else False
    nothing: dict[str, Any] = dict.fromkeys(NUMBERS, math.nan)
    return replace(cell, **nothing, control_shifts=(), passes=passes)
