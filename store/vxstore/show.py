"""How the `vxstore` command shows an answer: tables for people, JSON and CSV for programs."""

import csv
import itertools
import json
import math
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

MOST_LANGUAGES_ABREAST = 3
ABOUT = {
    "model": "model",
    "model_revision": "revision",
    "model_architecture": "architecture",
    "activation_function": "activation",
    "dtype": "dtype",
    "corpus": "corpus",
    "created": "created",
}
THRESHOLDS = {
    "selected_count": "selected",
    "passed_count": "passed filter",
    "dead_count": "dead",
    "filter_threshold": "filter p above",
    "activation_threshold": "value p above",
    "entropy_cut": "entropy cut",
}
NEURONS = {
    "language": "language",
    "layer": "layer",
    "neuron": "neuron",
    "entropy": "entropy",
    "probability": "p(value)",
    "mean_other_probability": "mean p(others)",
    "value_count": "values",
    "values": "which",
}

# C0 and C1 controls, directional overrides, line separators, and lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def clean(text: object) -> str:
    """`text` on one line, without what a terminal would obey or could not show."""
    return _UNSAFE.sub("", re.sub(r"[\t\n\r\u2028\u2029]+", " ", str(text)))


def print_json(data: Any) -> None:
    """Full precision; NaN as null; unsafe characters as escapes, so that nothing is lost."""
    text = json.dumps(_finite(data), ensure_ascii=False, indent=2, allow_nan=False)
    for line in text.split("\n"):
        print(_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", line))


def _finite(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {str(key): _finite(item) for key, item in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(item) for item in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data


def print_csv(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Full precision; nothing for what is missing; the names of a list apart by a space."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_csv_cell(item) for item in row] for row in rows)


def _csv_cell(item: Any) -> str:
    if isinstance(item, list | tuple):
        return " ".join(map(_csv_cell, item))
    if item is None or (isinstance(item, float) and math.isnan(item)):
        return ""
    return repr(float(item)) if isinstance(item, float) else clean(item)


def facts(about: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    """What `query.describe` tells, as rows of field, value, language, content."""
    for field, item in _leaves((), {k: v for k, v in about.items() if k != "counts"}):
        if field[0] == "scores" and field[2:3] == ("thresholds",) and len(field) == 5:
            yield ".".join((*field[:3], field[4])), "", field[3], item
        else:
            yield ".".join(field), "", "", item
    for cell in about["counts"]:
        for name in ("token_count", "story_count"):
            yield name, cell["value"], cell["language"], cell[name]


def _leaves(at: tuple[str, ...], item: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(item, Mapping):
        for key, below in item.items():
            yield from _leaves((*at, str(key)), below)
    else:
        yield at, item


def show_neurons(neurons: Sequence[Mapping[str, Any]], title: str) -> None:
    """A table of the rows of `query.top`."""
    console = _console()
    _print_title(console, title)
    if not neurons:
        console.print("none is selected")
        return
    header = [(NEURONS[name], name not in ("language", "values")) for name in neurons[0]]
    ends = [a["language"] != b["language"] for a, b in itertools.pairwise(neurons)]
    _print_table(console, header, [list(row.values()) for row in neurons], ends)


def show_info(about: Mapping[str, Any]) -> None:
    """What `query.describe` tells, on about one screen."""
    console = _console()
    _print_title(console, about["store"])
    for name, text in _facts_of_run(about).items():
        console.print(f"{name:14}{clean(text)}", soft_wrap=True)
    console.print()
    _show_counts(console, about)
    for name, score in about["scores"].items():
        console.print()
        _print_title(console, f"scores/{name}")
        _show_settings(console, _mapping(score.get("settings")))
        _show_thresholds(console, _mapping(score.get("thresholds")))
    for name, evaluation in about["evaluations"].items():
        console.print()
        _print_title(console, f"evaluation/{name}")
        size = {key: evaluation[key] for key in ("conditions", "dilemmas")}
        _show_settings(console, size | _mapping(evaluation.get("settings")) | evaluation["effect"])


def _facts_of_run(about: Mapping[str, Any]) -> dict[str, Any]:
    lines = {name: about[key] or "-" for key, name in ABOUT.items()}
    sealed, total = about["parts"]["sealed"], about["parts"]["total"]
    lines["state"] = about["state"]
    if not about["complete"]:
        lines["state"] = (
            f"not complete: {total - sealed:,} parts are missing; run `vxdist locate` again"
        )
    lines["parts"] = f"{sealed:,} of {total:,} sealed"
    lines["neurons"] = f"{about['layers']:,} layers x {about['neurons']:,}"
    return lines


def _show_counts(console: Console, about: Mapping[str, Any]) -> None:
    languages = about["languages"]
    if len(languages) > MOST_LANGUAGES_ABREAST:
        header = [("value", False), ("language", False), ("tokens", True), ("stories", True)]
        _print_table(console, header, [list(cell.values()) for cell in about["counts"]])
        return
    kinds = [(f"{name} {what}", True) for name in languages for what in ("tokens", "stories")]
    rows: dict[str, list[Any]] = {value: [value] for value in about["values"]}
    for cell in about["counts"]:
        rows[cell["value"]] += [cell["token_count"], cell["story_count"]]
    _print_table(console, [("value", False), *kinds], list(rows.values()))


def _show_settings(console: Console, settings: Mapping[str, Any]) -> None:
    """On as few lines as will do; prompts and cues are left to JSON."""
    shown = (
        f"{key} {' '.join(map(str, item)) if isinstance(item, list) else item}"
        for key, item in settings.items()
        if key != "name" and not isinstance(item, Mapping)
    )
    lines = textwrap.wrap(clean(", ".join(shown)), console.width, break_long_words=False)
    console.print("\n".join(lines), soft_wrap=True)


def _show_thresholds(console: Console, thresholds: Mapping[str, Any]) -> None:
    rows = []
    for language, told in thresholds.items():
        of_language = _mapping(told)
        cut, most = of_language.get("entropy_cut"), of_language.get("entropy_maximum")
        # A cut close to the maximum means that the neurons chosen are hardly specific.
        share = f"{cut / most:.3%}" if isinstance(cut, float) and most else None
        rows.append([language, *(of_language.get(key) for key in THRESHOLDS), share])
    numbers = [(name, True) for name in (*THRESHOLDS.values(), "of maximum")]
    _print_table(console, [("language", False), *numbers], rows)


def _mapping(item: Any) -> dict[str, Any]:
    return dict(item) if isinstance(item, Mapping) else {}


def _console() -> Console:
    return Console(markup=False, highlight=False, emoji=False)


def _print_title(console: Console, title: str) -> None:
    console.print(clean(title), style="bold", soft_wrap=True)


def _print_table(
    console: Console,
    header: Sequence[tuple[str, bool]],
    rows: Sequence[Sequence[Any]],
    ends: Sequence[bool] = (),
) -> None:
    """Print `rows`; columns are (name, whether right-aligned), `ends` says where a section ends.

    Only between words may a cell or name break. The table is wider than the terminal if it must
    be: a number is never cut short.
    """
    cells = [[clean(name) for name, _ in header], *(list(map(_cell, row)) for row in rows)]
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    for (_, is_right), column in zip(header, zip(*cells, strict=True), strict=True):
        longest = max(cell_len(word) for text in column for word in (text.split() or [""]))
        justify: Any = "right" if is_right else "left"
        table.add_column(Text(column[0]), justify=justify, min_width=longest)
    for number, row in enumerate(cells[1:]):
        table.add_row(*map(Text, row), end_section=number < len(ends) and ends[number])
    wide = console.options.update(max_width=10_000)
    needed = Measurement.get(console, wide, table).minimum
    console.print(table, width=max(needed, console.width), crop=False)


def _cell(item: Any) -> str:
    if isinstance(item, float):
        return f"{item:.6f}"
    if isinstance(item, list):
        return clean(", ".join(map(str, item)))
    return "-" if item is None else f"{item:,}" if type(item) is int else clean(item)
