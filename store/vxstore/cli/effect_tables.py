"""How effects of several evaluations, and the dilemmas that flipped, are shown to people."""

import itertools
import math
import string
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from vxstore.cli.numbers import digits_for, signed
from vxstore.cli.output import new_console, print_table, print_title, print_wrapped
from vxstore.effect_words import (
    CAUSAL,
    HEAVY,
    OWN,
    calibration,
    is_tested,
    rests_on_tails,
    show_p,
    specific,
)
from vxstore.outcome import ENOUGH_MASS
from vxstore.query.dilemmas import OPTIONS
from vxstore.text import clean, plural

LEGEND = (
    "draws: mean shift of the control draws +- their sd; p: of a shift against those of its draws; "
    "q: the lowest false discovery rate at which it is found; spec: q of the shift beyond that on "
    "other values' dilemmas"
)
RANKS = (
    "draws: mean shift of the control draws; rank: how many of their shifts are below the mask's "
    "(a range if one is level with it)"
)
COLUMNS = ("shift", "interval", "flips", "draws", "p", "q", "spec")
EARLIER = ("shift", "interval", "flips", "draws", "rank")
"""Columns of an evaluation whose effects have p, and of one by an earlier version."""
HARM = ("harm", "p harm")
HARM_LEGEND = (
    "harm: divergence of the ablated model from the intact one on neutral text, in nats per token; "
    "p harm: of as much, if the mask harmed no more than its draws"
)
INDENT = 2


def show_effects(answers: Sequence[Mapping[str, Any]]) -> None:
    """For each language a table: masks and dilemmas down, evaluations across.

    What is not found (q above the FDR) is dim.
    """
    console = new_console()
    marks = _show_headings(console, answers)
    tested = [is_tested(answer["verdict"]) for answer in answers]
    has_harm = any(answer["harm_of"] for answer in answers)
    legends = [LEGEND] * any(tested) + [RANKS] * (not all(tested)) + [HARM_LEGEND] * has_harm
    for legend in legends:
        print_wrapped(console, legend)
    digits = _digits(answers)
    header = [("mask", False), ("value", False)]
    header += [
        (f"{mark} {name}".strip(), True)
        for mark, of_tests, answer in zip(marks, tested, answers, strict=True)
        for name in _columns(answer, of_tests)
    ]
    tables = [
        {
            (cell["language"], cell["mask"], cell["value"]): _cell(cell, answer, digits)
            for cell in answer["cells"].to_dict("records")
        }
        for answer in answers
    ]
    keys = dict.fromkeys(key for cells in tables for key in cells)
    missing = [
        ["-"] * len(_columns(answer, of_tests))
        for answer, of_tests in zip(answers, tested, strict=True)
    ]
    pairs = list(zip(tables, missing, strict=True))
    found = {key for answer in answers for key in _find(answer)}
    for language in dict.fromkeys(key[0] for key in keys):
        here = [key for key in keys if key[0] == language]
        rows = [[*key[1:], *itertools.chain(*(c.get(key, m) for c, m in pairs))] for key in here]
        sections = len(rows) > len({row[0] for row in rows})
        ends = [a[0] != b[0] and sections for a, b in itertools.pairwise(rows)]
        console.print()
        print_title(console, language)
        dim = [any(tested) and key not in found for key in here]
        print_table(console, header, rows, ends, dim=dim)


def _columns(answer: Mapping[str, Any], is_of_tests: bool) -> tuple[str, ...]:
    """Headings of the columns of an evaluation."""
    if not is_of_tests:
        return EARLIER
    return (*COLUMNS, *HARM) if answer["harm_of"] else COLUMNS


