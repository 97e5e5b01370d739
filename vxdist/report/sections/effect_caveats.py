"""Caveats on the effects, each with its own numbers."""

from vxdist.report.content import Content
from vxdist.report.elements import Caveat
from vxdist.report.evaluation import Evaluation
from vxdist.report.findings import NO_VERDICT, describe_source
from vxdist.report.interventions import describe_intervention
from vxdist.report.notes import outcome_notes
from vxdist.report.text import every, listing, percent, plural, span, span_of


def effect_caveats(content: Content) -> tuple[Caveat, ...]:
    """All that apply; without an evaluation, only that there is none."""
    evaluation = content.evaluation
    if evaluation is None:
        text = f"{content.missing} A selection shows which neurons are active, not what they do."
        return (Caveat(title="No effects shown", text=text),)
    return (
        *_source(content, evaluation),
        *outcome_notes(content).caveats,
        _dilemmas(evaluation),
        *_empty(content, evaluation),
        _controls(evaluation),
        _comparisons(evaluation),
        _intervention(evaluation),
    )


def _source(content: Content, evaluation: Evaluation) -> tuple[Caveat, ...]:
    source = describe_source(content, evaluation)
    if not source:
        return ()
    return (
        Caveat(
            title="The masks do not hold the neurons selected above",
            text=(
                f"{source} What the page says about the selection is about that score, not about "
                "the neurons of the masks."
            ),
        ),
    )


def _dilemmas(evaluation: Evaluation) -> Caveat:
    counts = [c.dilemma_count for c in evaluation.cells]
    fewest = min(counts, default=0)
    level = percent(evaluation.confidence)
    text = f"Each cell rests on {span_of(counts, 'dilemma')}."
    chance = 2.0 ** (1 - fewest)
    if fewest < 2:
        text += " A cell with fewer than two has no interval."
    elif chance > 1 - evaluation.confidence:
        text += (
            f" With {fewest}, all shifts have the same sign by chance in {percent(chance)} of "
            "cells, and then the interval excludes zero whatever their size: it is far too narrow "
            f"to be called a {level} interval."
        )
    else:
        text += (
            f" The {level} intervals resample dilemmas, and hold only for other dilemmas of this "
            "kind."
        )
    return Caveat(title="Dilemmas behind each cell", text=text)


def _empty(content: Content, evaluation: Evaluation) -> tuple[Caveat, ...]:
    masks = [f"{content.name(mask).label} in {g}" for mask, g in evaluation.empty_masks]
    if not masks:
        return ()
    text = f"No neuron was selected for {listing(masks)}. Cells of these masks show no effect."
    return (Caveat(title="Masks without a neuron", text=text),)


def _controls(evaluation: Evaluation) -> Caveat:
    if not evaluation.controls:
        text = "No control draws were made (evaluate.controls)."
        return Caveat(title="No controls", text=text)
    tail = 2 / (evaluation.controls + 1)
    return Caveat(
        title="Few draws make coarse ranks",
        text=(
            f"Each mask is compared with {plural(evaluation.controls, 'control draw')}: random "
            "neurons that belong to no value, matched to the mask by layer, count and activity. A "
            f"mask that is like any of them is outside {every(evaluation.controls, 'draw')} by "
            f"chance in {percent(tail)} of cells: the smallest two-sided tail they can show is "
            f"{tail:.2f}."
        ),
    )


def _comparisons(evaluation: Evaluation) -> Caveat:
    masks = plural(len(evaluation.masks), "mask")
    text = (
        f"The effect matrix has {plural(len(evaluation.cells), 'cell')} ({masks}, "
        f"{plural(len(evaluation.masks), 'value')}, "
        f"{plural(len(evaluation.languages), 'language')}), without correction for their number. "
    )
    verdict = evaluation.verdict
    if not evaluation.controls:
        text += "Some pass by chance."
    elif not verdict:
        text += NO_VERDICT
    else:
        own = sum(c.own for c in evaluation.cells)
        text += (
            f"{verdict['passed']} pass both tests, {verdict['passed_own']} of them among the {own} "
            "on own values. As a measure of chance, each control draw was put in its mask’s place "
            "and judged by the same two tests, against the mask and the other draws: "
            f"{span(verdict['placebo'])} pass, {span(verdict['placebo_own'])} of them on own "
            "values."
        )
    return Caveat(title="Many comparisons", text=text)


def _intervention(evaluation: Evaluation) -> Caveat:
    words = describe_intervention(evaluation.intervention)
    counts = span_of([c.masked_count for c in evaluation.cells], "neuron")
    return Caveat(
        title=words.caveat,
        text=(
            f"In every forward pass, a mask {words.applied} ({counts}). {words.limits} "
            "Only what goes beyond the controls, which are treated alike, is evidence about the "
            "value."
        ),
    )
