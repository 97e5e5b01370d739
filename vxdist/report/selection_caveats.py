"""What stands between the selection and a claim, each caveat with its own numbers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vxdist.report.content import Content
from vxdist.report.selection import Selection
from vxdist.report.text import NONE, fixed, percent, plural
from vxdist.report.words import span


@dataclass(frozen=True, kw_only=True)
class Caveat:
    """A heading, a paragraph, and perhaps a small table whose first column is a language."""

    title: str
    text: str
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def selection_caveats(content: Content) -> list[Caveat]:
    """All that apply."""
    found = [_specificity(content), _overlap(content), _dead(content), _corpus(content)]
    if content.recording.num_experts:
        found.insert(0, _experts(content))
    if content.recording.attrs.get("denominator") == "questions":
        found.insert(0, _denominator())
    return found


def _rows(
    selections: Sequence[Selection], *columns: Callable[[Selection], str]
) -> tuple[tuple[str, ...], ...]:
    return tuple((s.language, *(column(s) for column in columns)) for s in selections)


def _specificity(content: Content) -> Caveat:
    most = math.log(len(content.names))
    return Caveat(
        title="“Specific” may mean little",
        text=(
            f"A neuron equally active for all {plural(len(content.names), 'value')} has an entropy "
            f"of ln {len(content.names)} = {most:.4f} nats. The closer the cut lies to that, the "
            "less the selected neurons tell values apart; compare the two probabilities, averaged "
            "over selected neurons and the values they belong to."
        ),
        head=("Entropy cut, nats", "Of maximum", "Lowest entropy", "p, own values", "p, others"),
        rows=_rows(
            content.selections,
            lambda s: fixed(s.entropy_range[1], 4),
            lambda s: percent(s.entropy_share, 3),
            lambda s: fixed(s.entropy_range[0], 4),
            lambda s: fixed(s.own_and_others[0], 3),
            lambda s: fixed(s.own_and_others[1], 3),
        ),
    )


def _overlap(content: Content) -> Caveat:
    return Caveat(
        title="The values share their neurons",
        text=(
            "A selected neuron belongs to every value for which it is active often enough. Where "
            "values share most of their neurons, switching one value off is switching the others "
            "off too, and the rows of the effect matrix are alike for that reason alone. Jaccard "
            "overlap is the mean over pairs of values: 0 for disjoint sets, 1 for equal ones."
        ),
        head=("Selected", "Jaccard overlap", "Values per neuron"),
        rows=_rows(
            content.selections,
            lambda s: f"{len(s.layer_S):,}",
            lambda s: fixed(s.jaccard, 3),
            lambda s: f"{fixed(s.values_per_neuron, 2)} of {len(content.names)}",
        ),
    )


def _denominator() -> Caveat:
    return Caveat(
        title="Probabilities are not probabilities",
        text=(
            "These counts were imported with questions as the denominator: what is called a "
            "probability is active tokens a question. It exceeds 1, and grows with the length of "
            "the texts of a value."
        ),
    )


def _experts(content: Content) -> Caveat:
    of = content.recording
    per_token = of.attrs.get("experts_per_token")
    each = f", {per_token} for each token" if per_token else ""
    fewest = [s.fewest_routed_S for s in content.selections if s.fewest_routed_S is not None]
    return Caveat(
        title="An expert sees some tokens only",
        text=(
            f"Each layer has {plural(of.num_experts, 'expert')}{each}. A neuron’s p is the share "
            "of the tokens routed to its expert, not of all: how often the expert is chosen for a "
            "value is no part of it. Neurons whose expert saw no token of some value have no p for "
            "it, and were left out. Where an expert saw few tokens of a value, its neurons’ p is "
            "rough, and a low entropy may be chance: below, the fewest tokens of one value that "
            "the expert of a selected neuron saw."
        ),
        head=("Left out", "Fewest tokens seen, median", "Least"),
        rows=tuple(
            (s.language, f"{s.unrouted_count:,}",
             f"{np.median(seen_S):,.0f}" if seen_S.size else NONE,
             f"{seen_S.min():,}" if seen_S.size else NONE)
            for s, seen_S in zip(content.selections, fewest, strict=True)
        ),
    )  # fmt: skip


def _dead(content: Content) -> Caveat:
    total = content.recording.num_layers * content.recording.num_neurons
    least = content.score_settings.get("min_active_tokens", "unknown")
    return Caveat(
        title="Dead neurons are left out",
        text=(
            f"Neurons active on fewer tokens than the minimum ({least}) have no entropy to speak "
            f"of and were dropped, of {total:,} in all."
        ),
        head=("Dropped",),
        rows=_rows(content.selections, lambda s: f"{s.dead_count:,}"),
    )


def _corpus(content: Content) -> Caveat:
    of = content.recording
    limits = f" The corpus says of itself: {content.corpus_limits}" if content.corpus_limits else ""
    return Caveat(
        title="How much was read",
        text=(
            f"Each value and language rests on {span([of.stories_least, of.stories_most])} stories "
            f"and {of.tokens_least:,} to {of.tokens_most:,} tokens. Tokens of one story are not "
            "independent, so the selection is less certain than the tokens suggest; its sampling "
            f"error is not shown here.{limits}"
        ),
    )
