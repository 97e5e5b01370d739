"""The facts of a score's tests in plain sentences, by rule; the terminal and the report share them.

Each sentence is empty where nothing is recorded to say it of.
"""

import math

from vxstore.query.evidence import Evidence, Facts, LevelFacts, PairFacts, mapping, number
from vxstore.text import plural

NO_NULL = "No null was computed."
TOPIC = (
    "Settings distinguish stories at least as well as values: most of these neurons follow topic."
)
CLEAR_LENGTH, LITTLE_TOPIC, CLEAR_OVERLAP = 0.01, 1.1, 0.05
TWINS = "Languages tell the same dilemmas, so what they share may be the topic."
MEANING = {
    "listed": "chosen by the selector, whatever its tests say",
    "differs": "more active in the value’s stories than in the others’",
    "stands out": "more active for the value than the spread between the other values explains",
    "exclusive": "more active for the value than for every other value",
    "stance": "reacts to honouring or breaking the value within one dilemma, otherwise than for "
    "other values",
}
"""What the names of the levels claim of a neuron, a value and a language."""


def untested(of: Evidence) -> str:
    """Why nothing can be claimed."""
    return f"untested: {of.untested}" if of.untested else ""


def conclusion(of: Evidence) -> str:
    """What the tests of a language come to."""
    if of.untested:
        return f"These neurons are {untested(of)}."
    said = [found(of), NO_NULL if not of.shuffles else "", topic(of), length(of)]
    return " ".join(sentence for sentence in said if sentence)


def found(of: Evidence) -> str:
    """The highest claim that any neuron has."""
    having = [level for level in of.levels if level.assignments > 0 and level.neurons > 0]
    if having:
        highest = having[-1]
        return (
            f"The highest level reached is {highest.claim.title}, by "
            f"{plural(int(highest.neurons), 'neuron')} in "
            f"{plural(int(highest.assignments), 'assignment')} to values."
        )
    if not of.levels or all(math.isnan(level.assignments) for level in of.levels):
        return ""
    return f"No neuron reaches any level above 0: nothing can be claimed.{out_of_reach(of)}"


def out_of_reach(of: Evidence) -> str:
    """Whether there were too few dilemmas for a neuron alone to reach level 1."""
    p, tests = number(of.tests, "least_p"), number(mapping(of.tests.get("tested")), "1")
    together = p * tests / of.fdr if of.fdr else math.nan
    if not together > 1:
        return ""
    clusters = sum(n for n in mapping(of.tests.get("clusters")).values() if isinstance(n, int))
    return (
        f" {clusters:,} dilemmas allow hardly a p below {p:.1g}: about {math.ceil(together):,} "
        "assignments would have to reach it together for level 1, so more dilemmas are needed."
    )


def shuffled(of: Evidence) -> str:
    """How the levels behave when the labels are shuffled."""
    if of.untested:
        return ""
    if not of.shuffles:
        return NO_NULL
    known = [level for level in of.levels if not math.isnan(level.any_rate)]
    if not known:
        return ""
    bold = [level for level in known if level.calibrated is False]
    if not bold:
        least, most = (f(level.any_rate for level in known) for f in (min, max))
        rates = _percent(most) if least == most else f"{_percent(least)} to {_percent(most)}"
        return (
            f"With shuffled labels a level finds anything in {rates} of "
            f"{plural(of.shuffles, 'shuffle')}; {_percent(of.fdr)} were asked for."
        )
    names = ", ".join(f"{level.claim.title} ({_percent(level.any_rate)})" for level in bold)
    return (
        f"With shuffled labels {names} finds something more often than the {_percent(of.fdr)} "
        f"asked for: its q is the p of the largest statistic of {plural(of.shuffles, 'shuffle')}."
    )


def absent(of: Evidence) -> str:
    """Which claims could not be tested, and why."""
    missing = [level for level in of.levels if level.absent]
    return " ".join(f"Level {of.claim.title} is not tested: {of.absent}." for of in missing)


def calibrated(level: LevelFacts) -> str:
    """Whether a level finds no more under shuffles than was asked for, in a word."""
    if level.absent:
        return "not tested"
    return {None: "", True: "yes", False: "no"}[level.calibrated]


def topic(of: Evidence) -> str:
    """Whether settings do what values do, on the same dilemmas."""
    settings = number(of.topic, "discoveries")
    values = number(of.topic, "value_discoveries_same_clusters")
    if math.isnan(settings) or math.isnan(values):
        reason = of.null.get("topic_absent")
        return f"Topic was not controlled for: {reason}." if reason else ""
    counts = f"({settings:,.0f} findings for settings, {values:,.0f} for values, same dilemmas)"
    if values <= settings:
        return f"{TOPIC[:-1]} {counts}."
    return f"Values distinguish stories more often than settings do {counts}."


