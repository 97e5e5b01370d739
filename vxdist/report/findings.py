"""The findings in plain sentences, for the head of the page and for the terminal.

Numbers are those of the store; whether effects pass is its verdict.
"""

import math
from collections.abc import Sequence

from vxdist.report.content import Content
from vxdist.report.evaluation import Cell, Evaluation
from vxdist.report.interventions import describe_intervention
from vxdist.report.notes import SelectorNotes
from vxdist.report.text import every, listing, percent, plural
from vxstore.query import verdict as tests_verdict

NO_VERDICT = (
    "Whether they go beyond the controls is not recorded by the vxdist that wrote this store; run "
    "`vxdist evaluate` again: no model work is needed."
)


def selected(content: Content, notes: SelectorNotes) -> str:
    """How many neurons were selected, why, and how active they are."""
    recording, selections = content.recording, content.score.by_language
    total = recording.total_neurons
    counts = [
        f"{len(s.neurons_S2):,} ({percent(len(s.neurons_S2) / total, 1)}) in {s.language}"
        for s in selections
    ]
    text = f"Of {total:,} neurons, {listing(counts)} were selected {notes.reason}."
    pairs = [s.own_and_others for s in selections]
    known = [pair for pair in pairs if not math.isnan(sum(pair))]
    if not known:
        return text
    own, others = max(known, key=lambda pair: pair[0] - pair[1])
    seen = "that its expert saw " if recording.num_experts else ""
    where = ", in the language where these differ most" if len(known) > 1 else ""
    return (
        f"{text} On average a selected neuron is active on {percent(own, 1)} of the tokens "
        f"{seen}of the values it belongs to and on {percent(others, 1)} of those of the other "
        f"values{where}."
    )


def claimed(content: Content) -> tuple[str, ...]:
    """The highest claims in each language, and topic; nothing of a score without tests."""
    shown = {selection.language for selection in content.score.by_language}
    said = [
        f"In {of.language}: {' '.join(sentences)}"
        for of in content.score.evidence
        if of.language in shown
        and not of.untested
        and (sentences := list(filter(None, (tests_verdict.found(of), tests_verdict.topic(of)))))
    ]
    return (" ".join(said),) if said else ()


def finding(evaluation: Evaluation) -> str:
    """What the intervention did, and whether control draws do as much."""
    return f"{_effects(evaluation)} {verdict(evaluation)}".strip()


def _effects(evaluation: Evaluation) -> str:
    """How many cells of the effect matrix pass both tests."""
    words = describe_intervention(evaluation.intervention)
    cells = evaluation.cells
    text = (
        f"The neurons of {plural(len(evaluation.masks), 'value')} were {words.done} "
        f"({words.title}), one value at a time, and the evaluation dilemmas scored again. In "
    )
    excludes = f"the {percent(evaluation.confidence)} interval excludes zero"
    if not evaluation.verdict or not evaluation.controls:
        clear = sum(c.excludes_zero for c in cells)
        text += f"{clear} of {plural(len(cells), 'cell')} of the effect matrix {excludes}. "
        if evaluation.controls:
            return text + NO_VERDICT
        return (
            f"{text}No control draws were made, so these shifts cannot be distinguished from those "
            "of any other neurons."
        )
    passed, total = evaluation.verdict["passed"], evaluation.verdict["cells"]
    return (
        f"{text}{passed} of {plural(total, 'cell')} of the effect matrix {excludes} and the shift "
        f"is outside {every(evaluation.controls, 'control draw')}"
        f"{_directions([c for c in cells if c.passes])}."
    )


def _directions(passing: Sequence[Cell]) -> str:
    if not passing:
        return ""
    down, own = sum(c.mean_shift < 0 for c in passing), sum(c.own for c in passing)
    return f" ({down} down, {len(passing) - down} up; {own} on the value’s own dilemmas)"


def verdict(evaluation: Evaluation) -> str:
    """Whether the masks did more than their control draws; empty if that is not recorded."""
    recorded = evaluation.verdict
    if not evaluation.controls or not recorded:
        return ""
    if not recorded["passed"]:
        return "There is no effect beyond the controls."
    placebo = sorted(recorded["placebo"])
    drawn = (
        f"Control draws put in the masks’ place pass the same two tests in "
        f"{listing([str(n) for n in placebo])} {'cell' if placebo == [1] else 'cells'} "
        f"({plural(len(placebo), 'draw')})"
    )
    if not recorded["beyond_controls"]:
        return f"{drawn}: there is no effect beyond the controls."
    return (
        f"{drawn}, always fewer than the masks. By chance alone the masks would lead like that in "
        f"1 of {len(placebo) + 1} evaluations."
    )


def describe_source(content: Content, evaluation: Evaluation) -> str:
    """Where the neurons of the masks came from, if not from the score shown; else empty."""
    rest = f"not from the score {content.score.name}, which the rest of this page shows"
    if evaluation.mask_file:
        return f"The neurons of the masks came from the mask file {evaluation.mask_file}, {rest}."
    if evaluation.scores in ("", content.score.name):
        return ""
    return f"The neurons of the masks came from the score {evaluation.scores}, {rest}."
