"""The effects of the masks: the matrix as a heat map, and below it the tables of its cells."""

import math
from dataclasses import dataclass

from vxdist.report.cells import Cell
from vxdist.report.content import Content
from vxdist.report.elements import MapRow, Name, Section, Shade, make_shade
from vxdist.report.evaluation import Evaluation, Measure
from vxdist.report.findings import describe_source
from vxdist.report.interventions import InterventionWords, describe_intervention
from vxdist.report.notes import outcome_notes
from vxdist.report.sections.doses import Doses, make_doses
from vxdist.report.sections.effect_table import (
    EffectTable,
    make_table,
    show_among_sets,
    show_flips,
    show_harm,
    show_tests,
)
from vxdist.report.sections.own_effects import OwnEffects, make_own_effects
from vxdist.report.text import every, interval, plural, signed
from vxstore.effect_words import HEAVY, OWN, calibration, specific


@dataclass(frozen=True, kw_only=True)
class EffectMap:
    """The effect matrix of one language; rows are masks, columns the values of the dilemmas."""

    language: str
    columns: tuple[Name, ...]
    rows: tuple[MapRow, ...]


@dataclass(frozen=True, kw_only=True)
class EffectsView:
    """`maps` on one scale, up to `largest`; `source` says where the neurons came from, if that is
    not the score shown; `beyond` is the legend of cells that are found, and `grey` of the others;
    empty if none can be. `notes`: the verdict, and how far it can be believed."""

    words: InterventionWords
    measure: Measure
    reading: str
    source: str
    beyond: str
    grey: str
    notes: tuple[str, ...]
    largest: str
    maps: tuple[EffectMap, ...]
    own: OwnEffects
    doses: Doses | None
    table: EffectTable


@dataclass(frozen=True, kw_only=True)
class NoEffects:
    """Why there are no effects to show."""

    missing: str


def make_section(content: Content) -> Section:
    """The effects of the evaluation shown, or why there is none."""
    evaluation = content.evaluation
    if evaluation is None:
        return Section(title="Effects", view=NoEffects(missing=content.missing))
    words = describe_intervention(evaluation.intervention, evaluation.intervention_settings)
    view = EffectsView(
        words=words,
        measure=evaluation.measure,
        reading=outcome_notes(content).reading,
        source=describe_source(content, evaluation),
        beyond=_beyond(evaluation),
        grey="not found" if evaluation.is_tested else "",
        notes=tuple(filter(None, notes(evaluation))),
        largest=signed(evaluation.largest_shift, evaluation.digits).lstrip("+"),
        maps=tuple(_effect_map(content, evaluation, g) for g in evaluation.languages),
        own=make_own_effects(content, evaluation),
        doses=make_doses(content, evaluation),
        table=make_table(content, evaluation),
    )
    return Section(title=f"Effects of {words.title}", view=view)


def _beyond(evaluation: Evaluation) -> str:
    if evaluation.is_tested:
        return f"moves more than its matched draws (q at most {evaluation.fdr:g})"
    if not evaluation.verdict or not evaluation.controls:
        return ""
    return f"and outside {every(evaluation.controls, 'control draw')}"


def notes(evaluation: Evaluation) -> tuple[str, ...]:
    """The verdict, which masks are selective, how often draws would be found, and small p."""
    return (
        evaluation.sentence,
        specific(evaluation.verdict),
        calibration(evaluation.null_rate, evaluation.null_count),
        f"{HEAVY}." if evaluation.on_tails else "",
        f"{OWN}." if evaluation.asks_own else "",
    )


def _effect_map(content: Content, evaluation: Evaluation, language: str) -> EffectMap:
    names = tuple(content.name(mask) for mask in evaluation.masks)
    columns = tuple(content.name(value) for value in evaluation.values)
    by_key = {(c.mask, c.value): c for c in evaluation.cells if c.language == language}
    rows = tuple(
        MapRow(
            name=row,
            shades=tuple(
                _effect_shade(evaluation, by_key[row.id, column.id], row, column)
                for column in columns
            ),
        )
        for row in names
    )
    return EffectMap(language=language, columns=columns, rows=rows)


def _effect_shade(evaluation: Evaluation, cell: Cell, row: Name, column: Name) -> Shade:
    largest, digits = evaluation.largest_shift, evaluation.digits
    missing = math.isnan(cell.mean_shift)
    alpha = 0.0 if missing or not largest else abs(cell.mean_shift) / largest
    classes = ["missing" if missing else "up" if cell.mean_shift > 0 else "down"]
    classes += ["own"] * cell.own + ["clear"] * cell.excludes_zero
    classes += ["passes"] * (cell.is_found or bool(cell.passes))
    classes += ["grey"] * (evaluation.is_tested and not cell.is_found and not missing)
    tip = "\n".join(_explain(evaluation, cell, row, column))
    return make_shade(signed(cell.mean_shift, digits), alpha, " ".join(classes), tip)


def _explain(evaluation: Evaluation, cell: Cell, row: Name, column: Name) -> list[str]:
    """The lines of a cell's tooltip."""
    head = f"Mask {row.label}, {column.label} dilemmas, {cell.language}"
    if not cell.masked_count:
        return [head, "The mask holds no neuron"]
    fine, measure = evaluation.digits + 1, evaluation.measure
    dilemmas = plural(cell.dilemma_count, "dilemma")
    flips = f"Flips {show_flips(cell)} of {dilemmas}"
    return [
        head,
        f"Mean shift {measure.with_units(signed(cell.mean_shift, fine))} "
        f"{interval(cell.shift_low, cell.shift_high, fine)}",
        flips if measure.has_decision else dilemmas,
        *[f"Controls: mean {signed(cell.control_mean, fine)}; the mask is {cell.among}"]
        * bool(cell.draws),
        f"{plural(cell.masked_count, 'neuron')} in the mask",
        *["The interval excludes zero"] * cell.excludes_zero,
        *_explain_tests(evaluation, cell),
        *[f"The shift is outside {every(cell.draws, 'control draw')}"] * cell.beyond_controls,
    ]


def _explain_tests(evaluation: Evaluation, cell: Cell) -> list[str]:
    if not evaluation.is_tested or math.isnan(cell.p_value):
        return []
    p, q, q_specific = show_tests(evaluation, cell)
    own = f"; beyond other values’ dilemmas q {q_specific}" if cell.own else ""
    harm = show_harm(evaluation, cell)
    said = [f"Harm on neutral text {harm[0]} nats per token, p {harm[1]}"] if harm else []
    if evaluation.warrant:
        said.insert(0, f"p {show_among_sets(cell)} among predicted matched sets")
    return [f"p {p}, q {q} against matched draws{own}", *said]
