"""What stands between the numbers and a claim: on the selection, then on the effects."""

from vxdist.report.content import Content
from vxdist.report.outcome import Outcome
from vxdist.report.selection_caveats import Caveat, selection_caveats
from vxdist.report.text import percent, plural
from vxdist.report.words import NO_VERDICT, not_evaluated, span


def caveats(content: Content) -> list[Caveat]:
    """All that apply, those on the selection first."""
    on_selection = selection_caveats(content)
    outcome = content.outcome
    if outcome is None:
        missing = (
            f"{not_evaluated(content)} Selection alone shows which neurons are active, not what "
            "they do."
        )
        return [*on_selection, Caveat(title="Not evaluated", text=missing)]
    return [
        *on_selection,
        *([_mask_file(outcome)] if outcome.mask_file else []),
        _letters(outcome),
        _mass(outcome),
        _dilemmas(outcome),
        _controls(outcome),
        _comparisons(outcome),
        _zeroing(outcome),
    ]


def _mask_file(outcome: Outcome) -> Caveat:
    return Caveat(
        title="The neurons switched off are not those selected above",
        text=(
            f"They came from the mask file {outcome.mask_file}. What the page says of the "
            "selection is of the score, and not of them."
        ),
    )


def _letters(outcome: Outcome) -> Caveat:
    return Caveat(
        title="Letters or content",
        text=(
            "Each dilemma is asked twice, with the options exchanged, and the log-odds averaged. "
            "A model that picks the same letter both times goes by position; a flip is then a "
            "change of sign in the small remainder."
        ),
        head=("Dilemmas", "Same letter twice", "Prefers A", "Prefers aligned"),
        rows=tuple(
            (o.language, str(o.dilemma_count), percent(o.same_letter), percent(o.first_letter),
             percent(o.aligned))
            for o in outcome.letters
        ),
    )  # fmt: skip


def _mass(outcome: Outcome) -> Caveat:
    return Caveat(
        title="Probability on the two letters",
        text=(
            "Log-odds compare A with B only. Where the intact model gives the two letters little "
            "of its probability, it was about to say something else."
        ),
        head=("Mean", "Least"),
        rows=tuple(
            (o.language, percent(o.mass_mean), percent(o.mass_least)) for o in outcome.letters
        ),
    )


def _dilemmas(outcome: Outcome) -> Caveat:
    counts = [c.dilemma_count for c in outcome.cells]
    fewest = min(counts, default=0)
    text = f"Behind each cell lie {span(counts)} dilemmas."
    if fewest < 2:
        return Caveat(
            title="Dilemmas behind each cell",
            text=f"{text} A cell with fewer than two has no interval.",
        )
    chance = 2.0 ** (1 - fewest)
    if chance > 1 - outcome.confidence:
        text += (
            f" With {fewest}, all shifts have the same sign by chance in {percent(chance)} of "
            "cells, and then the interval excludes zero whatever their size: it is far too narrow "
            f"to be called a {percent(outcome.confidence)} interval."
        )
    else:
        text += (
            f" The {percent(outcome.confidence)} intervals resample dilemmas and speak for other "
            "dilemmas of this kind only."
        )
    return Caveat(title="Dilemmas behind each cell", text=text)


def _controls(outcome: Outcome) -> Caveat:
    if not outcome.controls:
        return Caveat(title="No controls", text="No control draws were made (evaluate.controls).")
    tail = 2 / (outcome.controls + 1)
    return Caveat(
        title="Few draws make coarse ranks",
        text=(
            f"Each mask is compared with {plural(outcome.controls, 'draw')} of as many, about "
            "equally active neurons of the same layers that belong to no value. A mask that is "
            f"like any of them lies outside all by chance in {percent(tail)} of cells: the "
            f"smallest two-sided tail they can show is {tail:.2f}."
        ),
    )


def _comparisons(outcome: Outcome) -> Caveat:
    cells = len(outcome.cells)
    text = (
        f"{plural(cells, 'cell')} of the effect matrix were looked at "
        f"({len(outcome.masks)} masks, {len(outcome.masks)} values, "
        f"{plural(len(outcome.languages), 'language')}), without correction. "
    )
    if not outcome.controls:
        return Caveat(title="Many comparisons", text=text + "Some pass by chance.")
    verdict = outcome.verdict
    if verdict is None:
        return Caveat(title="Many comparisons", text=text + NO_VERDICT)
    own = sum(c.own for c in outcome.cells)
    return Caveat(
        title="Many comparisons",
        text=(
            f"{text}{verdict['passed']} pass both tests, "
            f"{verdict['passed_own']} of them among the {own} on own "
            "values. As a measure of chance, each control draw was put in its mask’s place and "
            "judged by the same two tests, against the mask and the other draws: "
            f"{span(verdict['placebo'])} cells pass, {span(verdict['placebo_own'])} of them on "
            "own values."
        ),
    )


def _zeroing(outcome: Outcome) -> Caveat:
    masked = [c.masked_count for c in outcome.cells]
    return Caveat(
        title="Zero is not what a neuron usually says",
        text=(
            f"A mask sets {span(masked)} neurons to zero in every forward pass, a state the model "
            "was not trained in. Part of any shift is that damage and not the loss of a value: "
            "only what goes beyond the controls, zeroed alike, speaks for the value. Replacing "
            "activations by their mean was not tried."
        ),
    )
