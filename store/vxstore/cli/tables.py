"""How one neuron, the layers, and a comparison are shown to people."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.cells import cell_len
from rich.console import Console

from vxstore.cli.output import new_console, print_table, print_title, print_wrapped
from vxstore.text import clean

SHORTEST, LONGEST = 3, 6
"""Letters of an abbreviated value."""


def show_neuron(told: Mapping[str, Any]) -> None:
    """What `query.neuron` tells."""
    console = new_console()
    place = f"neuron {told['neuron']:,}"
    if "expert" in told:
        place = f"expert {told['expert']:,}, unit {told['unit']:,} ({place})"
    print_title(console, f"layer {told['layer']}, {place} of {told['model']}")
    if "languages" in told:
        values = told["values"]
        unrouted = set(values.language[values.probability.isna()])
        rows = []
        for row in told["languages"].to_dict("records"):
            rows.append([row[key] for key in ("language", "entropy", "rank", "ranked_count")])
            rows[-1].append(_why_not_ranked(row, row["language"] in unrouted))
        names = (f"{told['score']} entropy", "rank", "of passed")
        header = [("language", False), *((name, True) for name in names), ("", False)]
        print_table(console, header, rows)
        console.print()
    values = told["values"].rename(
        columns={
            "token_count": told["denominator"],
            "routed_count": "routed",
            "active_count": "active",
            "probability": "p(value)",
            "mean_activation": "mean activation",
        }
    )
    if "selected" in values:
        values["selected"] = ["yes" if it is True else "" for it in values["selected"].tolist()]
    header = [(str(name), name not in ("language", "value", "selected")) for name in values]
    _print_frame(console, header, values, sections=True)


def _why_not_ranked(row: Mapping[str, Any], is_unrouted: bool) -> str:
    if row["rank"]:
        return ""
    if is_unrouted:
        return "unrouted for a value"
    return "dead" if pd.isna(row["entropy"]) else "did not pass the filter"


def show_layers(layers: pd.DataFrame, title: str) -> None:
    """A table of `query.layers` for each language: layers down, values across, none as a dot."""
    console = new_console()
    for number, (language, of_language) in enumerate(layers.groupby("language", sort=False)):
        if number:
            console.print()
        print_title(console, f"{language}: {title}")
        values = list(of_language["value"].unique())
        counts_LV = of_language.selected_count.to_numpy().reshape(-1, len(values))
        any_L = of_language.distinct_count.to_numpy()[:: len(values)]
        labels = [*map(str, of_language.layer.unique()), "all"]
        counts = [*counts_LV.tolist(), counts_LV.sum(axis=0).tolist()]
        totals = [*any_L.tolist(), int(any_L.sum())]
        _print_blocks(console, labels, [clean(value) for value in values], counts, totals)


def _print_blocks(
    console: Console,
    labels: Sequence[str],
    values: Sequence[str],
    counts: Sequence[Sequence[int]],
    totals: Sequence[int],
) -> None:
    """As many values abreast as fit; their names are abbreviated if not all do."""
    room = console.width - len("layer") - max(len(" any"), *(len(f" {n}") for n in totals))
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
        header = [("layer", True), *((name, True) for name in names[block]), ("any", True)]
        rows = [
            [label, *(str(count or ".") for count in row[block]), str(total or ".")]
            for label, row, total in zip(labels, counts, totals, strict=True)
        ]
        ends = [label == labels[-2] for label in labels]
        print_table(console, header, rows, ends, gap=1)
        first = block.stop


def abbreviate(names: Sequence[str]) -> list[str]:
    """The same number of first letters of each name, as few as tell them apart; else numbers."""
    for length in range(SHORTEST, LONGEST + 1):
        short = [name.replace(" ", "_")[:length] for name in names]
        if len(set(short)) == len(short):
            return short
    return [str(number) for number in range(1, len(names) + 1)]


def show_comparison(told: Mapping[str, Any]) -> None:
    """What `query.compare` tells."""
    console = new_console()
    for side in ("a", "b"):
        print_title(console, f"{side.upper()}: {told[f'store_{side}']}, {told[f'score_{side}']}")
        for kind, names in told[f"only_{side}"].items():
            if names:
                print_wrapped(
                    console, f"left out, only in {side.upper()}: {kind} {', '.join(names)}"
                )
    console.print("neurons selected")
    names = ("in A", "in B", "in both", "Jaccard")
    header = [("language", False), ("value", False), *((name, True) for name in names)]
    _print_frame(console, header, told["selection"], sections=True)
    console.print()
    console.print("rank correlation of entropies (Spearman), over neurons of both")
    names = ("alive", "correlation", "passed filter", "correlation")
    header = [("language", False), *((name, True) for name in names)]
    _print_frame(console, header, told["entropy"])


def _print_frame(
    console: Console,
    header: Sequence[tuple[str, bool]],
    table: pd.DataFrame,
    *,
    sections: bool = False,
) -> None:
    """With `sections`, a language ends with a gap."""
    rows = [list(row.values()) for row in table.to_dict("records")]
    ends = [row[0] != after[0] for row, after in itertools.pairwise(rows)] if sections else ()
    print_table(console, header, rows, ends)


MENDS = {
    "part": "record the part anew",
    "root": "sum the parts anew",
    "derived": "make it anew",
    "copy": "restore a copy",
}


def show_check(told: Mapping[str, Any]) -> None:
    """What `check` found, and what `repair` did."""
    console = new_console()
    print_title(console, told["store"])
    console.print(f"{told['sealed']:,} of {told['parts']:,} parts sealed")
    for note in told["notes"]:
        print_wrapped(console, f"note: {note}")
    if not told["findings"]:
        console.print("nothing is damaged")
        return
    header = [("array", False), ("part", True), ("what", False), ("mended by", False)]
    rows = [[f["array"], f["part"], f["what"], MENDS[f["mend"]]] for f in told["findings"]]
    print_table(console, header, rows)
    for done in told["repaired"]:
        print_wrapped(console, f"repaired: {done}")
