"""Caveats on the effects, each with its own numbers."""

from vxdist.report.content import Content
from vxdist.report.elements import Caveat
from vxdist.report.evaluation import Evaluation
from vxdist.report.findings import describe_source
from vxdist.report.interventions import describe_intervention
from vxdist.report.notes import outcome_notes
from vxdist.report.text import listing, percent, plural, span_of
from vxstore.effect_words import calibration
from vxstore.warrant import RULE, WORTH, describe


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
        *_sets(evaluation),
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
    level = percent(evaluation.confidence)
    text = f"Each cell rests on {span_of(counts, 'dilemma')}."
    if min(counts, default=0) < 2:
        text += " A cell with fewer than two has no interval."
    else:
        text += (
            f" The {level} intervals of the shifts hold for other dilemmas of this kind, and for "
            "these neurons: another selection would give other neurons."
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
    draws = plural(evaluation.controls, "control draw")
    return Caveat(
        title="What a shift is compared with",
        text=(
            f"Each mask is compared with {draws}: random neurons that belong to no value, matched "
            "to the mask by layer, count and activity. p is that of Student’s t, for one more "
            f"draw. The rank among them is a picture: the smallest two-sided p it could show "
            f"is {tail:.2f}."
        ),
    )


def _sets(evaluation: Evaluation) -> tuple[Caveat, ...]:
    """What p among matched sets is worth, or why there is none."""
    if evaluation.warrant is None:
        text = evaluation.unwarranted
    else:
        about = describe(evaluation.warrant)
        text = f"{about[0].upper()}{about[1:]}. A warrant is given where, {RULE}. {WORTH}."
    return (Caveat(title="Shifts of thousands of matched sets", text=text),) if text else ()


def _comparisons(evaluation: Evaluation) -> Caveat:
    masks = plural(len(evaluation.masks), "mask")
    text = (
        f"The effect matrix has {plural(len(evaluation.cells), 'cell')} ({masks}, "
        f"{plural(len(evaluation.values), 'value')}, "
        f"{plural(len(evaluation.languages), 'language')}). "
    )
    if evaluation.is_tested:
        text += (
            "q corrects for the number of cells of a kind (own values; other values; own beyond "
            f"others): of those with q at most {evaluation.fdr:g}, "
            f"{percent(evaluation.fdr)} are expected to be found by chance. "
        )
        text += calibration(evaluation.null_rate, evaluation.null_count)
    else:
        text += f"They are not corrected for their number. {evaluation.sentence}"
    return Caveat(title="Many comparisons", text=text.strip())


def _intervention(evaluation: Evaluation) -> Caveat:
    words = describe_intervention(evaluation.intervention, evaluation.intervention_settings)
    counts = span_of([c.masked_count for c in evaluation.cells], "neuron")
    return Caveat(
        title=words.caveat,
        text=(
            f"In every forward pass, a mask {words.applied} ({counts}). {words.limits} "
            "Only what goes beyond the controls, which are treated alike, is evidence about the "
            "value."
        ),
    )
