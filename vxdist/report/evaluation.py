"""An evaluation as the store records it: its effects, and whether they pass."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

from vxdist.report.cells import Cell, found_rate, make_cells
from vxdist.report.text import digits_for
from vxstore.effect_words import conclude, is_tested, rests_on_tails
from vxstore.query import doses, effects
from vxstore.query.doses import held_by
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
    warrant: Mapping[str, Any] | None
    """Which attribution predicts matched sets; None if none does."""
    unwarranted: str
    """Why none does, in one sentence; empty if one does, or none could."""
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
        fdr=found_rate(found),
        controls=int(found["controls"]),
        cells=tuple(sorted(make_cells(found, effect), key=lambda c: languages.index(c.language))),
        verdict=found["verdict"] or {},
        sentence=conclude(found["verdict"], str(found["outcome"])),
        null_rate=found["null_rate"],
        asks_own=found["control_dilemmas"] == "own",
        null_count=int(found["null_count"] or 0),
        p_source=str(found["p_source"] or ""),
        on_tails=rests_on_tails(found["verdict"], int(found["controls"]), found["p_source"]),
        warrant=found["warrant"],
        unwarranted=found["unwarranted"] or "",
        prompts=_find_prompts(settings, strings(intact["dilemma_language"].values)),
        intact=intact,
        doses=doses(store, name) if name in held_by(store) else None,
    )


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
