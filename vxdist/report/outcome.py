"""What switching neurons off did, and whether control draws would have passed for masks.

C: condition, D: dilemma, O: order of the options, M: mask, K: control draw, R: resample.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxdist.report.text import NONE, digits_for

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One mask on the dilemmas of one value in one language. Shifts in nats."""

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
    control_shifts: tuple[float, ...]

    @property
    def own(self) -> bool:
        """Whether the value's own neurons were switched off."""
        return self.mask == self.value

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval does not hold zero; no interval does not exclude it."""
        return self.shift_low > 0 or self.shift_high < 0

    @property
    def beyond_controls(self) -> bool:
        """Whether the shift lies strictly outside all control draws, if there were any."""
        return self.control_rank in (0.0, 1.0)

    @property
    def among(self) -> str:
        """Where the shift lies among the control draws', as in `above 2 of 3`."""
        draws = len(self.control_shifts)
        if not draws or math.isnan(self.control_rank):
            return NONE
        if self.beyond_controls:
            return f"{'above' if self.control_rank else 'below'} all {draws}"
        return f"above {self.control_rank * draws:g} of {draws}"

    @property
    def passes(self) -> bool:
        """Whether the shift passes both tests."""
        return self.excludes_zero and self.beyond_controls


@dataclass(frozen=True, kw_only=True)
class Letters:
    """How the intact model answers in one language."""

    language: str
    dilemma_count: int
    same_letter: float
    first_letter: float
    aligned: float
    mass_mean: float
    mass_least: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """An evaluation. `placebo_passes` counts, for each control draw put in the masks' place, the
    cells that pass the tests the masks must pass; `placebo_own` those on the own value.
    `mask_file` is where the neurons came from, empty if from the scores."""

    name: str
    scores: str
    masks: tuple[str, ...]
    languages: tuple[str, ...]
    confidence: float
    controls: int
    cells: tuple[Cell, ...]
    letters: tuple[Letters, ...]
    placebo_passes: tuple[int, ...]
    placebo_own: tuple[int, ...]
    prompts: dict[str, str]
    mask_file: str

    @property
    def largest_shift(self) -> float:
        """The largest magnitude in the effect matrix, 0 if it is empty."""
        return max((abs(c.mean_shift) for c in self.cells if not math.isnan(c.mean_shift)),
                   default=0.0)  # fmt: skip

    @property
    def digits(self) -> int:
        """Decimals of the shifts in the matrix; the tables show one more."""
        return digits_for(self.largest_shift)


def read_outcome(name: str, evaluation: xr.Dataset, effect: xr.Dataset) -> Outcome:
    """Gather an evaluation and its effects."""
    masks, languages = (tuple(map(str, effect[dim].values)) for dim in ("mask", "language"))
    shifts = _Shifts(evaluation)
    confidence = float(effect.attrs["confidence"])
    resamples = int(effect.attrs["bootstrap_resamples"])
    placebo = np.zeros((2, shifts.draws(masks[0]).size), dtype=np.int64)
    for language in languages:
        for value in masks:
            passes_MK = shifts.placebo_passes(value, language, masks, confidence, resamples)
            placebo[0] += passes_MK.sum(axis=0)
            placebo[1] += passes_MK[masks.index(value)]
    settings = evaluation.attrs.get("settings", {})
    return Outcome(
        name=name,
        scores=str(settings.get("scores", "")),
        masks=masks,
        languages=languages,
        confidence=confidence,
        controls=shifts.draws(masks[0]).size,
        cells=tuple(_cells(effect, shifts, masks, languages)),
        letters=tuple(_letters(evaluation, g) for g in languages if shifts.of(None, g).any()),
        placebo_passes=tuple(int(n) for n in placebo[0]),
        placebo_own=tuple(int(n) for n in placebo[1]),
        prompts={str(k): str(v) for k, v in settings.get("prompts", {}).items()},
        mask_file=str(settings.get("masks") or ""),
    )


