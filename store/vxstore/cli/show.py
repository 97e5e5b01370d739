"""Facts, thresholds and lists of neurons, as tables for people."""

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from rich.console import Console

from vxstore.cli.claims import show_found, with_titles
from vxstore.cli.output import (
    format_numbers,
    new_console,
    print_table,
    print_title,
    print_wrapped,
)
from vxstore.schema import POOLED
from vxstore.text import clean, plural

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
    "unrouted_count": "unrouted",
    "filter_threshold": "filter p above",
    "activation_threshold": "value p above",
    "entropy_cut": "entropy cut",
}
NEURONS = {
    "language": "language",
    "layer": "layer",
    "neuron": "neuron",
    "block": "block",
    "expert": "expert",
    "unit": "unit",
    "entropy": "entropy",
    "probability": "p(value)",
    "mean_other_probability": "mean p(others)",
    "value_count": "values",
    "values": "which",
    "level": "level",
    "p_value": "p",
    "q_value": "q",
}


def facts(about: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    """The result of `query.describe`, as rows of field, value, language, content."""
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


def show_neurons(neurons: pd.DataFrame, title: str, none: str = "none is selected") -> None:
    """Print the result of `query.top`; `none` if it is empty."""
    console = new_console()
    print_title(console, title)
    if neurons.empty:
        if none:
            console.print(none)
        return
    neurons = with_titles(neurons)
    names = [str(name) for name in neurons]
    header = [(heading(name), name not in ("language", "values", "level")) for name in names]
    rows = [list(row.values()) for row in neurons.to_dict("records")]
    for at in (n for n, name in enumerate(names) if name not in NEURONS):
        for row, text in zip(rows, format_numbers([row[at] for row in rows]), strict=True):
            row[at] = text
    ends = [row[0] != after[0] for row, after in itertools.pairwise(rows)]
    print_table(console, header, rows, ends, whole=["level"])


def heading(name: str) -> str:
    """Heading of a column or threshold; those of unknown selectors are shown by their own name."""
    return NEURONS.get(name) or THRESHOLDS.get(name) or name.replace("_", " ")


def show_score(score: Mapping[str, Any]) -> None:
    """Print the result of `vxstore select`."""
    console = new_console()
    print_title(console, f"scores/{score['score']}")
    _show_settings(console, score["settings"])
    _show_thresholds(console, score["thresholds"])


def show_info(about: Mapping[str, Any]) -> None:
    """Print the result of `query.describe`, on about one screen."""
    console = new_console()
    print_title(console, about["store"])
    for name, text in _facts_of_run(about).items():
        console.print(f"{name:14}{clean(text)}", soft_wrap=True)
    console.print()
    _show_counts(console, about)
    for name, score in about["scores"].items():
        console.print()
        print_title(console, f"scores/{name}")
        order = "lowest" if score["ascending"] is True else "highest"
        made_by = f"{score['selector']}, " if "selector" in score else ""
        console.print(
            clean(f"{made_by}ranked by {score['ranked_by']}, {order} first"), soft_wrap=True
        )
        _show_settings(console, _mapping(score.get("settings")))
        _show_thresholds(console, _mapping(score.get("thresholds")))
        show_found(console, score)
    for name, attribution in about["attributions"].items():
        console.print()
        print_title(console, f"attribution/{name}")
        size = {key: attribution[key] for key in ("dilemmas", "outcome", "half")}
        _show_settings(console, size | _mapping(attribution.get("settings")))
    for name, evaluation in about["evaluations"].items():
        console.print()
        print_title(console, f"evaluation/{name}")
        names = ("conditions", "dilemmas", "outcome", "intervention")
        size = {key: evaluation[key] for key in names if key in evaluation}
        _show_settings(console, size | _mapping(evaluation.get("settings")) | evaluation["effect"])


def show_asked(asked: Mapping[str, Any]) -> None:
    """Print the result of `query.asked`; line breaks of a prompt are kept."""
    console = new_console()
    print_title(console, f"{asked['store']}, evaluation/{asked['evaluation']}")
    for name, setting in asked["settings"].items():
        if setting not in (None, {}):
            text = setting if isinstance(setting, str) else json.dumps(setting, ensure_ascii=False)
            console.print(f"{name:18}{clean(text)}", soft_wrap=True)
    if not asked["prompts"]:
        console.print("no prompt is kept (an earlier vxdist made this evaluation)")
    for language, prompt in asked["prompts"].items():
        console.print()
        print_title(console, f"the first prompt in {language}, as the model reads it")
        for line in prompt.split("\n"):
            console.print(clean(line), soft_wrap=True)


def _facts_of_run(about: Mapping[str, Any]) -> dict[str, Any]:
    lines = {name: about[key] or "-" for key, name in ABOUT.items()}
    sealed, total = about["parts"]["sealed"], about["parts"]["total"]
    if "packing" in about:
        lines["dtype"] = f"{lines['dtype']}, unpacked from {about['packing']}"
    if "compile" in about:
        lines["dtype"] = f"{lines['dtype']}, compiled: {about['compile']}"
    lines["state"] = about["state"]
    if not about["complete"]:
        missing = plural(total - sealed, "part is", "parts are")
        lines["state"] = f"not complete: {missing} missing; run `vxdist locate` again"
    if about["denominator"] != "tokens":
        lines["denominator"] = (
            f"{about['denominator']}: p is active tokens / {about['denominator']}, and may exceed 1"
        )
    lines["parts"] = f"{sealed:,} of {total:,} sealed"
    lines["neurons"] = f"{about['layers']:,} layers x {about['neurons']:,}"
    if "blocks" in about:
        widths = {sum(of["units"] * of.get("experts", 1) for of in at) for at in about["blocks"]}
        lines["neurons"] = f"{about['layers']:,} layers x {min(widths):,} to {max(widths):,}"
    if "experts" in about:
        each = about["neurons"] // about["experts"]
        lines["neurons"] += f" ({about['experts']:,} experts x {each:,} units)"
        per_token = about["experts_per_token"]
        lines["experts"] = (
            f"{f'{per_token:,} for each token; ' if per_token else ''}p is active tokens / tokens "
            "routed to the neuron's expert"
        )
    return lines


def _show_counts(console: Console, about: Mapping[str, Any]) -> None:
    languages, counted = about["languages"], about["denominator"]
    if len(languages) > MOST_LANGUAGES_ABREAST:
        header = [("value", False), ("language", False), (counted, True), ("stories", True)]
        print_table(console, header, [list(cell.values()) for cell in about["counts"]])
        return
    kinds = [(f"{name} {what}", True) for name in languages for what in (counted, "stories")]
    rows: dict[str, list[Any]] = {value: [value] for value in about["values"]}
    for cell in about["counts"]:
        rows[cell["value"]] += [cell["token_count"], cell["story_count"]]
    print_table(console, [("value", False), *kinds], list(rows.values()))


def _show_settings(console: Console, settings: Mapping[str, Any]) -> None:
    """Print settings on as few lines as possible; prompts and cues are left to JSON."""
    shown = (
        f"{key} {' '.join(map(str, item)) if isinstance(item, list) else item}"
        for key, item in settings.items()
        if key != "name" and not isinstance(item, Mapping)
    )
    if text := ", ".join(shown):
        print_wrapped(console, text)


def _show_thresholds(console: Console, thresholds: Mapping[str, Any]) -> None:
    """Print what a selector reports for each language: known names first, then those of its own."""
    by_language = {language: _mapping(found) for language, found in thresholds.items()}
    if len(by_language) == 2:
        by_language.pop(POOLED, None)  # of one language: the same again
    reported = {str(key): None for found in by_language.values() for key in found}
    shown = [key for key in THRESHOLDS if key in reported]
    shown += [key for key in reported if key not in (*THRESHOLDS, "entropy_maximum")]
    if not shown:
        return
    header = [("language", False), *((heading(key), True) for key in shown)]
    rows = [[language, *map(found.get, shown)] for language, found in by_language.items()]
    if {"entropy_cut", "entropy_maximum"} <= set(reported):
        header.append(("of maximum", True))
        for row, found in zip(rows, by_language.values(), strict=True):
            row.append(_share(found.get("entropy_cut"), found.get("entropy_maximum")))
    print_table(console, header, rows)


def _share(cut: Any, maximum: Any) -> str | None:
    """A cut close to the maximum means that the selected neurons are hardly specific."""
    is_known = isinstance(cut, float) and isinstance(maximum, float) and maximum > 0
    return f"{cut / maximum:.3%}" if is_known else None


def _mapping(item: Any) -> dict[str, Any]:
    return dict(item) if isinstance(item, Mapping) else {}


def show_answers(answers: pd.DataFrame) -> None:
    """The answers to each dilemma, one below the other."""
    console = new_console()
    for (name, value, language), of in answers.groupby(["id", "value", "language"], sort=False):
        console.print()
        print_title(console, f"{name} ({value}, {language})")
        for condition, text in of[["condition", "answer"]].itertuples(index=False):
            print_wrapped(console, f"{condition}: {' '.join(text.split()) or '-'}")
