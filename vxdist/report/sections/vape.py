"""What VAPE says for itself: how close its entropies are to the largest possible."""

import math

from vxdist.report.content import Content
from vxdist.report.elements import Caveat, Tile
from vxdist.report.notes import SelectorNotes
from vxdist.report.selection import Selection
from vxdist.report.text import fixed, percent, plural


def make_notes(content: Content) -> SelectorNotes:
    """The notes of a VAPE score."""
    return SelectorNotes(
        reason="for their low entropy",
        ranking="entropy is taken over the values, of p normalised to sum to one",
        thresholds=_thresholds(content),
        tiles=(_entropy_tile(content),),
        caveats=(_specificity(content), _dead(content)),
    )


def entropy_range(selection: Selection) -> tuple[float, float]:
    """The smallest and the largest entropy selected; NaN if nothing was."""
    if not selection.number_K.size:
        return math.nan, math.nan
    return float(selection.number_K.min()), float(selection.number_K.max())


def entropy_fraction(selection: Selection) -> float:
    """The largest entropy selected over the largest possible, ln V; NaN if undefined."""
    most = math.log(selection.num_values)
    return entropy_range(selection)[1] / most if most else math.nan


def _entropy_tile(content: Content) -> Tile:
    found = [entropy_fraction(selection) for selection in content.score.by_language]
    least = min((fraction for fraction in found if not math.isnan(fraction)), default=math.nan)
    caption = "of the highest possible entropy at the cut, in the language where it is lowest"
    return Tile(number=percent(least, 2), caption=caption)


def _thresholds(content: Content) -> tuple[str, ...]:
    phrases = []
    for selection in content.score.selections:
        passed = selection.thresholds.get("filter_threshold")
        belongs = selection.thresholds.get("activation_threshold")
        if isinstance(passed, float) and isinstance(belongs, float):
            phrases.append(
                f"{selection.language}: p above {fixed(passed, 3)} to be ranked, above "
                f"{fixed(belongs, 3)} to belong to a value"
            )
    return tuple(phrases)


def _specificity(content: Content) -> Caveat:
    values = len(content.names)
    return Caveat(
        title="“Specific” may mean little",
        text=(
            f"A neuron that is equally active for all {plural(values, 'value')} has an entropy of "
            f"ln {values} = {math.log(values):.4f} nats. The closer the cut is to that, the less "
            "the selected neurons distinguish between values; compare the two probabilities, which "
            "are averaged over the selected neurons and the values they belong to."
        ),
        head=("Entropy cut, nats", "Of maximum", "Lowest entropy", "p, own values", "p, others"),
        rows=tuple(
            (
                s.language,
                fixed(entropy_range(s)[1], 4),
                percent(entropy_fraction(s), 3),
                fixed(entropy_range(s)[0], 4),
                fixed(s.own_and_others[0], 3),
                fixed(s.own_and_others[1], 3),
            )
            for s in content.score.selections
        ),
    )


def _dead(content: Content) -> Caveat:
    least = content.score.settings.get("min_active_tokens", "not recorded")
    return Caveat(
        title="Dead neurons are left out",
        text=(
            f"Neurons active on fewer tokens than the minimum ({least}) have no meaningful entropy "
            f"and were dropped, out of {content.recording.total_neurons:,} in total."
        ),
        head=("Dropped",),
        rows=tuple(
            (s.language, f"{s.unscored_count - int(s.thresholds.get('unrouted_count', 0)):,}")
            for s in content.score.selections
        ),
    )
