"""One neuron, layers, comparisons and checks, as tables for people."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.cells import cell_len
from rich.console import Console

from vxstore.blocks import PLACES
from vxstore.cli.claims import show_claims
from vxstore.cli.output import (
    format_numbers,
    new_console,
    print_table,
    print_title,
    print_wrapped,
)
from vxstore.text import clean

SHORTEST, LONGEST = 3, 6
"""Number of letters of an abbreviated value."""
RANKED = ("with a number", "ranked")
"""Headings of neurons in both scores, and of those that took part in both rankings."""


def show_neuron(about: Mapping[str, Any]) -> None:
    """Print the result of `query.neuron`."""
    console = new_console()
    place = f"neuron {about['neuron']:,}"
    if "expert" in about:
        names = [name for name in PLACES if about.get(name, -1) >= 0]
        place = f"{', '.join(f'{name} {about[name]:,}' for name in names)} ({place})"
    print_title(console, f"layer {about['layer']}, {place} of {about['model']}")
    values = about["values"].rename(
        columns={
            "token_count": about["denominator"],
            "routed_count": "routed",
            "active_count": "active",
            "probability": "p(value)",
            "mean_activation": "mean activation",
        }
    )
    if "selected" in values:
        values["selected"] = ["yes" if it is True else "" for it in values["selected"].tolist()]
    if "languages" in about:
        _show_ranks(console, about, about["languages"], ["language"])
        console.print()
    elif "rank" in values:
        after = list(values).index("selected") + 1
        ranks = values[["language", "value", *values.columns[after:]]]
        values = values[values.columns[:after]]
        _show_ranks(console, about, ranks[ranks.ranked_count.notna()], ["language", "value"])
        console.print()
    header = [(str(name), name not in ("language", "value", "selected")) for name in values]
    _print_frame(console, header, values, sections=True)
    show_claims(console, about)


def _show_ranks(
    console: Console, about: Mapping[str, Any], ranks: pd.DataFrame, keys: list[str]
) -> None:
    """The number and rank of a neuron in each ranking of a score."""
    values = about["values"]
    unrouted = set(values.language[values.probability.isna()])
    others = (str(name) for name in ranks if name not in (*keys, "rank", "ranked_count"))
    number, *among = others
    reasons = [
        _why_not_ranked(row, number, among, row["language"] in unrouted)
        for row in ranks.to_dict("records")
    ]
    shown = ranks[[*keys, number, "rank", "ranked_count"]].assign(reason=reasons)
    shown[number] = format_numbers(shown[number].tolist())
    ranked = "of passed" if among == ["passed_filter"] else "of ranked"
    names = (f"{about['score']} {about['ranked_by']}", "rank", ranked)
    header = [*((key, False) for key in keys), *((name, True) for name in names), ("", False)]
    _print_frame(console, header, shown, sections=len(keys) > 1)


def _why_not_ranked(
    row: Mapping[Any, Any], number: str, among: list[str], is_unrouted: bool
) -> str:
    if not pd.isna(row["rank"]):
        return ""
    if is_unrouted:
        return "unrouted for a value"
    if pd.isna(row[number]):
        return "dead" if number == "entropy" else "no number"
    return "did not pass the filter" if among == ["passed_filter"] else "did not take part"


def show_layers(layers: pd.DataFrame, title: str) -> None:
    """Print a table of `query.layers` per language: layers down, values across, zeros as dots.

    The last columns count neurons of any value, and those of them that have a claim.
    """
    console = new_console()
    for number, (language, of_language) in enumerate(layers.groupby("language", sort=False)):
        if number:
            console.print()
        print_title(console, f"{language}: {title}")
        values = list(of_language["value"].unique())
        counts_LV = of_language.selected_count.to_numpy().reshape(-1, len(values))
        labels = [*map(str, of_language.layer.unique()), "all"]
        counts = [*counts_LV.tolist(), counts_LV.sum(axis=0).tolist()]
        totals = {}
        for name, column in (("any", "distinct_count"), ("claimed", "distinct_claimed_count")):
            if column in of_language:
                total_L = of_language[column].to_numpy()[:: len(values)]
                totals[name] = [*total_L.tolist(), int(total_L.sum())]
        _print_blocks(console, labels, [clean(value) for value in values], counts, totals)
    if "claimed_count" in layers:
        print_wrapped(console, "claimed: selected, with a claim of level 1 or above for its value")


def _print_blocks(
    console: Console,
    labels: Sequence[str],
    values: Sequence[str],
    counts: Sequence[Sequence[int]],
    totals: Mapping[str, Sequence[int]],
) -> None:
    """Print as many values side by side as fit; names are abbreviated if not all fit."""
    total_width = sum(max(len(f" {n}") for n in (name, *of)) for name, of in totals.items())
    room = console.width - len("layer") - total_width
    widest = [max(len(str(row[v])) for row in counts) for v in range(len(values))]
    names = list(values)
    if sum(1 + max(pair) for pair in zip(map(cell_len, names), widest, strict=True)) > room:
        names = abbreviate(values)
        legend = ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
        print_wrapped(console, legend)
    widths = [1 + max(pair) for pair in zip(map(cell_len, names), widest, strict=True)]
    first = 0
    while first < len(names):
        sums = itertools.accumulate(widths[first:])
        block = slice(first, first + max(1, sum(width <= room for width in sums)))
        header = [("layer", True), *((name, True) for name in (*names[block], *totals))]
        rows = [
            [label, *(str(count or ".") for count in (*row[block], *total_T))]
            for label, row, *total_T in zip(labels, counts, *totals.values(), strict=True)
        ]
        ends = [label == labels[-2] for label in labels]
        print_table(console, header, rows, ends, gap=1)
        first = block.stop


def abbreviate(names: Sequence[str]) -> list[str]:
    """The fewest first letters that distinguish all names; numbers if `LONGEST` do not."""
    for length in range(SHORTEST, LONGEST + 1):
        short = [name.replace(" ", "_")[:length] for name in names]
        if len(set(short)) == len(short):
            return short
    return [str(number) for number in range(1, len(names) + 1)]


def show_comparison(comparison: Mapping[str, Any]) -> None:
    """Print the result of `query.compare`."""
    console = new_console()
    for side in ("a", "b"):
        name = f"{comparison[f'store_{side}']}, {comparison[f'score_{side}']}"
        print_title(console, f"{side.upper()}: {name}")
        for kind, names in comparison[f"only_{side}"].items():
            if names:
                print_wrapped(
                    console, f"left out, only in {side.upper()}: {kind} {', '.join(names)}"
                )
    console.print("neurons selected")
    known = {"claimed_a": "of A", "claimed_b": "of B", "claimed_both": "of both"}
    claimed = [head for name, head in known.items() if name in comparison["selection"]]
    headings = ("in A", "in B", "in both", "Jaccard", *claimed)
    header = [("language", False), ("value", False), *((name, True) for name in headings)]
    _print_frame(console, header, comparison["selection"], sections=True)
    if claimed:
        text = "how many of them have a claim of level 1 or above for the value"
        print_wrapped(console, f"{', '.join(claimed)}: {text}")
    console.print()
    ranked_by = dict.fromkeys(comparison[f"ranked_by_{side}"] for side in ("a", "b"))
    title = f"rank correlation by {' and '.join(ranked_by)} (Spearman), over neurons of both"
    print_wrapped(console, title)
    ranking = comparison["ranking"]
    keys = [name for name in ("language", "value") if name in ranking]
    scored, ranked = ("alive", "passed filter") if [*ranked_by] == ["entropy"] else RANKED
    headings = (scored, "correlation", ranked, "correlation")
    header = [*((key, False) for key in keys), *((name, True) for name in headings)]
    _print_frame(console, header, ranking, sections=len(keys) > 1)


def _print_frame(
    console: Console,
    header: Sequence[tuple[str, bool]],
    table: pd.DataFrame,
    *,
    sections: bool = False,
) -> None:
    """Print a table; with `sections`, a gap follows each language."""
    rows = [list(row.values()) for row in table.to_dict("records")]
    ends = [row[0] != after[0] for row, after in itertools.pairwise(rows)] if sections else ()
    print_table(console, header, rows, ends)


def show_check(answer: Mapping[str, Any]) -> None:
    """Print the findings of `vxstore check`, and what it repaired."""
    console = new_console()
    print_title(console, answer["store"])
    console.print(f"{answer['sealed']:,} of {answer['parts']:,} parts sealed")
    for note in answer["notes"]:
        print_wrapped(console, f"note: {note}")
    if not answer["findings"]:
        console.print("nothing is damaged")
        return
    header = [("array", False), ("part", True), ("what", False), ("fix", False)]
    rows = [[finding[name] for name, _ in header] for finding in answer["findings"]]
    print_table(console, header, rows)
    for done in answer["repaired"]:
        print_wrapped(console, f"repaired: {done}")
