"""What can be claimed of the selected neurons: levels, beside the same under shuffled labels."""

import math
from dataclasses import dataclass

from vxdist.report.content import Content
from vxdist.report.elements import Section
from vxdist.report.findings import describe_source
from vxdist.report.sections.histogram import Histogram, make_histogram
from vxdist.report.selection import Selection
from vxdist.report.text import NONE, percent, plural
from vxstore.claims import LISTED
from vxstore.effect_words import CAUSAL
from vxstore.query import verdict
from vxstore.query.evidence import Evidence, LevelFacts, number

HEAD = (
    "Neurons", "Assignments", "Labels shuffled, mean", "Most", "Shuffles that find any",
    "Settings find",
)  # fmt: skip
HISTOGRAMS = (
    ("t", "t of level 1, all neurons and values"),
    ("entropy", "1 − entropy / maximum, of the neurons that passed"),
)


@dataclass(frozen=True, kw_only=True)
class LevelRow:
    """One level: `4 stance`, what it claims, and numbers in the order of `HEAD`."""

    title: str
    meaning: str
    numbers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LanguageClaims:
    """One language: a conclusion, the levels, what they mean, and histograms."""

    language: str
    conclusion: str
    rows: tuple[LevelRow, ...]
    notes: tuple[str, ...]
    histograms: tuple[Histogram, ...]


@dataclass(frozen=True, kw_only=True)
class ClaimsView:
    """`untested` says why, of each language that was not tested; the others have tables. `pairs`:
    what two languages share."""

    untested: tuple[str, ...]
    head: tuple[str, ...]
    languages: tuple[LanguageClaims, ...]
    pairs: tuple[str, ...]


def make_section(content: Content) -> Section:
    """A table for each language that was tested."""
    score = content.score
    both = list(zip(score.selections, score.evidence, strict=True))
    reasons: dict[str, list[str]] = {}
    for _, of in both:
        if of.untested:
            reasons.setdefault(verdict.conclusion(of), []).append(of.language)
    everywhere = len(next(iter(reasons.values()), ())) == len(both)
    view = ClaimsView(
        untested=tuple(
            text if everywhere else f"{', '.join(languages)}: {text}"
            for text, languages in reasons.items()
        ),
        head=HEAD,
        languages=tuple(
            _of_language(content, selection, of) for selection, of in both if not of.untested
        ),
        pairs=tuple(text for of in score.pairs if (text := verdict.languages(of))),
    )
    return Section(title="What can be claimed", view=view)


def _of_language(content: Content, selection: Selection, of: Evidence) -> LanguageClaims:
    notes = (
        verdict.shuffled(of) if of.shuffles else "",
        verdict.absent(of), verdict.listed(of), verdict.stability(of),
    )  # fmt: skip
    found = ((name, title, of.histogram(name)) for name, title in HISTOGRAMS)
    drawn = (make_histogram(title, facts) for _, title, facts in found)
    return LanguageClaims(
        language=of.language,
        conclusion=verdict.conclusion(of),
        rows=(
            _listed(selection, of),
            *(_level(of, level) for level in of.levels),
            *causal(content, of.language),
        ),
        notes=tuple(note for note in notes if note),
        histograms=tuple(histogram for histogram in drawn if histogram is not None),
    )


def _listed(selection: Selection, of: Evidence) -> LevelRow:
    chance = number(of.vape, "below_cut_mean")
    if number(of.vape, "assignments") != len(selection.number_K):
        chance = math.nan  # VAPE's list is not what this score selects
    return LevelRow(
        title=f"{LISTED} listed",
        meaning=verdict.MEANING["listed"],
        numbers=(
            f"{len(selection.neurons_S2):,}",
            f"{len(selection.number_K):,}",
            NONE if math.isnan(chance) else plural(round(chance), "neuron"),
            *[NONE] * 2,
            "",
        ),
    )


def _level(of: Evidence, level: LevelFacts) -> LevelRow:
    settings = number(of.topic, "discoveries") if level.claim.level == 1 else math.nan
    rate = percent(level.any_rate, 1)
    if not math.isnan(level.any_rate_se) and rate != NONE:
        rate += f" ± {percent(level.any_rate_se, 1)}"
    return LevelRow(
        title=level.claim.title,
        meaning=verdict.MEANING.get(level.claim.name, f"{level.claim.array} is low enough"),
        numbers=(
            _count(level.neurons),
            _count(level.assignments),
            _count(level.shuffled_mean),
            _count(level.shuffled_most),
            rate,
            "" if math.isnan(settings) else _count(settings),
        ),
    )


def causal(content: Content, language: str) -> tuple[LevelRow, ...]:
    """Level 5, of whole masks: those of this score that move their own value's dilemmas."""
    evaluation = content.evaluation
    if evaluation is None or not evaluation.is_tested or describe_source(content, evaluation):
        return ()
    own = [c for c in evaluation.cells if c.own and c.language == language]
    if all(math.isnan(c.q_value) for c in own):
        return ()
    found = [c for c in own if c.is_found]
    return (
        LevelRow(
            title=CAUSAL,
            meaning=f"ablating all neurons of a value moves the {evaluation.measure.long_name} "
            f"more than matched draws do: {len(found)} of {plural(len(own), 'mask')}",
            numbers=(f"{sum(c.masked_count for c in found):,}", *[""] * (len(HEAD) - 1)),
        ),
    )


def _count(found: float) -> str:
    if math.isnan(found):
        return NONE
    return f"{found:,.0f}" if found >= 10 or found == round(found) else f"{found:.2g}"
