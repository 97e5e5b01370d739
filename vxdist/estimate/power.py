"""`vxdist estimate --power`: the smallest effect that a run can find. No model is needed."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from vxdist.asking.checks import check_values, find_items, make_outcomes
from vxdist.config import Config
from vxdist.corpus import Corpus, load_corpus
from vxdist.errors import UserError
from vxdist.evaluate.effects import find_labels, read_measured
from vxdist.stats.power import POWER, Spread, least_shift, measure_spread
from vxstore.cli.output import new_console, print_table, print_title, print_wrapped
from vxstore.query import effects
from vxstore.read import open_store

TIMES = (1, 2, 4)
DRAWS = (4, 8, 16, 32)
DEFAULT = Spread(dilemma_sd=0.024, set_sd=0.0075, prior_df=0.0)
"""Nats: the log-odds of the aligned option, over both orders, when draws that are matched to VAPE's
masks of SmolLM2-135M-Instruct are set to zero, on the seed's dilemmas. Matched draws are active
neurons, and differ more than random ones. The languages differ fivefold (docs/effects.md), so that
cells say little of each other's variance: no prior."""
DEFAULT_OF = "choice"
ASSUMED = (
    "assumed, as of draws matched to masks of 73 to 211 neurons of SmolLM2-135M-Instruct in "
    "Chinese and English (docs/effects.md); of other models and masks it differs, and "
    "--store STORE --evaluation NAME measures it"
)
MOST_DF = 1e6


@dataclass(frozen=True, kw_only=True)
class Power:
    """What a run can find. `shifts` are by dilemmas of a value in a language, then by draws."""

    cells: int
    fdr: float
    units: str
    spread: Spread
    source: str
    shifts: dict[int, dict[int, float]]


def find_power(config: Config, evaluation: str | None, dilemmas: int | None) -> Power:
    """The power of an evaluation with these settings.

    The spread of draws is that of `evaluation` in the run's store, if that is given. `dilemmas`:
    over all values and languages, of a corpus that does not exist yet. Raises UserError if a
    setting, the corpus or the evaluation is missing or unsuitable.
    """
    corpus = load_corpus(config.corpus)
    values = check_values(config.evaluate, corpus)
    cells = len(values) * len(corpus.languages)
    fewest = _count(config, corpus) if dilemmas is None else dilemmas // cells
    if fewest < 1:
        raise UserError(
            f"there is not one evaluation dilemma for each of {cells:,} values and languages; give "
            "--dilemmas N, over all of them"
        )
    if evaluation is None:
        spread, units, source = _assume(config)
    else:
        spread, units, source = _measure(config.store, evaluation)
    fdr = config.evaluate.fdr
    shifts = {
        times * fewest: {
            draws: least_shift(spread, dilemmas=times * fewest, draws=draws, cells=cells, fdr=fdr)
            for draws in DRAWS
        }
        for times in TIMES
    }
    return Power(cells=cells, fdr=fdr, units=units, spread=spread, source=source, shifts=shifts)


def _count(config: Config, corpus: Corpus) -> int:
    """Dilemmas of the value and language that has the fewest of those that have any."""
    items = find_items(config, corpus, config.evaluate.dilemmas)
    return min(Counter((item.value, item.language) for item in items).values(), default=0)


def _assume(config: Config) -> tuple[Spread, str, str]:
    outcomes = make_outcomes(config.evaluate)
    if DEFAULT_OF not in outcomes:
        raise UserError(
            f"evaluate.outcome: how much {', '.join(outcomes)} varies between random sets is not "
            "known; measure it, and give --store STORE --evaluation NAME"
        )
    outcome = outcomes[DEFAULT_OF]
    assert outcome.effect_of is not None
    return DEFAULT, outcome.arrays[outcome.effect_of].units, ASSUMED


def _measure(path: str, name: str) -> tuple[Spread, str, str]:
    store = open_store(path)
    found = effects(store, name)
    evaluation = store.evaluation(name)
    masks, languages = find_labels(evaluation)
    recorded = (found["prior_df"] or {}).get("own", 0.0)
    prior_df = MOST_DF if recorded is None else float(recorded)
    spread = measure_spread(read_measured(evaluation), masks, languages, prior_df)
    if spread is None:
        raise UserError(
            f"{path} has in evaluation/{name} no mask with two control draws and two dilemmas; "
            "name another evaluation, or leave --evaluation out"
        )
    return spread, str(found["units"] or "1"), f"measured in {path}, evaluation/{name}"


def to_json(power: Power) -> dict[str, Any]:
    """The same in plain numbers."""
    return {**asdict(power), "power": POWER}


def show(power: Power) -> None:
    """Print the table, and what it rests on."""
    console, spread, units = new_console(), power.spread, power.units
    shown = "" if units == "1" else f", in {units}"
    print_title(console, f"smallest shift that is found with {POWER:.0%} power{shown}")
    header = [("dilemmas of a value", True), *((f"{k} draws", True) for k in DRAWS)]
    rows = [
        [str(n), *(f"{shift:.3g}" for shift in by_draws.values())]
        for n, by_draws in power.shifts.items()
    ]
    print_table(console, header, rows)
    print_wrapped(
        console,
        f"Spread of matched sets: {spread.dilemma_sd:.3g} between dilemmas, {spread.set_sd:.3g} "
        f"between sets, {power.source}. One mask does something: it is found if p is at most "
        f"{power.fdr:g} / {power.cells} (masks and languages). t is noncentral, sets follow a "
        "normal law (with heavier tails less is found), and the dilemmas are those of one value in "
        "one language.",
    )
