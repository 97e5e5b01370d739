"""The result as a table for people."""

from collections.abc import Mapping
from typing import Any

HEAD = (
    "model", "causal", "selector", "level 1", "2", "3", "4", "selected", "precision", "recall",
    "own shift", "others", "controls", "level 5", "further",
)  # fmt: skip


def show(result: Mapping[str, Any]) -> str:
    """One row for each model and selector, and a line for each kind."""
    rows = [HEAD, *(row for run in result["runs"] for row in _rows(run))]
    widths = [max(len(row[n]) for row in rows) for n in range(len(HEAD))]
    lines = ["  ".join(text.rjust(w) for text, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*lines, "", *summarise(result)])


def summarise(result: Mapping[str, Any]) -> list[str]:
    """By kind and selector, how many masks and models reach level 5."""
    lines = []
    for kind in dict.fromkeys(run["kind"] for run in result["runs"]):
        runs = [run for run in result["runs"] if run["kind"] == kind]
        for selector in runs[0]["selectors"]:
            of = [run["selectors"][selector]["evaluation"] for run in runs]
            masks, found, further = (
                sum(each[key] for each in of) for key in ("masks", "found", "further")
            )
            some = sum(each["found"] > 0 for each in of)
            lines.append(
                f"{kind}, {selector}: level 5 for {found} of {masks} masks "
                f"({further} beyond others), in {some} of {len(of)} models"
            )
    return lines


def _rows(run: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    for name, of in run["selectors"].items():
        counts = [of["levels"].get(str(n), {}).get("assignments") for n in range(1, 5)]
        levels = ["-" if count is None else str(count) for count in counts]
        evaluation = of["evaluation"]
        rows.append(
            (
                f"{run['kind']} {run['seed']}",
                str(run["truth"]["causal"]),
                name,
                *levels,
                str(of["selected"]),
                _ratio(of["precision"]),
                _ratio(of["recall"]),
                *(_mean(evaluation, key) for key in ("mean_shift", "others_mean", "control_mean")),
                f"{evaluation['found']} of {evaluation['masks']}",
                str(evaluation["further"]),
            )
        )
    return rows


def _ratio(number: float | None) -> str:
    return "-" if number is None else f"{number:.2f}"


def _mean(evaluation: Mapping[str, Any], key: str) -> str:
    numbers = [cell[key] for cell in evaluation["cells"] if cell[key] is not None]
    return f"{sum(numbers) / len(numbers):+.2f}" if numbers else "-"
