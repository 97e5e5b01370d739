"""`vxstore effects`: effects of several evaluations gathered, and shown to people side by side."""

import itertools
import math
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from vxstore import query
from vxstore.cli.output import new_console, print_table, print_title, print_wrapped
from vxstore.cli.pipeline import call
from vxstore.errors import StoreError, UserError
from vxstore.query.dilemmas import TEXTS
from vxstore.query.lookup import default_evaluation
from vxstore.read import Store
from vxstore.text import clean

NOT_RECORDED = (
    "verdict: not recorded (an earlier vxdist measured these effects; `vxdist evaluate` with the "
    "same settings measures them again, without model work)"
)
LEGEND = (
    "draws: mean shift of the control draws; rank: how many of their shifts are below the mask's; "
    "pass: the interval excludes zero, and the shift is outside those of all draws"
)
FEWEST_DIGITS, MOST_DIGITS = 2, 6
INDENT = 2


def find_evaluations(
    stores: Sequence[Store], names: Sequence[str] | None
) -> list[tuple[Store, str]]:
    """The evaluations asked for: of each store, those of `names` that it has, or its default.

    Raises StoreError, listing the known ones, if a store has none of them or no store has one.
    """
    if not names:
        return [(store, default_evaluation(store)) for store in stores]
    known = [store.names("evaluation") for store in stores]
    for name in names:
        if not any(name in of for of in known):
            stores[0].evaluation(name)  # raises, listing the known ones
    for store, of in zip(stores, known, strict=True):
        if not set(names) & set(of):
            store.evaluation(names[0])  # raises, listing the known ones
    unique = dict.fromkeys(names)
    return [
        (store, name) for store, of in zip(stores, known, strict=True) for name in unique
        if name in of
    ]  # fmt: skip


def gather(
    evaluations: Iterable[tuple[Store, str]],
    chosen: Mapping[str, Any],
    *,
    dilemmas: bool,
    corpus: str | None,
) -> list[dict[str, Any]]:
    """`query.effects` of each evaluation. With `dilemmas`, instead of its cells the table of
    `query.flips`, and `texts`: why their texts are not at hand, or None."""
    if corpus is not None and not dilemmas:
        raise StoreError("--corpus has the texts of --dilemmas; give both, or neither")
    told = []
    for store, name in evaluations:
        found = query.effects(store, name, **chosen)
        if dilemmas:
            del found["cells"]
            texts, found["texts"] = _read_texts(store, corpus)
            found["dilemmas"] = query.flips(store, name, **chosen, texts=texts)
        told.append(found)
    return told


def _read_texts(store: Store, corpus: str | None) -> tuple[dict[str, dict[str, str]], str | None]:
    """Texts of the dilemmas by id; and why there are none, in a line. Only a corpus that was
    asked for must be there: the store's is where it was when the store was recorded."""
    path = str(store.attrs.get("corpus", "")) if corpus is None else corpus
    try:
        folder = call("find_corpus", path) if path.startswith("builtin:") else path
        return query.read_dilemmas(folder), None
    except UserError as error:
        if corpus is not None:
            raise StoreError(f"--corpus: {error}") from error
        return {}, f"the texts are not at hand; give --corpus DIRECTORY ({error})"


