"""What switching neurons off did, as the store says it.

D: dilemma, O: order of the options, M: mask, V: value, G: language, K: control draw.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vxdist.report.text import NONE, digits_for
from vxdist.stats.verdict import Verdict

NUMBERS = ("mean_shift", "shift_low", "shift_high", "flip_rate", "control_mean", "control_rank",
           "dilemma_count")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One mask on the dilemmas of one value in one language. Shifts in nats.

    `passes` and `control_shifts` are not recorded (None, empty) in stores of earlier versions.
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
    """Control draws of the mask."""
    control_shifts: tuple[float, ...]
    passes: bool | None

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
        if not self.draws or math.isnan(self.control_rank):
            return NONE
        if self.beyond_controls:
            return f"{'above' if self.control_rank else 'below'} all {self.draws}"
        return f"above {self.control_rank * self.draws:g} of {self.draws}"


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
    """An evaluation. `verdict` is None if it is not recorded, in stores of earlier versions.
    `mask_file` is where the neurons came from, empty if from the scores."""

    name: str
    scores: str
    masks: tuple[str, ...]
    languages: tuple[str, ...]
    confidence: float
    controls: int
    cells: tuple[Cell, ...]
    letters: tuple[Letters, ...]
    verdict: Verdict | None
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
    dilemma_languages = _texts(evaluation, "dilemma_language")
    settings = evaluation.attrs.get("settings", {})
    return Outcome(
        name=name,
        scores=str(settings.get("scores", "")),
        masks=masks,
        languages=languages,
        confidence=float(effect.attrs["confidence"]),
        controls=int(effect.attrs["controls"]),
        cells=tuple(_cells(effect, masks, languages)),
        letters=tuple(_letters(evaluation, g) for g in languages if g in dilemma_languages),
        verdict=cast(Verdict | None, effect.attrs.get("verdict")),
        prompts={str(k): str(v) for k, v in settings.get("prompts", {}).items()},
        mask_file=str(settings.get("masks") or ""),
    )


def _texts(dataset: xr.Dataset, name: str) -> NDArray[np.str_]:
    return np.array([str(label) for label in dataset[name].values], dtype=np.str_)


def _cells(effect: xr.Dataset, masks: Sequence[str], languages: Sequence[str]) -> list[Cell]:
    found = {
        str(name): array.transpose("mask", "value", "language", ...).values
        for name, array in effect.data_vars.items()
        if "value" in array.dims
    }
    none_MVGK = np.zeros((*found["mean_shift"].shape, 0))
    shift_MVGK = found.get("control_shift", none_MVGK)
    masked_MG = effect["masked_count"].transpose("mask", "language").values
    values = [str(label) for label in effect["value"].values]
    return [
        Cell(
            mask=mask,
            value=value,
            language=language,
            masked_count=int(masked_MG[m, g]),
            draws=int(effect.attrs["controls"]),
            control_shifts=_known(shift_MVGK[m, v, g]),
            passes=bool(found["passes"][m, v, g]) if "passes" in found else None,
            **{name: found[name][m, v, g].item() for name in NUMBERS},
        )
        for g, language in enumerate(languages)
        for m, mask in enumerate(masks)
        for v, value in enumerate(values)
    ]


def _known(shift_K: NDArray[np.float64]) -> tuple[float, ...]:
    """The numbers without NaN, which they are where there are no dilemmas."""
    return tuple(map(float, shift_K[~np.isnan(shift_K)]))


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