def _find(answer: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The cells that are found, as (language, mask, value); none of an earlier version."""
    cells, fdr = answer["cells"], answer["fdr"]
    if fdr is None:
        return []
    keys = cells.loc[cells["q_value"] <= fdr, ["language", "mask", "value"]]
    return [(str(g), str(m), str(v)) for g, m, v in keys.to_numpy().tolist()]


def show_flips(answers: Sequence[Mapping[str, Any]]) -> None:
    """For each evaluation, the dilemmas that flipped, with their texts where there are any."""
    console = new_console()
    _show_headings(console, answers)
    for answer in answers:
        console.print()
        flipped = answer["dilemmas"].to_dict("records")
        print_title(
            console, f"{answer['store']}, evaluation/{answer['evaluation']}: {_count_flips(answer)}"
        )
        if answer["texts"] and flipped:
            print_wrapped(console, answer["texts"])
        digits = digits_for(
            max((abs(d[k]) for d in flipped for k in ("before", "after")), default=0)
        )
        for row in flipped:
            before, after = (signed(row[key], digits) for key in ("before", "after"))
            where = f"{row['id']} ({row['value']}, {row['language']}), {row['mask']} ablated"
            console.print(clean(f"{where}: {before} -> {after}"), soft_wrap=True)
            if row["dilemma"] is not None:
                _print_text(console, row["dilemma"])
                for name in OPTIONS:
                    _print_text(console, f"{name}: {row[name]}")
            elif not answer["texts"]:
                _print_text(console, "(not in the corpus)")


def _print_text(console: Console, text: str) -> None:
    """Indented, and broken where it must be: Chinese has no spaces."""
    for line in Text(clean(text)).wrap(console, console.width - INDENT):
        console.print(" " * INDENT + line.plain.rstrip(), soft_wrap=True)


def _count_flips(answer: Mapping[str, Any]) -> str:
    if answer["decision_boundary"] is None:
        return f"{answer['outcome']} has no decision that could flip"
    count = len(answer["dilemmas"])
    return f"{plural(count, 'decision')} flipped"


def _show_headings(console: Console, answers: Sequence[Mapping[str, Any]]) -> list[str]:
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


def _span(counts: Sequence[int]) -> str:
    least, most = min(counts, default=0), max(counts, default=0)
    return f"{least}" if least == most else f"{least} to {most}"


def _cell(cell: Mapping[str, Any], answer: Mapping[str, Any], digits: int) -> list[str]:
    low, high = (signed(cell[key], digits) for key in ("shift_low", "shift_high"))
    shown = [
        signed(cell["mean_shift"], digits),
        "-" if math.isnan(cell["shift_low"]) else f"[{low},{high}]",  # one word, never broken
        _flips(cell),
        _draws(cell, digits),
    ]
    if not is_tested(answer["verdict"]):
        return [*shown, _ranked(cell["control_rank"], answer["controls"])]
    draws, source = answer["controls"] or 0, answer["p_source"]
    return [
        *shown,
        *(show_p(cell[key], draws, source) for key in ("p_value", "q_value", "q_specific")),
        *(_harm(cell, draws, source) if answer["harm_of"] else ()),
    ]


def _harm(cell: Mapping[str, Any], draws: int, source: object) -> tuple[str, str]:
    shift = cell["harm_shift"]
    return "-" if math.isnan(shift) else f"{shift:.2g}", show_p(cell["harm_p"], draws, source)


def _flips(cell: Mapping[str, Any]) -> str:
    if math.isnan(cell["flip_rate"]):
        return "-"
    rate = f"{cell['flip_rate']:.0%}"
    if math.isnan(cell["flip_low"]):
        return rate
    return f"{rate}[{100 * cell['flip_low']:.0f},{100 * cell['flip_high']:.0f}]"


def _draws(cell: Mapping[str, Any], digits: int) -> str:
    mean = signed(cell["control_mean"], digits)
    return mean if math.isnan(cell["control_sd"]) else f"{mean}+-{cell['control_sd']:.{digits}f}"


def _ranked(rank: float, controls: int | None) -> str:
    if math.isnan(rank):
        return "-"
    return f"{rank:.3f}" if controls is None else _rank(rank, controls)


def _rank(rank: float, controls: int) -> str:
    """How many draws are below; a range where one is level, which a rank counts as half a draw."""
    below = round(2 * rank * controls) / 2
    return f"{_span([math.floor(below), math.ceil(below)]).replace(' to ', '-')}/{controls}"


def _digits(answers: Sequence[Mapping[str, Any]]) -> int:
    shifts = pd.concat([answer["cells"]["mean_shift"] for answer in answers]).abs()
    return digits_for(float(shifts.max()))