class _Shifts:
    """Shifts of log-odds against the intact model, by condition and dilemma."""

    def __init__(self, evaluation: xr.Dataset) -> None:
        self._value, self._language, self._kind, self._mask = (
            _texts(evaluation, name) for name in ("value", "dilemma_language", "kind", "mask")
        )
        log_odds = evaluation["log_odds"].transpose("condition", "dilemma", "order")
        log_odds_CD = log_odds.values.mean(axis=-1)
        self._shift_CD = log_odds_CD - log_odds_CD[self._kind == "intact"]

    def of(self, value: str | None, language: str) -> NDArray[np.bool_]:
        """The dilemmas of a value, or of all, in a language."""
        of_value = np.full(self._value.shape, True) if value is None else self._value == value
        return np.asarray(of_value & (self._language == language), dtype=bool)

    def draws(self, mask: str) -> NDArray[np.intp]:
        """The conditions that are control draws of a mask."""
        return np.flatnonzero((self._kind == "control") & (self._mask == mask))

    def controls(self, mask: str, value: str, language: str) -> tuple[float, ...]:
        """Mean shift of each control draw; none where there are no dilemmas."""
        shift_KD = self._shift_CD[np.ix_(self.draws(mask), self.of(value, language))]
        return tuple(map(float, shift_KD.mean(axis=1))) if shift_KD.shape[1] else ()

    def placebo_passes(
        self, value: str, language: str, masks: Sequence[str], confidence: float, resamples: int
    ) -> NDArray[np.bool_]:
        """Whether a control draw, in its mask's place, passes both tests; (M, K).

        Its shift must lie outside the mask's and all other draws', as the mask's must lie outside
        all draws', and its bootstrap interval must exclude zero.
        """
        of = self.of(value, language)
        draws = [self.draws(mask) for mask in masks]
        passes_MK = np.zeros((len(masks), draws[0].size), dtype=bool)
        dilemmas = int(of.sum())
        if dilemmas < 2:
            return passes_MK
        rng = np.random.default_rng(0)
        weight_RD = rng.multinomial(dilemmas, np.full(dilemmas, 1 / dilemmas), size=resamples)
        for m, mask in enumerate(masks):
            on = np.flatnonzero((self._kind == "mask") & (self._mask == mask))
            shift_CD = self._shift_CD[np.ix_([*on, *draws[m]], of)]
            tail = (1 - confidence) / 2
            low_C, high_C = np.quantile(weight_RD @ shift_CD.T / dilemmas, [tail, 1 - tail], axis=0)
            outside_C = _alone_at_an_end(shift_CD.mean(axis=1))
            passes_MK[m] = (((low_C > 0) | (high_C < 0)) & outside_C)[on.size :]
        return passes_MK


def _texts(dataset: xr.Dataset, name: str) -> NDArray[np.str_]:
    return np.array([str(label) for label in dataset[name].values], dtype=np.str_)


def _alone_at_an_end(shift_C: Floats) -> NDArray[np.bool_]:
    """Which numbers lie strictly below, or strictly above, all others."""
    ends = (shift_C == shift_C.min()) | (shift_C == shift_C.max())
    alone = (shift_C[:, None] == shift_C).sum(axis=1) == 1
    return np.asarray(ends & alone, dtype=bool)


def _cells(
    effect: xr.Dataset, shifts: _Shifts, masks: Sequence[str], languages: Sequence[str]
) -> list[Cell]:
    order = ("mask", "value", "language")
    numbers = {
        name: effect[name].transpose(*order).values
        for name in ("mean_shift", "shift_low", "shift_high", "flip_rate", "control_mean",
                     "control_rank", "dilemma_count")
    }  # fmt: skip
    masked_MG = effect["masked_count"].transpose("mask", "language").values
    values = [str(label) for label in effect["value"].values]
    return [
        Cell(
            mask=mask,
            value=value,
            language=language,
            control_shifts=shifts.controls(mask, value, language),
            masked_count=int(masked_MG[m, g]),
            **{name: found[m, v, g].item() for name, found in numbers.items()},
        )
        for g, language in enumerate(languages)
        for m, mask in enumerate(masks)
        for v, value in enumerate(values)
    ]


def _letters(evaluation: xr.Dataset, language: str) -> Letters:
    intact = evaluation.isel(
        condition=_texts(evaluation, "kind") == "intact",
        dilemma=_texts(evaluation, "dilemma_language") == language,
    )
    log_odds_DO = intact["log_odds"].transpose("condition", "dilemma", "order").values[0]
    mass = intact["option_mass"].values
    # The aligned option is A in the first order and B in the second.
    says_a_DO = (log_odds_DO > 0) == np.array([True, False])
    return Letters(
        language=language,
        dilemma_count=len(log_odds_DO),
        same_letter=float((says_a_DO[:, 0] == says_a_DO[:, 1]).mean()),
        first_letter=float(says_a_DO.mean()),
        aligned=float((log_odds_DO.mean(axis=1) > 0).mean()),
        mass_mean=float(mass.mean()),
        mass_least=float(mass.min()),
    )
