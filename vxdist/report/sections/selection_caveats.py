"""Caveats on the selection, each with its own numbers."""

import numpy as np

from vxdist.report.content import Content
from vxdist.report.elements import Caveat
from vxdist.report.notes import selector_notes
from vxdist.report.text import NONE, fixed, plural, span
from vxstore.blocks import BLOCKS


def selection_caveats(content: Content) -> tuple[Caveat, ...]:
    """Those on the counts, those of the selector, and those on any selection."""
    of_counts = []
    if content.recording.attrs.get("denominator") == "questions":
        of_counts.append(_denominator())
    if content.recording.num_experts:
        of_counts.append(_experts(content))
    own = selector_notes(content).caveats
    return (*of_counts, *own, _overlap(content), _corpus(content))


def _overlap(content: Content) -> Caveat:
    return Caveat(
        title="The values share their neurons",
        text=(
            "A neuron may be selected for several values. Where values share most of their "
            "neurons, masking one value masks the others too, and the rows of the effect matrix "
            "are alike for that reason alone. Jaccard overlap is the mean over pairs of values: 0 "
            "for disjoint sets, 1 for equal ones."
        ),
        head=("Selected", "Jaccard overlap", "Values per neuron"),
        rows=tuple(
            (
                s.language,
                f"{len(s.neurons_S2):,}",
                fixed(s.jaccard, 3),
                f"{fixed(s.values_per_neuron, 2)} of {len(content.names)}",
            )
            for s in content.score.selections
        ),
    )


def _denominator() -> Caveat:
    return Caveat(
        title="Probabilities are not probabilities",
        text=(
            "These counts were imported with questions as the denominator: what is called a "
            "probability is the number of active tokens per question. It exceeds 1, and grows with "
            "the length of the texts of a value."
        ),
    )


def _experts(content: Content) -> Caveat:
    recording = content.recording
    per_token = recording.attrs.get("experts_per_token")
    each = f", {per_token} for each token" if per_token else ""
    layers = "A layer has up to" if BLOCKS in recording.attrs else "Each layer has"
    rows = []
    for selection in content.score.selections:
        seen_S, unrouted = selection.fewest_routed_S, selection.thresholds.get("unrouted_count")
        known = seen_S is not None and bool(seen_S.size)
        rows.append(
            (
                selection.language,
                f"{unrouted:,}" if isinstance(unrouted, int) else NONE,
                f"{np.median(seen_S):,.0f}" if seen_S is not None and known else NONE,
                f"{seen_S.min():,}" if seen_S is not None and known else NONE,
            )
        )
    return Caveat(
        title="An expert sees some tokens only",
        text=(
            f"{layers} {plural(recording.num_experts, 'expert')}{each}. A neuron’s p is the "
            "fraction of the tokens routed to its expert, not of all: how often the expert is "
            "chosen for a value is not part of it. Neurons whose expert saw no token of some value "
            "have no p for it, and were left out. Where an expert saw few tokens of a value, the p "
            "of its neurons is uncertain, and what looks specific may be chance: below, the fewest "
            "tokens of one value that the expert of a selected neuron saw."
        ),
        head=("Left out", "Fewest tokens seen, median", "Least"),
        rows=tuple(rows),
    )


def _corpus(content: Content) -> Caveat:
    recording = content.recording
    limits = content.corpus_limits
    is_tested = not all(of.untested for of in content.score.evidence)
    sampled = "its sampling error is not shown here"
    if is_tested:
        sampled = "the tests take the tellings of one dilemma together, and dilemmas as independent"
    quoted = f" The corpus says about itself: {limits}" if limits else ""
    return Caveat(
        title="How much was recorded",
        text=(
            "Each value and language rests on "
            f"{_stories(recording.stories_least, recording.stories_most)} and "
            f"{recording.tokens_least:,} to {recording.tokens_most:,} tokens. Tokens of one story "
            "are not independent, so the selection is less certain than the number of tokens "
            f"suggests; {sampled}.{quoted}"
        ),
    )


def _stories(least: int, most: int) -> str:
    return plural(least, "story", "stories") if least == most else f"{span([least, most])} stories"
