"""What is said above the tables of effects: what was measured, the verdict, and its worth."""

import string
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from vxstore.cli.output import print_title, print_wrapped
from vxstore.effect_words import (
    CAUSAL,
    HEAVY,
    OWN,
    calibration,
    is_tested,
    rests_on_tails,
    specific,
)
from vxstore.outcome import ENOUGH_MASS


def show_headings(console: Console, answers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Print each evaluation's settings and verdict; returns the letter that stands for it."""
    marks = [""]
    if len(answers) > 1:
        letters = string.ascii_uppercase
        marks = [letters[n] if n < len(letters) else str(n + 1) for n in range(len(answers))]
    for answer, mark in zip(answers, marks, strict=True):
        model = f"model {answer['model'] or '-'}"
        print_title(console, f"{f'{mark}: ' if mark else ''}{_name(answer)}, {model}")
        confidence = f"{100 * answer['confidence']:g}% " if answer["confidence"] else ""
        draws = "-" if answer["controls"] is None else answer["controls"]
        print_wrapped(
            console,
            f"{answer['outcome']}, intervention {_intervention(answer)}: shifts of "
            f"{answer['effect_of']} in {answer['units'] or '-'}, {confidence}intervals; "
            f"control draws of each mask: {draws}",
        )
        if answer["control_dilemmas"] == "own":
            print_wrapped(console, f"{OWN}.")
        if answer["answer_mass"]:
            print_wrapped(console, _mass(answer["answer_mass"]))
        for text in _conclude(answer):
            print_wrapped(console, text)
    return marks


def _conclude(answer: Mapping[str, Any]) -> list[str]:
    """The verdict, and how far it can be believed."""
    verdict, draws = answer["verdict"], answer["controls"] or 0
    said = [f"verdict: {answer['sentence']}"]
    if not is_tested(verdict):
        return said
    if verdict["found"] and answer["split"] is None:
        said[0] += f" Each has level {CAUSAL}."
    said += [specific(verdict), calibration(answer["null_rate"], answer["null_count"])]
    if rests_on_tails(verdict, draws, answer["p_source"]):
        said.append(f"{HEAVY}.")
    said.append(answer["unwarranted"] or "")
    return [text for text in said if text]


def _mass(mass: Mapping[str, float]) -> str:
    by_language = ", ".join(f"{language} {of:.0%}" for language, of in mass.items())
    text = f"probability of the answers in the intact model: {by_language}"
    if min(mass.values()) < ENOUGH_MASS:
        text += "; where it is below 50%, the model was about to say something else"
    return text


def _intervention(answer: Mapping[str, Any]) -> str:
    """Its name and settings, as in `scale (dose 0.5)`."""
    settings = answer["intervention_settings"].items()
    told = ", ".join(f"{key} {_setting(of)}" for key, of in settings)
    return f"{answer['intervention']} ({told})" if told else str(answer["intervention"])


def _setting(of: object) -> str:
    return f"{of:g}" if isinstance(of, float) else "null" if of is None else str(of)


def _name(answer: Mapping[str, Any]) -> str:
    return f"{answer['store']}, evaluation/{answer['evaluation']}"