def make_flat(told: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """All cells, or all dilemmas, in one table, headed by store and evaluation."""
    tables = []
    for of in told:
        table = (of["dilemmas"] if "dilemmas" in of else of["cells"]).astype(object)
        labels = {"store": of["store"], "evaluation": of["evaluation"]}
        tables.append(pd.DataFrame(labels, index=table.index, dtype=object).join(table))
    return pd.concat(tables, ignore_index=True)


def show_effects(told: Sequence[Mapping[str, Any]]) -> None:
    """For each language a table: masks and dilemmas down, evaluations across."""
    console = new_console()
    marks = _show_headings(console, told)
    print_wrapped(console, LEGEND)
    digits = _digits(told)
    names = ("shift", "interval", "flips", "draws", "rank", "pass")
    header = [("mask", False), ("value", False)]
    header += [(f"{mark} {name}".strip(), True) for mark in marks for name in names]
    tables = [
        {
            (cell["language"], cell["mask"], cell["value"]): _cell(cell, of["controls"], digits)
            for cell in of["cells"].to_dict("records")
        }
        for of in told
    ]
    keys = dict.fromkeys(key for cells in tables for key in cells)
    missing = ["-"] * len(names)
    for language in dict.fromkeys(key[0] for key in keys):
        rows = [
            [*key[1:], *(text for cells in tables for text in cells.get(key, missing))]
            for key in keys
            if key[0] == language
        ]
        sections = len(rows) > len({row[0] for row in rows})
        ends = [a[0] != b[0] and sections for a, b in itertools.pairwise(rows)]
        console.print()
        print_title(console, language)
        print_table(console, header, rows, ends)


def show_flips(told: Sequence[Mapping[str, Any]]) -> None:
    """For each evaluation, the dilemmas that flipped, with their texts where there are any."""
    console = new_console()
    _show_headings(console, told)
    for of in told:
        console.print()
        flipped = of["dilemmas"].to_dict("records")
        print_title(console, f"{of['store']}, evaluation/{of['evaluation']}: {_flips_of(of)}")
        if of["texts"] and flipped:
            print_wrapped(console, of["texts"])
        digits = _digits_for(
            max((abs(d[k]) for d in flipped for k in ("before", "after")), default=0)
        )
        for row in flipped:
            before, after = (_signed(row[key], digits) for key in ("before", "after"))
            where = f"{row['id']} ({row['value']}, {row['language']}), {row['mask']} ablated"
            console.print(clean(f"{where}: {before} -> {after}"), soft_wrap=True)
            for name in TEXTS if row["dilemma"] else ():
                _print_text(console, ("" if name == "dilemma" else f"{name}: ") + row[name])


def _print_text(console: Console, text: str) -> None:
    """Indented, and broken where it must be: Chinese has no spaces."""
    for line in Text(clean(text)).wrap(console, console.width - INDENT):
        console.print(" " * INDENT + line.plain.rstrip(), soft_wrap=True)


def _flips_of(of: Mapping[str, Any]) -> str:
    if of["decision_boundary"] is None:
        return f"{of['outcome']} has no decision that could flip"
    count = len(of["dilemmas"])
    return f"{count:,} {'decision' if count == 1 else 'decisions'} flipped"


def _show_headings(console: Console, told: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each evaluation is of, and its verdict; returns the letter each goes by."""
    letters = string.ascii_uppercase if len(told) <= 26 else map(str, range(1, 1 + len(told)))
    marks = [letter for letter, _ in zip(letters, told, strict=False)] if len(told) > 1 else [""]
    for of, mark in zip(told, marks, strict=True):
        head = f"{of['store']}, evaluation/{of['evaluation']}, model {of['model'] or '-'}"
        print_title(console, f"{mark}: {head}" if mark else head)
        confidence = f"{100 * of['confidence']:g}% " if of["confidence"] else ""
        draws = "-" if of["controls"] is None else of["controls"]
        print_wrapped(
            console,
            f"{of['outcome']}, intervention {of['intervention']}: shifts of {of['effect_of']} in "
            f"{of['units'] or '-'}, {confidence}intervals; control draws of each mask: {draws}",
        )
        print_wrapped(console, _verdict(of["verdict"]))
    return marks


def _verdict(verdict: Mapping[str, Any] | None) -> str:
    if verdict is None:
        return NOT_RECORDED
    if not verdict["placebo"]:
        return "verdict: none, for without control draws any neurons might have done as much"
    found = (
        f"verdict: {verdict['passed']} of {verdict['cells']} cells pass, {verdict['passed_own']} "
        f"on own dilemmas; control draws put in the masks' place pass in "
        f"{_span(verdict['placebo'])}, {_span(verdict['placebo_own'])} on own dilemmas: "
    )
    beyond = "the masks do more than every draw" if verdict["beyond_controls"] else ""
    return found + (beyond or "no effect beyond the controls")


def _span(counts: Sequence[int]) -> str:
    least, most = min(counts, default=0), max(counts, default=0)
    return f"{least}" if least == most else f"{least} to {most}"


def _cell(cell: Mapping[str, Any], controls: int | None, digits: int) -> list[str]:
    low, high = (_signed(cell[key], digits) for key in ("shift_low", "shift_high"))
    rank = cell["control_rank"]
    if math.isnan(rank):
        ranked = "-"
    else:
        ranked = f"{rank:.3f}" if controls is None else f"{rank * controls:g}/{controls}"
    return [
        _signed(cell["mean_shift"], digits),
        "-" if math.isnan(cell["shift_low"]) else f"[{low},{high}]",  # one word, never broken
        "-" if math.isnan(cell["flip_rate"]) else f"{cell['flip_rate']:.0%}",
        _signed(cell["control_mean"], digits),
        ranked,
        {None: "-", True: "yes", False: "no"}[cell["passes"]],
    ]


def _signed(number: float, digits: int) -> str:
    """With its sign, but for what rounds to zero; a dash for NaN."""
    if math.isnan(number):
        return "-"
    text = f"{number:+.{digits}f}"
    return text if text.strip("+-0.") else text[1:]


def _digits(told: Sequence[Mapping[str, Any]]) -> int:
    shifts = pd.concat([of["cells"]["mean_shift"] for of in told]).abs()
    return _digits_for(float(shifts.max()))


def _digits_for(largest: float) -> int:
    """Decimals that show three figures of the largest number, within limits."""
    if not largest > 0:
        return FEWEST_DIGITS
    return min(MOST_DIGITS, max(FEWEST_DIGITS, 2 - math.floor(math.log10(largest))))
