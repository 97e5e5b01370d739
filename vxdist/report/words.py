"""What was found, in plain sentences computed from the numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vxdist.report.content import Content
from vxdist.report.outcome import Cell, Outcome
from vxdist.report.text import NONE, listing, percent, plural

NO_VERDICT = (
    "Whether they go beyond the controls is not recorded: an earlier version measured them. "
    "`vxdist evaluate` with the same settings measures them again, without model work."
)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One number that a reader should take away."""

    number: str
    caption: str


def statement(content: Content) -> list[str]:
    """What was selected, what switching it off did, and what stands against believing it."""
    said = [_selected(content)]
    outcome = content.outcome
    if outcome is None:
        return [*said, f"{not_evaluated(content)} Nothing is known of what these neurons do."]
    said.append(finding(outcome))
    if any(of.same_letter >= 0.5 for of in outcome.letters):
        said.append(_letter_warning(outcome))
    return said


def not_evaluated(content: Content) -> str:
    """That there is no such evaluation, and which there are."""
    there = listing(list(content.other_evaluations)) or "none"
    return f"There is no finished evaluation named {content.evaluation_name} (there: {there})."


def _selected(content: Content) -> str:
    total = content.recording.num_layers * content.recording.num_neurons
    counts = [
        f"{len(s.layer_S):,} ({percent(len(s.layer_S) / total, 1)}) in {s.language}"
        for s in content.by_language
    ]
    text = f"Of {total:,} neurons, {listing(counts)} were selected for their low entropy."
    pairs = [s.own_and_others for s in content.by_language]
    known = [pair for pair in pairs if not math.isnan(sum(pair))]
    if not known:
        return text
    own, others = max(known, key=lambda pair: pair[0] - pair[1])
    seen = "that its expert saw " if content.recording.num_experts else ""
    where = ", in the language where these differ most" if len(known) > 1 else ""
    return (
        f"{text} A selected neuron is active, on average, on {percent(own, 1)} of the tokens {seen}"
        f"of the values it belongs to and on {percent(others, 1)} of the tokens of the others"
        f"{where}."
    )


def finding(outcome: Outcome) -> str:
    """What switching neurons off did, and whether random neurons do as much."""
    return f"{_effect(outcome)} {verdict(outcome)}".strip()


def _effect(outcome: Outcome) -> str:
    """How many cells of the effect matrix pass both tests."""
    cells = outcome.cells
    passing = [c for c in cells if c.passes]
    level = percent(outcome.confidence)
    text = (
        f"The neurons of {plural(len(outcome.masks), 'value')} were switched off, one value at a "
        "time, and the evaluation dilemmas scored again. In "
    )
    if not outcome.controls:
        clear = sum(c.excludes_zero for c in cells)
        return (
            f"{text}{clear} of {plural(len(cells), 'cell')} of the effect matrix the {level} "
            "interval excludes zero. No control draws were made, so nothing tells these shifts "
            "from those of switching off any other neurons."
        )
    if outcome.verdict is None:
        clear = sum(c.excludes_zero for c in cells)
        return (
            f"{text}{clear} of {plural(len(cells), 'cell')} of the effect matrix the {level} "
            f"interval excludes zero. {NO_VERDICT}"
        )
    return (
        f"{text}{len(passing)} of {plural(len(cells), 'cell')} of the effect matrix the {level} "
        f"interval excludes zero and the shift lies outside all {outcome.controls} control draws"
        f"{_directions(passing)}."
    )


def _directions(passing: Sequence[Cell]) -> str:
    if not passing:
        return ""
    down, own = sum(c.mean_shift < 0 for c in passing), sum(c.own for c in passing)
    return (
        f" ({down} away from the aligned option, {len(passing) - down} towards it; "
        f"{own} on the value’s own dilemmas)"
    )


def verdict(outcome: Outcome) -> str:
    """Whether the masks did more than the control draws, by counts of cells that pass."""
    if not outcome.controls or outcome.verdict is None:
        return ""
    placebo = outcome.verdict["placebo"]
    if not outcome.verdict["passed"]:
        return "There is no effect beyond the controls."
    counts = listing([str(n) for n in sorted(placebo)])
    drawn = (
        f"Random neurons put in the masks’ place pass the same two tests in {counts} cells "
        f"({plural(len(placebo), 'draw')})"
    )
    if not outcome.verdict["beyond_controls"]:
        return f"{drawn}: there is no effect beyond the controls."
    return (
        f"{drawn}, always fewer than the masks. By chance alone the masks would lead so in 1 of "
        f"{len(placebo) + 1} evaluations."
    )


def span(counts: Sequence[float], digits: int = 0) -> str:
    """`3`, or `2–5`; a dash if there is none but NaN."""
    known = [n for n in counts if not math.isnan(n)]
    if not known:
        return NONE
    least, most = f"{min(known):.{digits}f}", f"{max(known):.{digits}f}"
    return least if least == most else f"{least}–{most}"


def _letter_warning(outcome: Outcome) -> str:
    shares = [f"{percent(o.same_letter)} of the dilemmas in {o.language}" for o in outcome.letters]
    return (
        f"With the two options exchanged, the intact model still prefers the same letter in "
        f"{listing(shares)}: it answers by position more than by what the options say, and the "
        "shifts above are of the little preference left when both orders are averaged."
    )


def tiles(content: Content) -> list[Tile]:
    """The numbers at the head of the page."""
    shares = [s.entropy_share for s in content.by_language if not math.isnan(s.entropy_share)]
    found = [
        Tile(
            number=percent(min(shares, default=math.nan), 2),
            caption="of the highest possible entropy: where the cut lies, at its lowest",
        ),
        Tile(
            number=span([s.values_per_neuron for s in content.by_language], 1),
            caption=f"of {plural(len(content.names), 'value')}: what a selected neuron belongs to",
        ),
    ]
    outcome = content.outcome
    if outcome is None:
        return found
    if outcome.verdict is not None:
        drawn = f"{span(outcome.verdict['placebo'])} with random neurons"
        beside = drawn if outcome.controls else "there were no controls"
        found.append(
            Tile(
                number=f"{outcome.verdict['passed']} of {outcome.verdict['cells']}",
                caption=f"effects pass both tests; {beside}",
            )
        )
    if outcome.letters:
        same = max(of.same_letter for of in outcome.letters)
        caption = "of dilemmas get the same letter when the options are exchanged"
        found.append(Tile(number=percent(same), caption=caption))
    return found
