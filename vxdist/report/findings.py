"""The findings in plain sentences, for the head of the page and for the terminal.

Numbers are those of the store; whether effects pass is its verdict.
"""

import math

from vxdist.report.content import Content
from vxdist.report.evaluation import Evaluation
from vxdist.report.interventions import describe_intervention
from vxdist.report.notes import SelectorNotes
from vxdist.report.text import listing, percent, plural
from vxstore.query import verdict as tests_verdict


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
    """What was done, and whether the masks do more than their matched draws."""
    words = describe_intervention(evaluation.intervention)
    text = (
        f"The neurons of {plural(len(evaluation.masks), 'value')} were {words.done} "
        f"({words.title}), one value at a time, and the evaluation dilemmas scored again. "
        f"{evaluation.sentence}"
    )
    if evaluation.controls:
        return text
    return (
        f"{text} Without control draws, these shifts cannot be distinguished from those of any "
        "other neurons."
    )


def describe_source(content: Content, evaluation: Evaluation) -> str:
    """Where the neurons of the masks came from, if not from the score shown; else empty."""
    rest = f"not from the score {content.score.name}, which the rest of this page shows"
    if evaluation.mask_file:
        return f"The neurons of the masks came from the mask file {evaluation.mask_file}, {rest}."
    if evaluation.scores in ("", content.score.name):
        return ""
    return f"The neurons of the masks came from the score {evaluation.scores}, {rest}."
