"""What the choice of letters says for itself: how the intact model answers, by language."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from vxdist.report.content import Content
from vxdist.report.elements import Caveat, Tile
from vxdist.report.notes import OutcomeNotes
from vxdist.report.text import listing, percent
from vxstore.outcome import ENOUGH_MASS

BIASED = 0.5
"""The page warns at its head if this fraction of dilemmas get the same letter both times."""


@dataclass(frozen=True, kw_only=True)
class Letters:
    """How the intact model answers in one language: fractions of dilemmas, of answers, and the
    probability of either letter."""

    language: str
    dilemma_count: int
    same_letter: float
    first_letter: float
    aligned: float
    mass_mean: float
    mass_least: float


def make_notes(content: Content) -> OutcomeNotes:
    """The notes of an evaluation by letters."""
    assert content.evaluation is not None
    letters = read_letters(content.evaluation.intact, content.evaluation.languages)
    return OutcomeNotes(
        reading="Below zero, the model turns away from the value-aligned option.",
        warning=_warning(letters),
        tiles=_tiles(letters),
        caveats=(_position(letters), _mass(letters)),
    )


def read_letters(intact: xr.Dataset, languages: tuple[str, ...]) -> tuple[Letters, ...]:
    """One entry for each language with dilemmas. `intact` holds (dilemma, order) arrays."""
    spoken_D = np.array([str(label) for label in intact["dilemma_language"].values])
    order = ("dilemma", "order")
    log_odds_DO, mass_DO = (
        intact[name].transpose(*order).values for name in ("log_odds", "option_mass")
    )
    # The aligned option is A in the first order and B in the second.
    says_a_DO = (log_odds_DO > 0) == np.array([True, False])
    found = []
    for language in languages:
        of_language = spoken_D == language
        if not of_language.any():
            continue
        first_DO, mass = says_a_DO[of_language], mass_DO[of_language]
        found.append(
            Letters(
                language=language,
                dilemma_count=int(of_language.sum()),
                same_letter=float((first_DO[:, 0] == first_DO[:, 1]).mean()),
                first_letter=float(first_DO.mean()),
                aligned=float((log_odds_DO[of_language].mean(axis=1) > 0).mean()),
                mass_mean=float(mass.mean()),
                mass_least=float(mass.min()),
            )
        )
    return tuple(found)


def _warning(letters: tuple[Letters, ...]) -> str:
    return " ".join(filter(None, (_low_mass(letters), _by_position(letters))))


def _low_mass(letters: tuple[Letters, ...]) -> str:
    low = [of for of in letters if of.mass_mean < ENOUGH_MASS]
    if not low:
        return ""
    fractions = [f"{percent(of.mass_mean)} of its probability in {of.language}" for of in low]
    return (
        f"The intact model gives the two letters only {listing(fractions)}: it was about to say "
        "something else, and the shifts above are changes in what it hardly says. See to it that "
        "it answers: evaluate.template, evaluate.answer_prefix, evaluate.chat and evaluate.system "
        "decide what it reads."
    )


def _by_position(letters: tuple[Letters, ...]) -> str:
    if not any(of.same_letter >= BIASED for of in letters):
        return ""
    fractions = [f"{percent(of.same_letter)} of the dilemmas in {of.language}" for of in letters]
    return (
        "With the two options swapped, the intact model still prefers the same letter in "
        f"{listing(fractions)}: it answers by position more than by what the options say, and the "
        "shifts above are changes in the small preference that is left when both orders are "
        "averaged."
    )


def _tiles(letters: tuple[Letters, ...]) -> tuple[Tile, ...]:
    if not letters:
        return ()
    same = max(of.same_letter for of in letters)
    caption = "of dilemmas get the same letter when the two options are swapped"
    tiles = [Tile(number=percent(same), caption=caption)]
    least = min(letters, key=lambda of: of.mass_mean)
    if least.mass_mean < ENOUGH_MASS:
        caption = f"of its probability the intact model gives the letters in {least.language}"
        tiles.append(Tile(number=percent(least.mass_mean), caption=caption))
    return tuple(tiles)


def _position(letters: tuple[Letters, ...]) -> Caveat:
    return Caveat(
        title="Letters or content",
        text=(
            "Each dilemma is asked twice, with the options swapped, and the log-odds are averaged. "
            "A model that picks the same letter both times answers by position; a flip is then a "
            "change of sign in the small remainder."
        ),
        head=("Dilemmas", "Same letter twice", "Prefers A", "Prefers aligned"),
        rows=tuple(
            (
                of.language,
                str(of.dilemma_count),
                percent(of.same_letter),
                percent(of.first_letter),
                percent(of.aligned),
            )
            for of in letters
        ),
    )


def _mass(letters: tuple[Letters, ...]) -> Caveat:
    return Caveat(
        title="Probability on the two letters",
        text=(
            "Log-odds compare A with B only. Where the intact model gives the two letters little "
            "of its probability, it was about to say something else."
        ),
        head=("Mean", "Least"),
        rows=tuple((of.language, percent(of.mass_mean), percent(of.mass_least)) for of in letters),
    )