def length(of: Evidence) -> str:
    """Whether stories of one value are longer than those of another."""
    f, p = of.length
    if not p < CLEAR_LENGTH:
        return ""
    text = f"Stories of different values differ in length (F = {f:.1f}, p = {p:.1g})"
    if "length" in of.adjusted:
        return f"{text}; the tests are adjusted for it."
    return f"{text}, so some of these neurons may follow length."


def spread(of: Evidence) -> str:
    """How much more the statistic varies between neurons than sampling noise does."""
    known = [sd for sd in of.by_value("z_sd").values() if not math.isnan(sd)]
    if not known:
        return ""
    low, high = min(known), max(known)
    spans = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
    rest = "; what exceeds 1 is topic" if high > LITTLE_TOPIC else ""
    return f"The statistic of level 1 spreads {spans} times as much as sampling noise would{rest}."


def listed(of: Evidence) -> str:
    """What becomes of VAPE's list under shuffled labels."""
    count, chance = number(of.vape, "listed"), number(of.vape, "below_cut_mean")
    if math.isnan(count) or math.isnan(chance):
        return ""
    text = f"VAPE lists {count:,.0f} neurons; about {chance:,.0f} would be under the cut by chance"
    share = number(of.vape, "false_share")
    if not math.isnan(share):
        text += f" ({_percent(share)})"
    pairs, supported = number(of.vape, "assignments"), number(of.vape, "assignments_supported")
    if pairs > 0 and not math.isnan(supported):
        text += (
            f"; level 1 supports {supported:,.0f} of {pairs:,.0f} assignments to values "
            f"({_percent(supported / pairs)})"
        )
    halves, noise = number(of.vape, "split_jaccard"), number(of.vape, "shuffled_jaccard")
    if math.isnan(halves) or math.isnan(noise):
        return f"{text}."
    alike = "no more alike than" if round(halves, 2) <= round(noise, 2) else "more alike than"
    return (
        f"{text}. The lists of two halves of the dilemmas are {alike} two lists from shuffled "
        f"labels (Jaccard {halves:.2f} and {noise:.2f})."
    )


def stability(of: Evidence) -> str:
    """Whether halves of the dilemmas select alike, against halves with shuffled labels."""
    halves, noise = number(of.stability, "observed"), number(of.stability, "shuffled")
    if math.isnan(halves) or math.isnan(noise):
        return ""
    text = f"Two halves of the dilemmas share {halves:.2f} (Jaccard) of what they select; "
    if round(halves, 2) <= round(noise, 2):
        return f"{text}with shuffled labels no less ({noise:.2f}): this says nothing for them."
    return f"{text}with shuffled labels {noise:.2f}."


def languages(of: PairFacts) -> str:
    """Whether two languages select the same neurons for the same values, and not only the same
    neurons; and what is bound to one of them."""
    said = [
        _overlap(of.pair, "selected", of.selected),
        "" if _same(of) else _overlap(of.pair, "that VAPE lists", of.vape),
    ]
    if not math.isnan(of.shared):
        bound = ", ".join(f"{n:,.0f} to {g}" for g, n in of.bound.items() if not math.isnan(n))
        said.append(
            f"{of.shared:,.0f} assignments of level 1 are shared"
            + (f", bound are {bound}." if bound else ".")
        )
    text = " ".join(sentence for sentence in said if sentence)
    return f"{text} {TWINS}" if text else ""


def _same(of: PairFacts) -> bool:
    """Whether what is selected is VAPE's list."""
    keys = ("shared", "expected_other")
    return all(number(of.selected, key) == number(of.vape, key) for key in keys)


def _overlap(pair: str, which: str, of: Facts) -> str:
    shared, other, p = (number(of, key) for key in ("shared", "expected_other", "p_value"))
    if math.isnan(shared) or math.isnan(other):
        return ""
    text = f"Of the neurons {which}, {pair} share {shared:,.0f} for equal values"
    if math.isnan(p):
        return f"{text}; nothing can be said of chance."
    likely = "more than" if p <= CLEAR_OVERLAP else "no more than"
    times = f", {shared / other:.2g} times as many" if other > 0 else ""
    return f"{text}, {likely} for different ones ({other:,.1f} expected{times}; p = {p:.1g})."


def _percent(fraction: float) -> str:
    return f"{fraction:.2g}" if math.isnan(fraction) else f"{100 * fraction:.3g}%"
