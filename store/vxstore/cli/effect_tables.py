"""How effects of several evaluations are shown to people."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from vxstore.cli.effect_headings import show_headings
from vxstore.cli.matched_tables import show_matched
from vxstore.cli.numbers import digits_for, signed
from vxstore.cli.output import new_console, print_table, print_title, print_wrapped
from vxstore.effect_words import is_tested, show_p

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
Key = tuple[str, str, str]
"""A cell: language, mask, value."""


def show_effects(answers: Sequence[Mapping[str, Any]]) -> None:
    """For each language a table: masks and dilemmas down, evaluations across; then, for each
    evaluation with an attribution, its shifts among matched sets.

    What is not found (q above the FDR) is dim.
    """
    console = new_console()
    marks = show_headings(console, answers)
    for legend in _legends(answers):
        print_wrapped(console, legend)
    digits = _digits(answers)
    header = [("mask", False), ("value", False)]
    header += [
        (f"{mark} {name}".strip(), True)
        for mark, answer in zip(marks, answers, strict=True)
        for name in _columns(answer)
    ]
    tables = [_rows(answer, digits) for answer in answers]
    missing = [["-"] * len(_columns(answer)) for answer in answers]
    pairs = list(zip(tables, missing, strict=True))
    any_tested = any(is_tested(answer["verdict"]) for answer in answers)
    found = {key for answer in answers for key in find_cells(answer)}
    keys = dict.fromkeys(key for cells in tables for key in cells)
    for language in dict.fromkeys(key[0] for key in keys):
        here = [key for key in keys if key[0] == language]
        rows = [[*key[1:], *itertools.chain(*(c.get(key, m) for c, m in pairs))] for key in here]
        console.print()
        print_title(console, language)
        dim = [any_tested and key not in found for key in here]
        print_table(console, header, rows, _ends(rows), dim=dim)
    for mark, answer in zip(marks, answers, strict=True):
        show_matched(console, mark, answer, digits)


def _legends(answers: Sequence[Mapping[str, Any]]) -> list[str]:
    tested = [is_tested(answer["verdict"]) for answer in answers]
    has_harm = any(answer["harm_of"] for answer in answers)
    return [LEGEND] * any(tested) + [RANKS] * (not all(tested)) + [HARM_LEGEND] * has_harm


def _rows(answer: Mapping[str, Any], digits: int) -> dict[Key, list[str]]:
    """What is shown of each cell of an evaluation."""
    return {
        (cell["language"], cell["mask"], cell["value"]): _cell(cell, answer, digits)
        for cell in answer["cells"].to_dict("records")
    }


def _ends(rows: Sequence[Sequence[str]]) -> list[bool]:
    """Whether a mask's rows end with a row; nowhere if each mask has but one."""
    sections = len(rows) > len({row[0] for row in rows})
    return [a[0] != b[0] and sections for a, b in itertools.pairwise(rows)]


def _columns(answer: Mapping[str, Any]) -> tuple[str, ...]:
    """Headings of the columns of an evaluation."""
    if not is_tested(answer["verdict"]):
        return EARLIER
    return (*COLUMNS, *HARM) if answer["harm_of"] else COLUMNS


def find_cells(answer: Mapping[str, Any]) -> list[Key]:
    """The cells that are found, as (language, mask, value); none of an earlier version."""
    cells, fdr = answer["cells"], answer["fdr"]
    if fdr is None:
        return []
    keys = cells.loc[cells["q_value"] <= fdr, ["language", "mask", "value"]]
    return [(str(g), str(m), str(v)) for g, m, v in keys.to_numpy().tolist()]


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
