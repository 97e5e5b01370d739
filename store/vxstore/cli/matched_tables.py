"""How shifts are shown among thousands of matched sets, which an attribution predicts."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.console import Console

from vxstore import warrant
from vxstore.cli.numbers import signed
from vxstore.cli.output import print_table, print_title, print_wrapped
from vxstore.effect_words import show_p, show_q

HEADER = [("mask", False), ("value", False)]
HEADER += [(name, True) for name in ("shift", "p", "p sets", "r", "slope")]
HEADER += [("no p sets, because", False)]
LEGEND = f"p sets: of the shift among these sets; given where, {warrant.RULE}. {warrant.WORTH}."


def show_matched(console: Console, mark: str, answer: Mapping[str, Any], digits: int) -> None:
    """One table for each language, headed by what predicts; nothing without an attribution."""
    if answer["warrant"] is None:
        return
    console.print()
    print_title(console, f"{mark}: among matched sets".removeprefix(": "))
    print_wrapped(console, f"{warrant.describe(answer['warrant'])}. {LEGEND}")
    cells: pd.DataFrame = answer["cells"]
    for language, of in cells.groupby("language", sort=False):
        console.print()
        print_title(console, str(language))
        rows = [_row(cell, answer, digits) for cell in of.to_dict("records")]
        given = (of["p_attributed"].notna()).tolist()
        print_table(console, HEADER, rows, dim=[not is_given for is_given in given])


def _row(cell: Mapping[Any, Any], answer: Mapping[str, Any], digits: int) -> list[str]:
    draws = answer["controls"] or 0
    r, slope = cell["warrant_r"], cell["warrant_slope"]
    are_asked = not math.isnan(cell["control_mean"])
    return [
        cell["mask"],
        cell["value"],
        signed(cell["mean_shift"], digits),
        show_p(cell["p_value"], draws, answer["p_source"]),
        show_q(cell["p_attributed"]),
        *("-" if math.isnan(number) else f"{number:.2f}" for number in (r, slope)),
        "" if cell["masked_count"] == 0 else warrant.why_not(r, slope, draws, are_asked=are_asked),
    ]
