"""How dose curves are shown to people."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.console import Console

from vxstore.cli.numbers import digits_for, signed
from vxstore.cli.output import new_console, print_table, print_title, print_wrapped
from vxstore.effect_words import calibration, show_p
from vxstore.query.doses import INTACT

LEGEND = (
    "dose: what the activations of the mask's neurons are multiplied by (0: zero ablation, 1: the "
    "intact model); draws: mean +- sd over the control draws, scaled alike"
)
SLOPES = (
    "slope: of the shift on 1 - dose through the intact model, as a shift at dose 0, its mean over "
    "dilemmas; p: of the mask's slope against those of its draws; q: the lowest false discovery "
    "rate at which it is found"
)
KEYS = ["mask", "value", "language"]


def show_doses(answers: Sequence[Mapping[str, Any]]) -> None:
    """For each curve and language the shifts by dose, and the slopes; dim is what is not found."""
    console = new_console()
    for n, answer in enumerate(answers):
        if n:
            console.print()
        _show_heading(console, answer)
        digits = digits_for(_largest(answer))
        for language, curve in answer["curve"].groupby("language", sort=False):
            console.print()
            print_title(console, str(language))
            _show_curve(console, curve.to_dict("records"), digits)
            slopes = answer["slopes"]
            console.print()
            _show_slopes(console, slopes[slopes["language"] == language], answer, digits)


def make_flat(answers: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The shifts of all curves in one table, each row with the slope of its cell."""
    tables = []
    for answer in answers:
        table = answer["curve"].merge(answer["slopes"], on=KEYS)
        table.insert(0, "curve", answer["evaluation"])
        table.insert(0, "store", answer["store"])
        tables.append(table)
    flat: pd.DataFrame = pd.concat(tables, ignore_index=True)
    return flat


def _show_heading(console: Console, answer: Mapping[str, Any]) -> None:
    print_title(console, f"{answer['store']}, evaluation/{answer['evaluation']}/dose")
    confidence = f"{100 * answer['confidence']:g}% " if answer["confidence"] else ""
    print_wrapped(
        console,
        f"{answer['outcome']}: shifts of {answer['effect_of']} in {answer['units'] or '-'}, "
        f"{confidence}intervals; control draws of each mask: {answer['controls']}",
    )
    print_wrapped(console, f"verdict: {answer['sentence']}")
    calibrated = calibration(answer["null_rate"], answer["null_count"])
    others = [f"other curves: --evaluation {', '.join(answer['others'])}"] * bool(answer["others"])
    for text in (*[calibrated] * bool(calibrated), LEGEND, SLOPES, *others):
        print_wrapped(console, text)


def _show_curve(console: Console, rows: Sequence[Mapping[str, Any]], digits: int) -> None:
    header = [("mask", False), ("value", False), ("evaluation", False)]
    header += [(name, True) for name in ("dose", "shift", "interval", "draws")]
    cells = [
        [
            *(row[key] for key in ("mask", "value", "evaluation")),
            f"{row['dose']:g}",
            signed(row["mean_shift"], digits),
            "-" if row["evaluation"] == INTACT else _interval(row, "shift", digits),
            _draws(row["control_mean"], row["control_sd"], digits),
        ]
        for row in rows
    ]
    ends = [a[:2] != b[:2] for a, b in itertools.pairwise(cells)]
    print_table(console, header, cells, ends)


def _show_slopes(
    console: Console, slopes: pd.DataFrame, answer: Mapping[str, Any], digits: int
) -> None:
    header = [("mask", False), ("value", False)]
    header += [(name, True) for name in ("slope", "interval", "draws", "p", "q")]
    draws, source = answer["controls"] or 0, answer["p_source"]
    rows: list[dict[str, Any]] = slopes.to_dict("records")  # type: ignore[assignment]
    cells = [
        [
            row["mask"],
            row["value"],
            signed(row["slope"], digits),
            _interval(row, "slope", digits),
            _draws(row["control_slope_mean"], row["control_slope_sd"], digits),
            *(show_p(row[key], draws, source) for key in ("p_value", "q_value")),
        ]
        for row in rows
    ]
    found = [answer["fdr"] is not None and row["q_value"] <= answer["fdr"] for row in rows]
    print_table(console, header, cells, dim=[not is_found for is_found in found])


def _interval(row: Mapping[str, Any], of: str, digits: int) -> str:
    low, high = row[f"{of}_low"], row[f"{of}_high"]
    return "-" if math.isnan(low) else f"[{signed(low, digits)},{signed(high, digits)}]"


def _draws(mean: float, sd: float, digits: int) -> str:
    text = signed(mean, digits)
    return text if math.isnan(sd) else f"{text}+-{sd:.{digits}f}"


def _largest(answer: Mapping[str, Any]) -> float:
    shifts = pd.concat([answer["curve"]["mean_shift"], answer["slopes"]["slope"]])
    return float(shifts.abs().max())
